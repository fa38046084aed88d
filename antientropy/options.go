// Package antientropy brings replicas together that have come to differ unnoticed: what read repair mends when it is read and
// hints when it was missed, it finds by itself.
//
// Each pair of owners compares the sums of what they hold (package merkle, kept by storage with every write), goes down to
// the leaves that differ, and there exchanges hashes of items and then the states that the other side lacks, both ways.
// States are merged, which loses nothing and can be done again and again; so an exchange that is cut short is simply begun
// anew. The paper is DeCandia et al., *Dynamo* (SOSP 2007), 4.7.
//
// One side of a pair asks, the other answers. Exchange is the side that asks, Answerer the other, Runner what runs
// exchanges again and again.
package antientropy

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/starling-db/starling/antientropy/merkle"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Bounds of one message. Whoever answers refuses more.
const (
	MaxRoots = 4096 // partitions compared at once
	MaxNodes = 1024 // nodes of a tree asked for at once
	MaxPage  = 1024 // items compared at once
	// What is sent or fetched at once: so much work that clients can bear to wait for it.
	maxBytes = 256 << 10 // of states; one is sent however large it is
	maxPush  = 32        // items
)

// Store is what comparing needs of package storage; *storage.Store has it.
type Store interface {
	Leaves(dst []storage.Leaf, buckets []uint64, first, last int) []storage.Leaf
	LeafItems(ctx context.Context, buckets []uint64, first, last int, after []byte, limit int) (items []storage.LeafItem, more bool, err error)
	Get(ctx context.Context, k storage.Key) (causal.State, error)
	Merge(ctx context.Context, merges []storage.Merge) []error
	Recount(ctx context.Context, r storage.LeafRange, pace func(bytes int) error) (storage.Recounted, error)
	ClaimOf(n int, token uint64) storage.Claim
	LeafDamaged(buckets []uint64, first, last int) (bool, error)
}

// Share is what two owners hold together: partitions and buckets that are replicated alike.
type Share struct {
	// N is the buckets' number of replicas.
	N int
	// Buckets ascend.
	Buckets []uint64
	// Policies are the buckets', in their order.
	Policies []causal.Policy
	// Partitions ascend.
	Partitions []int
}

// Plan is all that two owners share at an epoch.
type Plan struct {
	Epoch uint64
	// PartitionBits is the binary logarithm of the number of partitions, at most storage.LeafBits.
	PartitionBits int
	Shares        []Share
}

// Item is one on its way between owners.
type Item struct {
	Key   []byte // as storage.LeafItem
	State causal.State
}

// Place says where a question belongs: the other side looks whether it is still an owner there.
type Place struct {
	Epoch     uint64
	N         int
	Partition int
	// Bucket is the only one that the question is about; 0: all.
	Bucket uint64
}

// Ask is a page of the items of some neighbouring leaves: all that the asker has behind After up to Through.
type Ask struct {
	Place
	// First and Last are leaves of the partition.
	First, Last int
	// After is nil at the beginning of the leaves, Through nil at their end.
	After, Through []byte
	// Hashes of the items, at most MaxPage.
	Hashes []uint64
	// Claims are those of the asker's data of the partition, without versions.
	Claims causal.State
	// Keys asks for the keys of what differs and not for its states.
	Keys bool
	// Recount asks for the leaves to be counted anew and for nothing else: their items are alike on both sides and their sums are not.
	Recount bool
}

// Answer is what the answering side has between Ask.After and Through.
type Answer struct {
	// Items are those whose hash was not in the page.
	Items []Item
	// Lacks are the hashes of which it has no item.
	Lacks []uint64
	// Through is how far the answer goes, if not as far as was asked.
	Through []byte
	// Claims are those of the answering side's data of the partition, without versions.
	Claims causal.State
	// Slow says that clients of the answering side wait longer than repair may have them wait.
	Slow bool
	// Damaged says that the answering side can't read some items of the leaves: that it lacks something says nothing.
	Damaged bool
}

