package decide

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// Store keeps the acceptor's record. SetMeta returns once it is durable.
type Store interface {
	SetMeta(name string, value []byte) error
	// Meta returns nil when there is no blob of that name.
	Meta(name string) ([]byte, error)
}

// Options are what a Decider is made of. Defaults stand behind the fields; the others are required.
type Options struct {
	ID    ring.NodeID
	Store Store
	// State holds the document, whose newest epoch says which instance is open.
	State *state.Manager
	// Live reports whether a member seems reachable.
	Live func(ring.NodeID) bool
	// Abstain reports that this node may have forgotten what it promised, so that it must not answer as an acceptor.
	Abstain func() bool
	// Send and Forward send one request to a peer and return its reply. They respect ctx.
	Send    func(ctx context.Context, to ring.NodeID, req *pb.Decide) (*pb.DecideReply, error)
	Forward func(ctx context.Context, to ring.NodeID, req *pb.ProposeEpoch) (*pb.ProposeEpochReply, error)
	// Rand draws the pauses between attempts. The Decider is its only user.
	Rand *rand.Rand
	// Attempt bounds one attempt, and a second more for each 4 MiB of the value. 3 s.
	Attempt time.Duration
	// MinPause and MaxPause bound the pause between two attempts, which grows; a half more or less is drawn. 40 ms, 2 s.
	MinPause, MaxPause time.Duration
	// Timeout bounds a proposal whose context has no deadline. 30 s.
	Timeout time.Duration
	// Logger: nil discards.
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Attempt, 3 * time.Second}, {&o.MinPause, 40 * time.Millisecond}, {&o.MaxPause, 2 * time.Second}, {&o.Timeout, 30 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.ID.IsZero():
		return errors.New("decide: no node id")
	case o.Store == nil || o.State == nil || o.Live == nil || o.Abstain == nil || o.Send == nil || o.Forward == nil || o.Rand == nil:
		return errors.New("decide: a required function or part is missing")
	case o.Attempt < 0 || o.MinPause < 0 || o.MaxPause < o.MinPause || o.Timeout < 0:
		return errors.New("decide: times must not be negative, nor MaxPause below MinPause")
	}
	return nil
}
