package ring

// Epoch is one decided, numbered state of the ring: stable on one layout, or joint between two
// while partitions move. It is immutable and safe for concurrent use. Genesis is the first; Begin,
// Commit and Abort make the one that follows, DecodeEpoch reads one.
//
// An epoch has one granularity, the finer of its layouts': its methods take partitions from 0 to
// Partitions(). In a joint epoch that doubles the partitions those of Base are fewer, so partitions
// for its methods come from Epoch.PartitionOf, not from Base.PartitionOf. In a stable epoch the two
// are one.
type Epoch struct {
	// Number counts epochs from 0; a node's epoch never goes back.
	Number uint64
	// Base is the layout in force: in a joint epoch the one that owners move away from.
	Base *Layout
	// Next is the layout that owners move to, of as many partitions as Base or more. Nil in a stable
	// epoch.
	Next *Layout

	// What is known of each partition's owner sets, for every N from 1 to MaxReplicas. The tables
	// do not end at the layout's own Replicas: when a cluster grows or shrinks, the owners for an N
	// beyond a short list change at other epochs than those within it. A nil table is all zeros.
	changed    marks
	origin     marks
	nextOrigin marks
}

// Genesis is epoch 0: stable on the first layout, every owner set brought in by itself.
func Genesis(l *Layout) *Epoch { return &Epoch{Base: l} }

// Joint reports whether a move is under way: requests then need the quorums of both layouts.
func (e *Epoch) Joint() bool { return e.Next != nil }

// finest is the layout whose partitions are the epoch's.
func (e *Epoch) finest() *Layout {
	if e.Joint() {
		return e.Next
	}
	return e.Base
}

// Partitions is the number of partitions that the epoch tells apart: those of its finer layout.
func (e *Epoch) Partitions() int { return e.finest().Partitions() }

// PartitionOf is the partition, of Partitions(), that a token lies in.
func (e *Epoch) PartitionOf(t Token) int { return e.finest().PartitionOf(t) }

// PartitionRange is the first and the last token of a partition, both inclusive.
func (e *Epoch) PartitionRange(p int) (first, last Token) { return e.finest().PartitionRange(p) }

// inBase is the partition of Base that p lies in.
func (e *Epoch) inBase(p int) int { return p >> (e.Base.shift - e.finest().shift) }

// Owners returns the first n owners in Base of a partition, as Layout.Owners does.
func (e *Epoch) Owners(p, n int) []NodeID { return e.Base.Owners(e.inBase(p), n) }

// NextOwners is Owners for Next. In a stable epoch it is Owners.
func (e *Epoch) NextOwners(p, n int) []NodeID { return e.finest().Owners(p, n) }

// Moves reports whether the owners of a partition at this N are about to change: its requests need
// the quorums of both layouts, and its owners in Next pull it.
func (e *Epoch) Moves(p, n int) bool { return e.Joint() && e.Origin(p, n) != e.NextOrigin(p, n) }

// Changed is the last epoch, at most this one, at which the active owner sets of a partition at
// this N differed from those of the epoch before. n is clamped to [1, MaxReplicas].
func (e *Epoch) Changed(p, n int) uint64 { return e.changed.at(p, n) }

// Origin is the epoch that brought in the partition's owners in Base at this N: inherited while
// they stay, never used again once they have changed. It names what an owner that has pulled the
// partition is complete for. n is clamped to [1, MaxReplicas].
func (e *Epoch) Origin(p, n int) uint64 { return e.origin.at(p, n) }

// NextOrigin is Origin for the owners in Next. Where it equals Origin the partition does not move.
// In a stable epoch it is Origin.
func (e *Epoch) NextOrigin(p, n int) uint64 {
	if !e.Joint() {
		return e.origin.at(p, n)
	}
	return e.nextOrigin.at(p, n)
}

// Verdict is what a replica does with a request that names an epoch.
type Verdict uint8

const (
	// Serve: the request was planned with owners that still hold.
	Serve Verdict = iota
	// Learn: the request knows a later epoch. The replica learns it, durably, before it serves.
	Learn
	// Stale: the owners have changed since. The coordinator learns the replica's epoch and plans
	// again from nothing; an answer given here would count for owners that are none.
	Stale
)

// String is the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Serve:
		return "serve"
	case Learn:
		return "learn"
	case Stale:
		return "stale"
	}
	return "unknown"
}

// Fence says what a replica at this epoch does with a request about a partition at N = n that was
// planned at epoch request. The partition is this epoch's, whatever it was called when the request
// was planned: a replica finds it by the item's token.
func (e *Epoch) Fence(request uint64, p, n int) Verdict {
	switch {
	case request > e.Number:
		return Learn
	case e.Changed(p, n) > request:
		return Stale
	}
	return Serve
}

// FenceRange is Fence for a request about all tokens from first to last, a pull of a partition for
// example: it is stale when any partition that the range touches is. Partitions may have been
// doubled since the request was planned.
func (e *Epoch) FenceRange(request uint64, first, last Token, n int) Verdict {
	for p, end := e.PartitionOf(first), e.PartitionOf(last); p <= end; p++ {
		if v := e.Fence(request, p, n); v != Serve {
			return v
		}
	}
	return Serve
}
