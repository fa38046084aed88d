package ring

import (
	"fmt"
	"math"
	"slices"
)

// name is what a node that is complete writes down: the origin or, with that rule taken away, the
// owners.
func (w *world) name(e *Epoch, p int, origin uint64) uint64 {
	if !w.off.reuseName {
		return origin
	}
	owners := e.Owners(p, w.q.N)
	if origin != e.Origin(p, w.q.N) {
		owners = e.NextOwners(p, w.q.N)
	}
	set := setOf(owners)
	if !slices.Contains(w.names, set) {
		w.names = append(w.names, set)
	}
	return uint64(slices.Index(w.names, set))
}

// facts are what everybody knows, less what rules were taken away.
func (w *world) facts(e *Epoch) Facts {
	complete := func(id NodeID, p int, origin uint64) bool {
		for k := range worldRegisters {
			if e.PartitionOf(registerToken(k)) == p && w.nodes[worldIndex(id)].complete[k]>>w.name(e, p, origin)&1 == 0 {
				return false
			}
		}
		return true
	}
	return Facts{
		Epoch: func(id NodeID) uint64 {
			if w.off.commitUnfenced {
				return math.MaxUint64
			}
			return uint64(w.nodes[worldIndex(id)].epoch)
		},
		Complete: func(id NodeID, p, n int, origin uint64) bool {
			stays := slices.Contains(e.Owners(p, n), id) && (e.Origin(p, n) == 0 || complete(id, p, e.Origin(p, n)))
			return w.off.commitIncomplete || w.off.stayersSkip && stays || complete(id, p, origin)
		},
	}
}

// drop lets a node drop a register if it may. What it drops must be at all owners by then, if it
// was acknowledged before they came in.
func (w *world) drop(i, k int) {
	e := w.log[w.nodes[i].epoch]
	p := e.PartitionOf(registerToken(k))
	sets := w.sets[w.nodes[i].epoch][k]
	if (sets[0]|sets[1])>>i&1 != 0 || !w.off.dropEarly && !e.MayDrop(worldID(i), p, w.q.N, w.facts(e)) {
		return
	}
	dropped := w.nodes[i].data[k]
	w.nodes[i].data[k], w.nodes[i].pulled[k] = 0, 0
	last := w.log.last()
	if !w.thin || last.Origin(last.PartitionOf(registerToken(k)), w.q.N) != e.Origin(p, w.q.N) {
		return // else its owners may have gone since, in their turn
	}
	for _, id := range e.Owners(p, w.q.N) {
		for epoch := range e.Origin(p, w.q.N) {
			if dropped&w.ackedAt[k][epoch]&^w.nodes[worldIndex(id)].data[k] != 0 {
				w.violation = fmt.Sprintf("node %d drops a copy of register %d that an owner lacks", i, k)
			}
		}
	}
}

// check finds what is on too few owners of the newest stable layout: an acknowledged write, or one that a read has shown.
func (w *world) check() {
	e := w.log.last()
	for k := range worldRegisters {
		owners := e.Owners(e.PartitionOf(registerToken(k)), w.q.N)
		for n := range w.written[k] {
			copies := 0
			for _, id := range owners {
				copies += int(w.nodes[worldIndex(id)].data[k] >> n & 1)
			}
			if w.acked[k]>>n&1 == 1 && copies < w.q.W || w.shown[k]>>n&1 == 1 && copies < min(w.stable(), len(owners)) {
				w.violation = fmt.Sprintf("epoch %d: a write to register %d is on %d of its owners", e.Number, k, copies)
			}
		}
	}
}
