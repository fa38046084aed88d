package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// Store is what this package needs of the node's storage. Each method returns once its change is durable.
type Store interface {
	SetMeta(name string, value []byte) error
	// Meta returns nil when there is no blob of that name.
	Meta(name string) ([]byte, error)
	// Adopt binds the directory to the cluster. Doing it again with the same id changes nothing.
	Adopt(clusterID [16]byte, cluster string) error
}

// Options are what a Manager is made of. Defaults stand behind the fields; the others are required.
type Options struct {
	// ID is this node's, Cluster the configured name of its cluster.
	ID      ring.NodeID
	Cluster string
	// ClusterID is what the data directory names, zero when it belongs to no cluster yet. A node that has
	// one never founds another.
	ClusterID [16]byte
	// Expect is --bootstrap-expect: how many nodes found the cluster. 0: this node takes no part in that.
	Expect int
	// Founder: this node is the one that proposes (see IsFounder).
	Founder bool
	// Partitions is the number of the ring's partitions that a founder proposes. 256.
	Partitions int
	// Interval between steps of the founding. 250 ms.
	Interval time.Duration
	// CallTimeout bounds one exchange with a peer. 2 s.
	CallTimeout time.Duration

	Store Store
	// HLC returns a new timestamp of the node's clock, above after.
	HLC func(after causal.HLC) (causal.HLC, error)
	// Rand yields the ids of clusters and proposals: crypto/rand.Reader outside tests.
	Rand io.Reader
	// Live reports whether a member seems reachable.
	Live func(ring.NodeID) bool
	// Candidates lists the other nodes of the configured cluster name that are alive, founded or not.
	Candidates func() []Candidate
	// Push and Propose send one request to a peer and return its reply. They respect ctx.
	Push    func(ctx context.Context, to ring.NodeID, req *pb.PushState) (*pb.PushStateReply, error)
	Propose func(ctx context.Context, to ring.NodeID, req *pb.Propose) (*pb.ProposeReply, error)
	// Logger: nil discards.
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	if o.Partitions == 0 {
		o.Partitions = 256
	}
	if o.Interval == 0 {
		o.Interval = 250 * time.Millisecond
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 2 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.ID.IsZero():
		return errors.New("cluster state: no node id")
	case o.Cluster == "" || len(o.Cluster) > maxName:
		return fmt.Errorf("cluster state: the cluster's name has %d bytes, must have 1 to %d", len(o.Cluster), maxName)
	case o.Expect < 0 || o.Expect > maxNodes:
		return fmt.Errorf("cluster state: bootstrap-expect is %d, must be 0 to %d", o.Expect, maxNodes)
	case o.Store == nil || o.HLC == nil || o.Rand == nil || o.Live == nil || o.Candidates == nil || o.Push == nil || o.Propose == nil:
		return errors.New("cluster state: a required function is missing")
	}
	return nil
}