// Peer asks another node. All return soon after ctx is done.
type Peer struct {
	// Roots returns which of the partitions have another sum there. place.Partition means nothing.
	Roots func(ctx context.Context, id ring.NodeID, place Place, partitions []int, sums []merkle.Sum) (differ []int, err error)
	// Nodes is merkle.Answer there.
	Nodes func(ctx context.Context, id ring.NodeID, place Place, depth int, nodes []int) ([]merkle.Sum, error)
	Items func(ctx context.Context, id ring.NodeID, ask Ask) (Answer, error)
	// Push hands items over and returns one error for each: nil once it is merged and fsynced there, ErrRefused if the item
	// itself is what it will not take.
	Push func(ctx context.Context, id ring.NodeID, place Place, policy func(bucket uint64) causal.Policy, items []Item) []error
}

// ErrRefused marks an item that a side will not take, now or later.
var ErrRefused = errors.New("antientropy: the item was refused")

// Options are what a Runner is made of. Defaults stand behind the fields; Store, Peer, Plan, Peers and Up are required.
type Options struct {
	Store Store
	Peer  Peer
	// Plan is what this node shares with another at present; no Shares if nothing.
	Plan func(ring.NodeID) Plan
	// Peers are those whom this node asks, one of each pair.
	Peers func() []ring.NodeID
	// Up reports whether a node can be reached.
	Up func(ring.NodeID) bool
	// Stale is told of a partition where another owner has purged further than this one's floor reaches, which can't be
	// unless this one's data is older than it was once. Nil: nobody is told.
	Stale func(part Part, purgeLevel causal.HLC)

	// Interval between two exchanges with the same node; a twentieth of it is added or taken off at random. Below zero: none
	// but those that are asked for. 10 min.
	Interval time.Duration
	// Soon bounds when the first exchange with a node begins after the start, at random. 30 s, at most Interval.
	Soon time.Duration
	// Retry is how long a node is left alone with which an exchange failed. 30 s.
	Retry time.Duration
	// BytesPerSecond bounds the states that are sent and fetched. 16 MiB/s.
	BytesPerSecond int64
	// Window reports whether exchanges may go on by themselves at a time. When it closes the one that is under way ends its
	// step and stops; the next one compares from the beginning, which is quick as far as replicas are alike by then. Those that
	// are asked for take no notice. Nil: always.
	Window func(time.Time) bool
	// Pause waits until such an exchange may take its next step, a page of items at most, when the one before it cost so many bytes:
	// of the states that it moved, and something for the step itself. Nil: at once. Its error ends the exchange.
	Pause func(ctx context.Context, cost int64) error
	// Slowed is told that the clients of a node that answers wait too long. Nil: nobody is told.
	Slowed func()

	Now func() time.Time
	// Rand spreads exchanges. Used by one goroutine at a time.
	Rand *rand.Rand
	// Logger: nil discards.
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	setDefault(&o.Interval, 10*time.Minute)
	setDefault(&o.Soon, min(30*time.Second, max(o.Interval, 1)))
	setDefault(&o.Retry, 30*time.Second)
	setDefault(&o.BytesPerSecond, 16<<20)
	if o.Slowed == nil {
		o.Slowed = func() {}
	}
	if o.Stale == nil {
		o.Stale = func(Part, causal.HLC) {}
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

func setDefault[T int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.Store == nil || o.Peer.Roots == nil || o.Peer.Nodes == nil || o.Peer.Items == nil || o.Peer.Push == nil:
		return errors.New("antientropy: Store and all of Peer are required")
	case o.Plan == nil || o.Peers == nil || o.Up == nil:
		return errors.New("antientropy: Plan, Peers and Up are required")
	case o.BytesPerSecond < 0 || o.Soon < 0 || o.Retry < 0:
		return errors.New("antientropy: a limit or an interval is negative")
	}
	return nil
}
