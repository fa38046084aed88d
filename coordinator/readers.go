package coordinator

import (
	"slices"

	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/ring"
)

// candidate is a node that a read may ask.
type candidate struct {
	node    ring.NodeID
	hintFor ring.NodeID // the owner that it stands in for
	owner   int         // the place of the owner as which it counts: its own, or that of hintFor
}

func (t candidate) fallback() bool { return !t.hintFor.IsZero() }

// readers lists whom a read may ask, in the order in which it does: owners by speed, slow ones
// last; then, for a sloppy read, the fallbacks that would have taken writes in the place of owners
// that can't be reached. owners is the number of owners among them.
func (c *Coordinator) readers(pl *placement, strict bool) (list []candidate, owners int) {
	var fast, slow []ring.NodeID
	for i, id := range pl.places[:pl.owners] {
		switch pl.health[i] {
		case Up:
			fast = append(fast, id)
		case Slow:
			slow = append(slow, id)
		}
	}
	for _, id := range c.bySpeed(fast) {
		list = append(list, pl.ownCandidate(id))
	}
	usable := pl.usable(strict)
	for _, id := range slow {
		if t := pl.ownCandidate(id); usable[t.owner] {
			list = append(list, t)
		}
	}
	// Fallbacks alone can't tell that there is nothing: one owner of each side takes part, however slow.
	for side := range max(1, len(pl.sides)) {
		on := func(t candidate) bool { return pl.sides == nil || pl.sides[side].Places.Has(t.owner) }
		if slices.ContainsFunc(list, on) {
			continue
		}
		for _, id := range slow {
			if t := pl.ownCandidate(id); on(t) {
				list = append(list, t)
				break
			}
		}
	}
	owners = len(list)
	if !strict {
		list = pl.appendStandIns(list, usable)
	}
	return list, owners
}

func (pl *placement) ownCandidate(id ring.NodeID) candidate {
	return candidate{node: id, owner: slices.Index(pl.places, id)}
}

// appendStandIns appends a fallback for each owner that is not usable, the first for the first, as writes would go to
// them, unless the owner itself is asked all the same and so needs nobody in its stead.
func (pl *placement) appendStandIns(list []candidate, usable []bool) []candidate {
	asked := len(list)
	fallback := pl.owners
	for owner, ok := range usable[:pl.owners] {
		if ok {
			continue
		}
		for fallback < len(usable) && !usable[fallback] {
			fallback++
		}
		if fallback == len(usable) {
			break
		}
		if !slices.ContainsFunc(list[:asked], func(t candidate) bool { return t.owner == owner }) {
			list = append(list, candidate{node: pl.places[fallback], hintFor: pl.places[owner], owner: owner})
		}
		fallback++
	}
	return list
}

// getPlan is the plan of a read that asks the list, owners of them first.
func (pl *placement) getPlan(list []candidate, owners, r int) quorum.GetPlan {
	plan := quorum.GetPlan{N: pl.n, R: r, Candidates: len(list), Owners: owners}
	for _, side := range pl.sides {
		var places quorum.Places
		for i, t := range list {
			if side.Places.Has(t.owner) {
				places = places.With(i)
			}
		}
		plan.Sides = append(plan.Sides, quorum.Side{N: side.N, Need: r, Places: places})
	}
	return plan
}
