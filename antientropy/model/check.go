package model

import (
	"math/bits"

	"github.com/starling-db/starling/causal"
)

// withPasts adds to a set of writes all that their writers had seen.
func (w *world) withPasts(s set) set {
	all := s
	for rest := s; rest != 0; rest &= rest - 1 {
		all |= w.writes[first(rest)].seen
	}
	return all
}

func writesOf(vs []causal.Version) (s set) {
	for i := range vs {
		s |= 1 << number(vs[i].RequestID)
	}
	return s
}

// missing are the acknowledged writes of which no copy is left anywhere, and no successor either.
func (w *world) missing() set {
	there := w.purged
	for i := range w.nodes {
		m := &w.nodes[i].memory
		for k := range items {
			there |= writesOf(m.data[k].versions) | writesOf(m.hints[k].versions)
		}
	}
	return w.acked() &^ w.withPasts(there)
}

func (w *world) acked() (s set) {
	for n := range w.writes {
		if w.writes[n].acked {
			s |= 1 << n
		}
	}
	return s
}

// checkStep holds the invariants of every step. What was acknowledged is somewhere. No owner that vouches
// shows a client that asks it alone what a purged tombstone, or a version with a purged past, had replaced;
// other reads of few copies may be stale, and fallbacks alone vouch for nothing.
func (w *world) checkStep() {
	if m := w.missing(); m != 0 {
		w.fail("lost: no copy of acknowledged w%d is left", first(m))
	}
	var has [owners]set
	readable := set(0)
	for i := range owners {
		n := &w.nodes[i]
		for item := range items {
			has[i] |= writesOf(n.memory.data[item].versions)
		}
		if !n.up || n.memory.rebuilding && w.rules.RebuildingUnread {
			continue
		}
		readable |= 1 << i
		if back := has[i] & w.gone; back != 0 {
			w.fail("revived: %s shows w%d, whose successor's past is purged", names[i], first(back))
		}
	}
	w.checkFloors(has)
	for _, p := range pairs {
		if readable.has(p[0]) && readable.has(p[1]) {
			w.checkQuorum(has[p[0]] | has[p[1]])
		}
	}
}

// checkFloors holds the floors against what they say: of the acknowledged writes with dots up to its floor an owner lacks
// none, unless it was replaced there. Disks put back and items lost without notice are lies by nature.
func (w *world) checkFloors(has [owners]set) {
	if w.stats.Unnoticed > 0 {
		return
	}
	for i := range owners {
		m := &w.nodes[i].memory
		if m.rebuilding || m.floor == 0 || !w.nodes[i].up {
			continue
		}
		lacks := w.acked() &^ w.withPasts(has[i]|w.purged)
		for rest := lacks; rest != 0; rest &= rest - 1 {
			n := first(rest)
			if d, ok := w.dotOf(n); ok && d.HLC <= m.floor {
				w.fail("untrue: the floor %v of %s covers acknowledged w%d, which it lacks", showHLC(m.floor), names[i], n)
			}
		}
	}
}

// dotOf is the highest dot of a write that some owner has.
func (w *world) dotOf(n int) (top causal.Dot, found bool) {
	for i := range owners {
		for _, v := range w.nodes[i].memory.data[w.writes[n].item].versions {
			if number(v.RequestID) == n && (!found || top.Compare(v.Dot) < 0) {
				top, found = v.Dot, true
			}
		}
	}
	return top, found
}

// checkQuorum holds a strict read of two owners, of R+W > N, against what was acknowledged before. Writes that
// were lost with a process's memory, or with a disk put back that nobody noticed, are outside that promise.
func (w *world) checkQuorum(there set) {
	if w.mode.sloppy || w.mode.memory || w.stats.Unnoticed > 0 || w.mode.quorum < 2 {
		return
	}
	if unseen := w.acked() &^ w.withPasts(there|w.purged); unseen != 0 {
		w.fail("unseen: a quorum does not see acknowledged w%d", first(unseen))
	}
}

// checkRead is checkStep's second part for a merge of several copies.
func (w *world) checkRead(item int, s causal.State) {
	if back := writesOf(s.Versions) & w.gone; back != 0 {
		w.fail("revived: a read of item %d returns w%d, whose successor's past is purged", item, first(back))
	}
}

func first(s set) int { return bits.TrailingZeros64(uint64(s)) }

// checkEnd is the invariant of the healed partition.
func (w *world) checkEnd() {
	final := set(0)
	level := causal.HLC(0) // whoever has not heard of it yet still has what the others have purged
	for i := range owners {
		level = max(level, w.purgeLevelOf(i))
	}
	owned := func(i, item int) []causal.Version {
		s := causal.State{Versions: w.nodes[i].memory.data[item].versions}
		s, _ = causal.Purge(s, level, level)
		return s.Versions
	}
	for item := range items {
		vs := owned(0, item)
		for i := 1; i < owners; i++ {
			if o := owned(i, item); !sameDots(vs, o) {
				w.fail("diverged: item %d is %s at A and %s at %s", item, w.show(vs), w.show(o), names[i])
				return
			}
		}
		for _, v := range vs {
			if final.has(number(v.RequestID)) {
				w.fail("doubled: item %d is %s", item, w.show(vs))
				return
			}
			final |= 1 << number(v.RequestID)
		}
	}
	there := final | w.purged
	if lost := w.acked() &^ w.withPasts(there); lost != 0 {
		w.fail("lost: acknowledged w%d is at no owner, nor a successor", first(lost))
	}
	for x := range w.writes {
		if back := w.writes[x].seen & final; back != 0 && (there.has(x) || w.writes[x].acked) {
			w.fail("revived: w%d is back though w%d had seen it", first(back), x)
		}
	}
}

// checkPurged is the liveness: two rounds of a healthy partition have purged all tombstones and pasts.
func (w *world) checkPurged() {
	for i := range owners {
		for item := range items {
			for _, v := range w.nodes[i].memory.data[item].versions {
				if v.Tombstone || !v.Past.IsZero() {
					w.fail("stuck: two rounds left %s at %s", w.show([]causal.Version{v}), names[i])
				}
			}
		}
	}
}
