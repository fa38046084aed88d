package quorum

import (
	"fmt"
	"slices"
	"testing"
)

// TestGetInAMoveExhaustive walks gets over two owner sets as TestGetExhaustive does those over one: sets that are
// disjoint, that overlap, that are the same, and of different sizes, every R of each, every set of owners that can't be
// asked, with no fallbacks or one for each that can't. Five places at most; of the larger moves less goes wrong at a time,
// and under the race detector some are left out.
func TestGetInAMoveExhaustive(t *testing.T) {
	type walk struct {
		move
		bounds getBounds
	}
	free := getBounds{digests: 3, late: all, failures: all, after: true, odd: true}
	plain := getBounds{digests: 2, late: all, failures: all, after: true}
	walks := []walk{
		{move{1, 0, 0}, free}, {move{0, 1, 1}, free}, {move{1, 0, 1}, free}, {move{1, 1, 0}, free}, {move{2, 0, 0}, plain},
		{move{1, 1, 1}, plain}, {move{1, 0, 2}, plain}, {move{2, 0, 1}, plain},
		{move{2, 1, 1}, getBounds{digests: 2, late: 1, failures: 1, after: true}},
		{move{0, 2, 2}, getBounds{digests: 2, late: 0, failures: all, after: true}},
		{move{1, 2, 2}, getBounds{digests: 2, late: 0, failures: 0, after: true}},
	}
	switch {
	case *exhaustive:
		walks = []walk{
			{move{1, 1, 1}, free}, {move{0, 2, 2}, free}, {move{2, 1, 1}, plain},
			{move{1, 2, 2}, getBounds{digests: 2, late: 1, failures: 1, after: true}},
			{move{0, 3, 3}, getBounds{digests: 2, late: 1, failures: 1, after: true}},
		}
	case raced:
		walks = append(walks[:7], walk{move{2, 1, 1}, getBounds{digests: 2, late: 0, failures: 1, after: true}})
	}
	for _, w := range walks {
		t.Run(fmt.Sprintf("%v %+v", w.move, w.bounds), func(t *testing.T) {
			t.Parallel()
			plans, states := 0, 0
			for mask := range 1 << w.owners() {
				for _, sloppy := range []bool{false, true} {
					for _, plan := range w.gets(Places(mask), sloppy) {
						states += exploreGet(t, w.bounds, plan)
						plans++
					}
				}
			}
			t.Logf("%d plans, %d states", plans, states)
		})
	}
}

// gets are the plans in which the owners of the mask can be asked and, when sloppy, a fallback in the place of each
// other one, as far as there is room.
func (m move) gets(mask Places, sloppy bool) []GetPlan {
	const room = 5
	var standFor []int // by candidate: the owner as which it counts
	for owner := range m.owners() {
		if mask.Has(owner) && len(standFor) < room {
			standFor = append(standFor, owner)
		}
	}
	if !sloppy {
		slices.Reverse(standFor) // the nearest are not always those of both
	}
	owners := len(standFor)
	for owner := range m.owners() {
		if !mask.Has(owner) && sloppy && len(standFor) < min(room, m.owners()) {
			standFor = append(standFor, owner)
		}
	}
	if sloppy && len(standFor) == owners {
		return nil // no other than the one without
	}
	var plans []GetPlan
	for base := 1; base <= m.both+m.base; base++ {
		for next := 1; next <= m.both+m.next; next++ {
			plan := GetPlan{Candidates: len(standFor), Owners: owners, Sides: m.sides(base, next)}
			for i := range plan.Sides {
				of := plan.Sides[i].Places
				plan.Sides[i].Places = 0
				for place, owner := range standFor {
					if of.Has(owner) {
						plan.Sides[i].Places = plan.Sides[i].Places.With(place)
					}
				}
			}
			plans = append(plans, plan)
		}
	}
	return plans
}
