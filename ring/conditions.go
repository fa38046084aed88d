package ring

import (
	"fmt"
	"slices"
)

// Quorums are what a bucket declares: copies of an item, replies that a read waits for, and
// acknowledgements that a write waits for. R and W are from 1 to N, N at most MaxReplicas.
type Quorums struct{ N, R, W int }

// Facts are what is known of nodes. Both only ever grow and are told only once they are on the
// node's disk, so facts that are out of date can delay a commit or a drop but never make one unsafe.
type Facts struct {
	// Epoch is the latest epoch that a node is known to be at, 0 when nothing is known of it.
	Epoch func(NodeID) uint64
	// Complete reports whether a node has pulled the whole of a partition, as one of the owners that
	// came in at epoch origin. It is not asked about the owners of epoch 0: they hold all there is.
	// What was pulled before the partition was cut counts for all its parts.
	Complete func(node NodeID, p, n int, origin uint64) bool
}

func (f Facts) complete(node NodeID, p, n int, origin uint64) bool {
	return origin == 0 || f.Complete(node, p, n, origin)
}

// Rule is one of the two conditions of a commit.
type Rule uint8

const (
	// OldFenced: so many owners in Base have learnt of the move that no quorum is left among those
	// who have not. So nothing is written or read any more by the old quorums alone.
	OldFenced Rule = iota
	// NewComplete: a write quorum of the owners in Next hold all that was acknowledged.
	NewComplete
)

// String is what the rule asks of an owner.
func (r Rule) String() string {
	switch r {
	case OldFenced:
		return "old owners have learnt of the move"
	case NewComplete:
		return "new owners are complete"
	}
	return "unknown"
}

// Block says what a commit is still waiting for.
type Block struct {
	Partition int
	N         int
	Rule      Rule
	// Have of the Need owners that the rule asks for are known to meet it.
	Have, Need int
	// Missing are the other owners, in their order: any Need-Have of them will do.
	Missing []NodeID
}

// String says it in a line.
func (b Block) String() string {
	return fmt.Sprintf("partition %d at N=%d: %d of %d %v, waiting for any %d of %v",
		b.Partition, b.N, b.Have, b.Need, b.Rule, b.Need-b.Have, b.Missing)
}

// MayCommit says what stands in the way of committing a move, for the buckets of these quorums:
// nothing, or blocks in the order of partitions. It has to be asked for all quorums that buckets
// declare. Commit refuses a stable epoch, about which it has nothing to say.
//
// Where a layout has fewer owners than N they are all there are.
func (e *Epoch) MayCommit(q Quorums, facts Facts) (blocked []Block) {
	for p := range e.Partitions() {
		if !e.Moves(p, q.N) {
			continue
		}
		old := e.Owners(p, q.N)
		need := quorum(len(old), len(old)-min(q.R, q.W)+1)
		blocked = appendBlock(blocked, Block{Partition: p, N: q.N, Rule: OldFenced, Need: need}, old, func(id NodeID) bool {
			return facts.Epoch(id) >= e.Number
		})
		owners, origin := e.NextOwners(p, q.N), e.NextOrigin(p, q.N)
		need = quorum(len(owners), q.W)
		blocked = appendBlock(blocked, Block{Partition: p, N: q.N, Rule: NewComplete, Need: need}, owners, func(id NodeID) bool {
			return facts.complete(id, p, q.N, origin)
		})
	}
	return blocked
}

// appendBlock counts the owners that meet a rule, and appends what is missing.
func appendBlock(blocked []Block, b Block, owners []NodeID, meets func(NodeID) bool) []Block {
	for _, id := range owners {
		if meets(id) {
			b.Have++
		} else {
			b.Missing = append(b.Missing, id)
		}
	}
	if b.Have >= b.Need {
		return blocked
	}
	return append(blocked, b)
}

// quorum is how many of this many owners have to do something: at least one, and not more than
// there are.
func quorum(owners, want int) int { return min(max(want, 1), owners) }

// MayDrop reports whether a node may drop its data of a partition in buckets of N = n: no active
// layout makes it an owner, and all owners of the newest stable layout are complete, so that what
// it drops is wherever it should be. The first alone would lose no quorum, but copies beyond it.
func (e *Epoch) MayDrop(node NodeID, p, n int, facts Facts) bool {
	owners := e.Owners(p, n)
	if slices.Contains(owners, node) || slices.Contains(e.NextOwners(p, n), node) {
		return false
	}
	for _, id := range owners {
		if !facts.complete(id, p, n, e.Origin(p, n)) {
			return false
		}
	}
	return true
}

// Pull is what an owner does to become complete for a partition.
type Pull struct {
	// Origin names the owner set that it will be complete for.
	Origin uint64
	// Sources are whom it may read: the owners in Base, before the commit the old ones and after it
	// the new. It may be one itself and then counts, at no cost. The slice is the layout's own.
	Sources []NodeID
	// Need is how many different sources it has to read whole. One of any N-W+1 took part in each
	// write quorum; one of any R holds what a read has returned, be it of a write that failed.
	Need int
}

// Pull returns what a node has to pull of a partition for buckets of these quorums, if it is an
// owner that has anything to pull: in a joint epoch every owner in Next of a partition that moves,
// those that stay too. Whether it is complete already, the caller knows.
//
// Sources read at one epoch count at a later one as long as the partition has not changed between
// the two (Changed): some of the old owners and some of the new make no quorum of either.
func (e *Epoch) Pull(node NodeID, p int, q Quorums) (Pull, bool) {
	sources := e.Owners(p, q.N)
	pull := Pull{Sources: sources, Need: quorum(len(sources), max(len(sources)-q.W+1, q.R))}
	switch {
	case e.Moves(p, q.N) && slices.Contains(e.NextOwners(p, q.N), node):
		pull.Origin = e.NextOrigin(p, q.N)
	case slices.Contains(sources, node):
		pull.Origin = e.Origin(p, q.N)
	}
	return pull, pull.Origin != 0
}
