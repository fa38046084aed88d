package transfer

import (
	"cmp"
	"slices"

	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Standing is what the own data of a range may claim while it is pulled.
type Standing uint8

const (
	// Arriving: this node becomes an owner, or has become one and is not complete. Its data claims nothing until then.
	Arriving Standing = iota
	// Vouching: it is a complete owner, and its claims go on.
	Vouching
	// Mute: the range is no partition of the layout in force, so no claim can speak of it.
	Mute
)

// Work is one move that this node has yet to pull.
type Work struct {
	storage.Move
	// Need is how many different sources must have been read whole, this node among them if Self.
	Need int
	// Sources are the others that may be read, in the order in which to try them.
	Sources []ring.NodeID
	// Self: this node is a source itself.
	Self     bool
	Standing Standing
	// Changed is the epoch from which on sources may have been read to count.
	Changed uint64
}

// Plan lists what a node has to pull at an epoch, for buckets of these quorums, but for what is complete already. Where buckets
// with one N differ in R and W the most demanding counts, as data is pulled for all of them together. turn rotates the moves and
// the sources, so that nodes which begin at the same time do not all begin with the same.
func Plan(e *ring.Epoch, self ring.NodeID, quorums []ring.Quorums, complete []storage.Complete, turn uint64) []Work {
	var works []Work
	marks := indexMarks(complete)
	for _, n := range replicas(quorums) {
		for p := range e.Partitions() {
			pull, ok := needed(e, self, p, n, quorums)
			if !ok {
				continue
			}
			move := moveOf(e, p, n, pull.Origin)
			if marks.cover(move, pull.Need) {
				continue
			}
			w := Work{Move: move, Need: pull.Need, Changed: e.Changed(p, n)}
			for _, id := range pull.Sources {
				if id == self {
					w.Self = true
				} else {
					w.Sources = append(w.Sources, id)
				}
			}
			rotate(w.Sources, turn+uint64(p))
			w.Standing = standing(e, p, n, w.Self, pull.Need, marks)
			works = append(works, w)
		}
	}
	rotate(works, turn)
	return works
}

// needed is the most demanding pull among the buckets with n replicas.
func needed(e *ring.Epoch, self ring.NodeID, p, n int, quorums []ring.Quorums) (most ring.Pull, ok bool) {
	for _, q := range quorums {
		if q.N != n {
			continue
		}
		if pull, has := e.Pull(self, p, q); has && pull.Need > most.Need {
			most, ok = pull, true
		}
	}
	return most, ok
}

// StandingOf is what a node's data of a partition may claim at N = n.
func StandingOf(e *ring.Epoch, self ring.NodeID, p, n int, quorums []ring.Quorums, complete []storage.Complete) Standing {
	owners := e.Owners(p, n)
	return standing(e, p, n, slices.Contains(owners, self), NeedOf(len(owners), n, quorums), indexMarks(complete))
}

func standing(e *ring.Epoch, p, n int, owner bool, need int, marks marks) Standing {
	switch {
	case e.Partitions() != e.Base.Partitions():
		return Mute
	case !owner:
		return Arriving
	case e.Origin(p, n) == 0 || marks.cover(moveOf(e, p, n, e.Origin(p, n)), need):
		return Vouching
	}
	return Arriving
}

// NeedOf is how many sources an owner has to read to be complete, for the buckets with n replicas.
func NeedOf(owners, n int, quorums []ring.Quorums) int {
	need := 1
	for _, q := range quorums {
		if q.N == n {
			need = max(need, owners-q.W+1, q.R)
		}
	}
	return min(need, owners)
}

// replicas are the different N, ascending.
func replicas(quorums []ring.Quorums) []int {
	var out []int
	for _, q := range quorums {
		out = append(out, q.N)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func moveOf(e *ring.Epoch, p, n int, origin uint64) storage.Move {
	first, last := e.PartitionRange(p)
	return storage.Move{First: uint64(first), Last: uint64(last), N: n, Origin: origin}
}

// rotate brings the element at turn to the front.
func rotate[T any](s []T, turn uint64) {
	if len(s) < 2 {
		return
	}
	at := int(turn % uint64(len(s)))
	copy(s, slices.Concat(s[at:], s[:at]))
}

// marks are those of complete moves by N and origin, each list in the order of tokens.
type marks map[markKey][]storage.Complete

type markKey struct {
	n      int
	origin uint64
}

func indexMarks(complete []storage.Complete) marks {
	out := make(marks)
	for _, c := range complete {
		k := markKey{c.N, c.Origin}
		out[k] = append(out[k], c)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b storage.Complete) int { return cmp.Compare(a.First, b.First) })
	}
	return out
}

// cover reports whether all of a move is complete, from so many sources. Partitions may have been cut since the marks were made,
// or be whole again: what was complete is so for all parts, and parts that are make a whole.
func (m marks) cover(move storage.Move, need int) bool {
	next := move.First
	for _, c := range m[markKey{move.N, move.Origin}] {
		if c.Sources < need || c.Last < next {
			continue
		}
		if c.First > next {
			return false
		}
		if c.Last >= move.Last {
			return true
		}
		next = c.Last + 1
	}
	return false
}

// Range is what a node may have to give up: a partition as the buckets with N replicas see it.
type Range struct {
	Partition, N int
	First, Last  uint64
}

// Leaves are the first and the last leaf of the range.
func (r Range) Leaves() (first, last int) { return storage.LeafOf(r.First), storage.LeafOf(r.Last) }

// Drops lists what a node holds and may drop. Only what has had other owners once is looked at: where owners never changed there is
// nothing but what waits as a hint. has tells whether anything is there.
func Drops(e *ring.Epoch, self ring.NodeID, quorums []ring.Quorums, facts ring.Facts, has func(Range) bool) []Range {
	var out []Range
	for _, r := range Left(e, self, quorums, has) {
		if e.MayDrop(self, r.Partition, r.N, facts) {
			out = append(out, r)
		}
	}
	return out
}

// Left lists what a node holds and no active layout gives it: what Drops asks facts about.
func Left(e *ring.Epoch, self ring.NodeID, quorums []ring.Quorums, has func(Range) bool) []Range {
	all := ring.Facts{Complete: func(ring.NodeID, int, int, uint64) bool { return true }}
	var out []Range
	for _, n := range replicas(quorums) {
		for p := range e.Partitions() {
			if e.Changed(p, n) == 0 || !e.MayDrop(self, p, n, all) {
				continue
			}
			first, last := e.PartitionRange(p)
			if r := (Range{p, n, uint64(first), uint64(last)}); has(r) {
				out = append(out, r)
			}
		}
	}
	return out
}
