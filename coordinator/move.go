package coordinator

import (
	"slices"

	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/ring"
)

// join places a request in a move. Both layouts count: the owners of both come first, then those of the old one alone,
// who hold the item, then those of the next alone, who may not have pulled it yet; then the fallbacks of either.
//
// Where the next layout has more partitions the epoch goes by those: each lies in one of the old layout, so that it has one
// owner set on either side.
func (pl *placement) join(n int) {
	base, next := pl.epoch.Owners(pl.partition, n), pl.epoch.NextOwners(pl.partition, n)
	pl.n = max(len(base), len(next))
	pl.places = pl.epoch.ActiveOwners(pl.partition, n)
	pl.owners = len(pl.places)
	pl.sides = []quorum.Side{pl.side(base), pl.side(next)}
	pl.add(pl.epoch.Guardians(pl.partition, n))
	pl.add(pl.epoch.NextGuardians(pl.partition, n))
}

// add appends the nodes that have no place yet.
func (pl *placement) add(nodes []ring.NodeID) {
	for _, id := range nodes {
		if !slices.Contains(pl.places, id) {
			pl.places = append(pl.places, id)
		}
	}
}

func (pl *placement) side(owners []ring.NodeID) quorum.Side {
	side := quorum.Side{N: len(owners)}
	for _, id := range owners {
		side.Places = side.Places.With(slices.Index(pl.places, id))
	}
	return side
}

// putPlan is the plan of a write.
func (pl *placement) putPlan(w int, strict bool) quorum.PutPlan {
	plan := quorum.PutPlan{N: pl.owners, W: w, Strict: strict, Up: pl.usable(strict), Self: pl.self}
	for _, side := range pl.sides {
		side.Need = w
		plan.Sides = append(plan.Sides, side)
	}
	return plan
}

// inBothFirst moves the owners of both layouts to the front of what is a list of owners.
func (pl *placement) inBothFirst(owners []ring.NodeID) []ring.NodeID {
	if pl.sides == nil {
		return owners
	}
	both := pl.sides[0].Places & pl.sides[1].Places
	slices.SortStableFunc(owners, func(a, b ring.NodeID) int {
		return later(pl, both, a) - later(pl, both, b)
	})
	return owners
}

func later(pl *placement, both quorum.Places, id ring.NodeID) int {
	if both.Has(slices.Index(pl.places, id)) {
		return 0
	}
	return 1
}
