package quorum

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// move is a pair of owner sets: both are owners on either side, then come those of the first alone and those of the
// second alone.
type move struct{ both, base, next int }

func (m move) owners() int { return m.both + m.base + m.next }

// sides are the two owner sets over the places 0 to owners-1.
func (m move) sides(needBase, needNext int) []Side {
	both := first(m.both)
	base := first(m.both + m.base)
	return []Side{
		{N: m.both + m.base, Need: needBase, Places: base},
		{N: m.both + m.next, Need: needNext, Places: both | first(m.owners())&^base},
	}
}

func (m move) String() string { return fmt.Sprintf("%d-%d-%d", m.both, m.base, m.next) }

// TestPutInAMoveExhaustive walks puts over two owner sets as TestPutExhaustive does those over one: sets that are
// disjoint, that overlap, that are the same, and of different sizes; every W of each, every set of owners that are down,
// sloppy and strict. What it expects is said by the sets of owners that have acknowledged.
func TestPutInAMoveExhaustive(t *testing.T) {
	moves := []struct {
		move
		fallbacks int
	}{
		{move{1, 0, 0}, 1}, {move{0, 1, 1}, 2}, {move{1, 0, 1}, 2}, {move{1, 1, 0}, 2}, {move{2, 0, 0}, 1},
		{move{1, 1, 1}, 2}, {move{0, 2, 2}, 1}, {move{2, 0, 1}, 1}, {move{2, 1, 1}, 1}, {move{1, 0, 2}, 1},
	}
	switch {
	case *exhaustive:
		moves = append(moves, []struct {
			move
			fallbacks int
		}{{move{1, 1, 1}, 3}, {move{0, 2, 2}, 3}, {move{2, 1, 1}, 3}, {move{1, 2, 2}, 2}, {move{0, 3, 3}, 1}}...)
	case raced:
		moves = moves[:8]
		for i := range moves {
			moves[i].fallbacks = 1
		}
	}
	for _, m := range moves {
		t.Run(fmt.Sprintf("%v+%d", m.move, m.fallbacks), func(t *testing.T) {
			t.Parallel()
			plans, states := 0, 0
			for fallbacks := range m.fallbacks + 1 {
				for mask := range 1 << (m.owners() + fallbacks) {
					for _, plan := range m.plans(fallbacks, mask) {
						states += explorePut(t, plan)
						plans++
					}
				}
			}
			t.Logf("%d plans, %d states", plans, states)
		})
	}
}

// plans are all plans with the places of the mask up. A W that no side can have is tried once.
func (m move) plans(fallbacks, mask int) []PutPlan {
	up := make([]bool, m.owners()+fallbacks)
	for i := range up {
		up[i] = mask>>i&1 == 1
	}
	var plans []PutPlan
	for self := range up {
		if !up[self] {
			continue
		}
		for base := 1; base <= m.both+m.base+1; base++ {
			for next := 1; next <= m.both+m.next; next++ {
				for _, strict := range []bool{false, true} {
					plans = append(plans, PutPlan{N: m.owners(), Sides: m.sides(base, next), Up: up, Self: self, Strict: strict})
				}
			}
		}
	}
	return plans
}

// specJoint: won when W owners of each side have been acknowledged for, lost when that can't come about on one of them.
func (h putHistory) specJoint() (Count, Verdict, []int) {
	base, _ := h.specOf(h.plan.Sides[0].Need, h.plan.Sides[0].Places)
	next, _ := h.specOf(h.plan.Sides[1].Need, h.plan.Sides[1].Places)
	_, owed := h.specOf(0, first(h.plan.N))
	verdict := Pending
	if base.Received >= base.Required && next.Received >= next.Required {
		verdict = Won
	} else if base.Live < base.Required || next.Live < next.Required {
		verdict = Lost
	}
	return specFarthest(base, next), verdict, owed
}

// specFarthest orders by what is said of Count: lost, then how much is missing.
func specFarthest(base, next Count) Count {
	rank := func(c Count) int {
		r := c.Required - c.Received
		if c.Live < c.Required {
			r += 1000
		}
		return r
	}
	if rank(next) > rank(base) {
		return next
	}
	return base
}

// specJointRefusal looks for any way to give fallbacks to owners that are down by which each side could have its W.
func specJointRefusal(p PutPlan) (Count, bool) {
	var down, up Places
	spares := 0
	for i, isUp := range p.Up {
		switch {
		case i < p.N && isUp:
			up = up.With(i)
		case i < p.N:
			down = down.With(i)
		case isUp && !p.Strict:
			spares++
		}
	}
	can := false
	served := min(spares, bits.OnesCount64(uint64(down)))
	for set := range Places(1) << p.N {
		if set&^down == 0 && bits.OnesCount64(uint64(set)) == served {
			can = can || enoughOf(p.Sides, up|set)
		}
	}
	idle := p.Self >= p.N && served == 0
	count := NewPut(p).Count() // its sides are held against specJoint
	return count, !can || idle
}

