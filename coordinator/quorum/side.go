package quorum

import "math/bits"

// Side is one of the two owner sets of which a request needs a quorum each while a partition moves.
// An answer counts on every side that its place is of.
type Side struct {
	// N is the number of replicas on this side.
	N int
	// Need is the number of places that must answer: the side's W for a put, its R for a get.
	Need int
	// Places are those that count here: for a put its owners, for a get those candidates that are
	// owners of it or stand in for one.
	Places Places
}

// Places is a set of places. It has room for the guardians of two layouts, of at most 14 each.
type Places uint64

// With returns the set with one more place, which is not negative.
func (p Places) With(place int) Places { return p | 1<<place }

// Has tells whether the place, which is not negative, is in the set.
func (p Places) Has(place int) bool { return p>>place&1 == 1 }

// first is the set of the first n places.
func first(n int) Places { return 1<<max(0, n) - 1 }

// tally is a number for each side.
type tally [2]int

func (t tally) plus(u tally) tally { return tally{t[0] + u[0], t[1] + u[1]} }

// sides are the one or two that a machine decides for.
type sides struct {
	of [2]Side
	n  int
}

// newSides takes those of the plan, or the only one if it has none.
func newSides(plan []Side, only Side) sides {
	s := sides{n: 1, of: [2]Side{only}}
	if len(plan) > 0 {
		s.n = copy(s.of[:], plan)
	}
	return s
}

// add counts a place on the sides that it is of.
func (s *sides) add(t *tally, place int) {
	for i := range s.n {
		if s.of[i].Places.Has(place) {
			t[i]++
		}
	}
}

// at are the sides that a place is of, a bit for each.
func (s *sides) at(place int) (set uint8) {
	for i := range s.n {
		if s.of[i].Places.Has(place) {
			set |= 1 << i
		}
	}
	return set
}

// needs is what each side needs.
func (s *sides) needs() tally { return tally{s.of[0].Need, s.of[1].Need} }

// short are the sides that have less than they need, a bit for each.
func (s *sides) short(have, need tally) (set uint8) {
	for i := range s.n {
		if have[i] < need[i] {
			set |= 1 << i
		}
	}
	return set
}

// enough tells whether each side has as many as it needs.
func (s *sides) enough(have tally) bool { return s.short(have, s.needs()) == 0 }

// each tells whether each side has one at least.
func (s *sides) each(have tally) bool { return s.short(have, tally{1, 1}) == 0 }

// helps is the number of the sides in the set that a place is of.
func (s *sides) helps(set uint8, place int) int { return bits.OnesCount8(set & s.at(place)) }

// farthest is the count of the side that is farthest from what it needs: one that can't reach it any
// more before one that can, then the one that lacks more. The first side's, if neither differs.
func (s *sides) farthest(count func(side int) Count) Count {
	worst := count(0)
	if s.n == 1 {
		return worst
	}
	other := count(1)
	lost, otherLost := worst.Live < worst.Required, other.Live < other.Required
	if lost != otherLost && otherLost || lost == otherLost && other.missing() > worst.missing() {
		return other
	}
	return worst
}

func (c Count) missing() int { return c.Required - c.Received }
