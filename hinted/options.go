// Package hinted hands hints to their owners: the states of items that other nodes keep for an owner which could
// not be reached.
//
// Package storage keeps them (one record per item, with the set of owners that lack it), so a hint and the item that it
// speaks of can't disagree. What is here is the replay: as soon as a target is up, its hints are sent, oldest first,
// throttled below the foreground, and each is settled by its own durable acknowledgement, if the item is still what was
// sent. A hint never expires: it may be a copy that counted towards a write's quorum.
package hinted

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Store is what replay needs of package storage; *storage.Store has it.
type Store interface {
	HintStats() []storage.HintStats
	Hints(target storage.NodeID, after *storage.Hint, limit int) ([]storage.Hint, error)
	HintState(ctx context.Context, h storage.Hint) (causal.State, bool, error)
	SettleHints(ctx context.Context, settlements []storage.Settlement) (settled []bool, errs []error)
}

// Handoff is one hint on its way: the item's present state.
type Handoff struct {
	Hint  storage.Hint
	State causal.State
}

// Options are what a Replayer is made of. Defaults stand behind the fields; Store, Up, Send and Owns are required.
type Options struct {
	Store Store
	// Up reports whether a target can be reached.
	Up func(ring.NodeID) bool
	// Send hands a batch to its target and returns one error per item: nil once the target has merged and
	// fsynced it. It must return soon after ctx is done. A hint whose owners have changed since it was written is not for
	// its target any more: Send brings its state to the present owners, and returns nil once a quorum of them has it.
	Send func(ctx context.Context, target ring.NodeID, batch []Handoff) []error
	// Owns reports whether this node is an owner of the item. An owner keeps the record when its last hint is
	// settled, a fallback drops it.
	Owns func(storage.Key) bool
	// Moved reports whether the owners of a hint's item have changed since the write that the hint is of, at an epoch that the
	// hint names. Such hints are sent whether their target is up or not: it may be no owner any more, or gone for good, and
	// what it was owed may be a copy that counted. Nil: they never change.
	Moved func(storage.Hint) bool

	// BytesPerSecond bounds what is sent to all targets together. 32 MiB/s.
	BytesPerSecond int64
	// BatchItems (64) and BatchBytes (1 MiB) bound one batch; a larger state travels alone.
	BatchItems int
	BatchBytes int64
	// Targets is to how many targets hints are sent at once. 4.
	Targets int
	// Interval between looks for hints of targets that are up. 1 s.
	Interval time.Duration
	// A target that failed is left alone for a time that doubles from BackoffMin (100 ms) to BackoffMax (10 s), of which
	// a random part of up to a half is taken off. Wake ends it.
	BackoffMin, BackoffMax time.Duration

	Now func() time.Time
	// Rand spreads the backoff. Used by one goroutine at a time.
	Rand *rand.Rand
	// Logger: nil discards.
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	setDefault(&o.BytesPerSecond, 32<<20)
	setDefault(&o.BatchItems, 64)
	setDefault(&o.BatchBytes, 1<<20)
	setDefault(&o.Targets, 4)
	setDefault(&o.Interval, time.Second)
	setDefault(&o.BackoffMin, 100*time.Millisecond)
	setDefault(&o.BackoffMax, 10*time.Second)
	if o.Moved == nil {
		o.Moved = func(storage.Hint) bool { return false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.Store == nil || o.Up == nil || o.Send == nil || o.Owns == nil:
		return errors.New("hinted: Store, Up, Send and Owns are required")
	case o.BytesPerSecond < 0 || o.BatchItems < 0 || o.BatchBytes < 0 || o.Targets < 0:
		return errors.New("hinted: a limit is negative")
	case o.Interval < 0 || o.BackoffMin < 0 || o.BackoffMax < o.BackoffMin:
		return errors.New("hinted: an interval is negative, or BackoffMax below BackoffMin")
	}
	return nil
}
