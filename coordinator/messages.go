package coordinator

import (
	"context"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// MintRequest asks the own node to mint one version.
type MintRequest struct {
	Item   causal.ItemKey
	Policy causal.Policy
	Write  causal.Write
	Sync   bool
	// HintFor is the owner that the own copy stands in for, when the coordinator is a fallback.
	HintFor ring.NodeID
	// Owes are owners that are down and that nobody stands in for: the own copy reminds of each.
	Owes []ring.NodeID
	// N is the bucket's.
	N int
	// Above: a write that was minted before is minted again unless its version is above this.
	Above causal.HLC
	Epoch uint64
}

// Minted is what a mint left on the own node.
type Minted struct {
	// State is the whole state of the item, the new version included: what the other owners get.
	State   causal.State
	Version causal.Version
	// Repeated says that the request id was known and nothing was minted.
	Repeated bool
	// Durable calls done, as Replicas.Write does, once the own copy is as durable as asked.
	Durable func(ctx context.Context, done func(error))
}

// WriteRequest carries an item's whole state to one replica.
type WriteRequest struct {
	Item   causal.ItemKey
	N      int
	Policy causal.Policy
	State  causal.State
	Sync   bool
	// HintFor is the owner that the receiver stands in for; zero when it is an owner itself.
	HintFor ring.NodeID
	// Fresh is the HLC of the version that is only now being written; zero in a repair.
	Fresh causal.HLC
	Epoch uint64
}

// ReadRequest asks one replica for its copy of an item.
type ReadRequest struct {
	Item   causal.ItemKey
	N      int
	Digest bool // without the state
	Epoch  uint64
}

// ReadReply is a replica's copy; State is empty when only the digest was asked for.
type ReadReply struct {
	State  causal.State
	Digest causal.Digest
}

// RangeRequest asks one replica for the items of one partition of a bucket from Start (inclusive)
// to End (exclusive), both in storage's order-preserving form of (token, partition key, sort key).
type RangeRequest struct {
	Bucket     uint64
	N          int
	Partition  int
	Start, End []byte
	Reverse    bool
	LimitItems int
	LimitBytes int64
	Epoch      uint64
}

// RangeReply holds items in the order asked for, deleted and expired ones included. When Exhausted is false the
// replica stopped at a limit, and nothing is known of what lies behind the last item.
type RangeReply struct {
	Items     []RangeItem
	Exhausted bool
}

// RangeItem is one item of a range.
type RangeItem struct {
	Key   []byte
	State causal.State
}
