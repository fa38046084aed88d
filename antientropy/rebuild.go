package antientropy

import (
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// Rebuild is how far the rebuilding of one part has come, whose data vouches for nothing until it has been compared whole with
// every other owner's. It is pure, and forgotten with the process.
type Rebuild struct {
	level  causal.HLC
	pulled map[ring.NodeID]source
}

type source struct {
	floor   causal.HLC
	vouches bool
}

// NewRebuild begins at the purge level that this owner knows of.
func NewRebuild(level causal.HLC) *Rebuild {
	return &Rebuild{level: level, pulled: make(map[ring.NodeID]source)}
}

// Level is the purge level that it began at: with a higher one, begin anew.
func (r *Rebuild) Level() causal.HLC { return r.level }

// Lacks reports whether an owner is yet to be compared with.
func (r *Rebuild) Lacks(id ring.NodeID) bool {
	_, done := r.pulled[id]
	return !done
}

// Pulled says that all of an owner's data has been merged. floor is that owner's before that began; one that rebuilds as well
// adds data and vouches for nothing.
func (r *Rebuild) Pulled(id ring.NodeID, floor causal.HLC, vouches bool) {
	r.pulled[id] = source{floor, vouches}
}

// Ended reports whether all other owners were pulled, and what this owner's data vouches for then: up to the highest floor
// among them. Where nobody vouches for anything all owners hold what is left, and begin with that from nothing.
func (r *Rebuild) Ended(others []ring.NodeID) (floor, purgeLevel causal.HLC, ended bool) {
	vouched := false
	for _, id := range others {
		s, done := r.pulled[id]
		if !done {
			return 0, 0, false
		}
		if s.vouches {
			floor, vouched = max(floor, s.floor), true
		}
	}
	if !vouched {
		return 0, 0, true
	}
	return floor, min(r.level, floor), true
}