// enoughOf tells whether a set of owners holds the quorum of each side.
func enoughOf(sides []Side, set Places) bool {
	return !slices.ContainsFunc(sides, func(s Side) bool { return bits.OnesCount64(uint64(set&s.Places)) < s.Need })
}

// checkJointStart: all owners that are up, and as many stand-ins as there can be, each for another owner that is down.
func checkJointStart(t *testing.T, plan PutPlan, sends []Send) {
	t.Helper()
	var served, used Places
	up, spares := 0, 0
	for i, isUp := range plan.Up {
		if isUp && i < plan.N {
			up++
		} else if isUp && !plan.Strict {
			spares++
		}
	}
	for _, s := range sends {
		proper := plan.Up[s.Place] && !used.Has(s.Place) && s.For < plan.N && !served.Has(s.For)
		if s.Place < plan.N {
			proper = proper && s.For == s.Place
		} else {
			proper = proper && !plan.Strict && !plan.Up[s.For]
		}
		if !proper {
			t.Fatalf("%+v: start %v: %+v", plan, sends, s)
		}
		used, served = used.With(s.Place), served.With(s.For)
	}
	if want := up + min(spares, plan.N-up); len(sends) != want {
		t.Fatalf("%+v: start %v, want %d", plan, sends, want)
	}
}

// TestPutInAMoveAtRandom: larger moves, of which chance picks what happens.
func TestPutInAMoveAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	won := 0
	for range 3000 {
		m := move{both: rng.IntN(6)}
		m.base, m.next = 5-m.both, rng.IntN(6-m.both)
		if m.both+m.next == 0 {
			continue
		}
		plan := PutPlan{N: m.owners(), Strict: rng.IntN(3) == 0, Up: make([]bool, m.owners()+rng.IntN(6))}
		plan.Sides = m.sides(1+rng.IntN(m.both+m.base), 1+rng.IntN(m.both+m.next))
		for i := range plan.Up {
			plan.Up[i] = rng.IntN(5) > 0
		}
		plan.Up[0] = true
		if _, refused := plan.Refusal(); refused != second(specRefusal(plan)) {
			t.Fatalf("%+v: refused %v", plan, refused)
		} else if refused {
			continue
		}
		if walkPut(t, rng, plan) == Won {
			won++
		}
	}
	if won < 500 {
		t.Fatalf("%d puts were won: not worth much", won)
	}
}

func second[A, B any](_ A, b B) B { return b }

// walkPut follows one course of events to its end.
func walkPut(t *testing.T, rng *rand.Rand, plan PutPlan) Verdict {
	t.Helper()
	p := NewPut(plan)
	checkJointStart(t, plan, p.Start())
	h := putHistory{plan: plan}.and(putEvent{kind: start}, p.Start())
	for {
		var events []putEvent
		for place := range plan.Up {
			if !h.awaits(place) {
				continue
			}
			events = append(events, putEvent{kind: ack, place: place}, putEvent{kind: fail, place: place})
			if !h.has(slow, place) {
				events = append(events, putEvent{kind: slow, place: place})
			}
		}
		count, verdict, owed := h.spec()
		if p.Count() != count || p.Verdict() != verdict || !slices.Equal(p.Owed(), owed) {
			t.Fatalf("%v: %+v %v owed %v, want %+v %v owed %v", h, p.Count(), p.Verdict(), p.Owed(), count, verdict, owed)
		}
		if len(events) == 0 {
			return verdict
		}
		ev := events[rng.IntN(len(events))]
		sends := apply(p, ev)
		if want := h.specSends(ev); !slices.Equal(sends, want) {
			t.Fatalf("%v: %v %d sends %v, want %v", h, ev.kind, ev.place, sends, want)
		}
		h = h.and(ev, sends)
	}
}

// TestAFallbackGoesWhereItIsMissed: the first owner that is down is of a side that has its W; the second's has not.
func TestAFallbackGoesWhereItIsMissed(t *testing.T) {
	m := move{both: 1, base: 2, next: 2} // owners 0; 1, 2; 3, 4; a fallback 5
	plan := PutPlan{N: 5, Sides: m.sides(2, 2), Up: []bool{true, false, true, false, false, true}}
	p := NewPut(plan)
	wantSends(t, "start", p.Start(), Send{0, 0}, Send{2, 2}, Send{5, 3})
	p.Ack(0)
	p.Ack(2)
	wantPut(t, p, Pending, Count{Required: 2, Received: 1, Live: 2}, 1, 3, 4)
	p.Ack(5)
	wantPut(t, p, Won, Count{Required: 2, Received: 2, Live: 2}, 1, 4)
}
