package ring

// Epoch is one decided, numbered state of the ring: stable on one layout, or joint between two
// while partitions move. It is immutable and safe for concurrent use.
type Epoch struct {
	// Number counts epochs from 0; a node's epoch never goes back.
	Number uint64
	// Base is the layout in force: in a joint epoch the one that owners move away from.
	Base *Layout
	// Next is the layout that owners move to. Nil in a stable epoch.
	Next *Layout

	// What is known of each partition's owner sets, for every N from 1 to MaxReplicas. The tables
	// do not end at the layout's own Replicas: when a cluster grows or shrinks, the owners for an N
	// beyond a short list change at other epochs than those within it. A nil table is all zeros.
	changed    marks
	origin     marks
	nextOrigin marks
}

// marks is a table of epoch numbers by partition and N, MaxReplicas for each partition.
type marks []uint64

func (m marks) at(p, n int) uint64 {
	if m == nil {
		return 0
	}
	return m[p*MaxReplicas+min(max(n, 1), MaxReplicas)-1]
}

// Genesis is epoch 0: stable on the first layout, every owner set brought in by itself.
func Genesis(l *Layout) *Epoch { return &Epoch{Base: l} }

// Joint reports whether a move is under way: requests then need the quorums of both layouts.
func (e *Epoch) Joint() bool { return e.Next != nil }

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
// planned at epoch request.
func (e *Epoch) Fence(request uint64, p, n int) Verdict {
	switch {
	case request > e.Number:
		return Learn
	case e.Changed(p, n) > request:
		return Stale
	}
	return Serve
}
