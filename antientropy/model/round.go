package model

import "github.com/starling-db/starling/causal"

// round is the one round under way. Who runs it is not modelled: it has no state that could be lost,
// a new one may begin at any time.
type round struct {
	active    bool
	number    int
	g         causal.HLC
	attested  set
	process   [guardians]int
	exchanged set        // pairs
	lowest    causal.HLC // floor of an owner that attested
}

func (w *world) watermarkOf(g causal.HLC) causal.HLC { return back(g, longest) }

// startRound begins a round at an owner's present reading. An older one is forgotten.
func (w *world) startRound(leader int) {
	n := &w.nodes[leader]
	if !isOwner(leader) || !n.up || n.memory.rebuilding {
		return
	}
	g := w.reading(leader, 0)
	if w.watermarkOf(g) <= w.watermark {
		return
	}
	w.setClock(leader, g)
	w.round = round{active: true, number: w.round.number + 1, g: g, lowest: causal.MaxHLC}
	w.log("%s starts a round at %v, T = %v", names[leader], g, w.watermarkOf(g))
}

// attest is what a guardian promises for the round, if it can.
func (w *world) attest(i int) {
	r, n := &w.round, &w.nodes[i]
	if !r.active || r.attested.has(i) || !w.mayAttest(i) {
		return
	}
	if n.up {
		if w.rules.AttestLifts && n.clock < r.g {
			w.setClock(i, r.g)
		}
		n.memory.attested = max(n.memory.attested, w.watermarkOf(r.g))
		n.disk.attested = n.memory.attested
	}
	if isOwner(i) {
		r.lowest = min(r.lowest, n.memory.floor)
	}
	r.attested |= 1 << i
	r.process[i] = n.process
	w.log("%s attests, up %v", names[i], n.up)
}

func (w *world) mayAttest(i int) bool {
	n := &w.nodes[i]
	if !n.up {
		return !w.rules.AllAttest
	}
	for _, h := range n.memory.hints {
		for _, v := range h.versions {
			if w.rules.HintsBlockAttest && v.Dot.HLC <= w.watermarkOf(w.round.g) {
				return false
			}
		}
	}
	if !isOwner(i) {
		return true
	}
	if n.memory.rebuilding {
		return !w.rules.RebuildingAbstains
	}
	return n.memory.floor >= w.watermark || w.rules.AnyFloorAttests
}

// commitRound makes T the watermark, if all that the round promises has been done by living processes.
func (w *world) commitRound() {
	r := &w.round
	pairsDone := r.exchanged == 1<<len(pairs)-1 || !w.rules.AllPairs && r.exchanged != 0
	if !r.active || r.attested != allGuardians || !pairsDone {
		return
	}
	r.active = false
	for i := range w.nodes {
		if w.rules.VoidOnRestart && w.nodes[i].process != r.process[i] {
			w.stats.Voided++
			w.log("the round is void: %s is another process", names[i])
			return
		}
	}
	if w.rules.LowestFloorPurges {
		w.purgeLevel = max(w.purgeLevel, r.lowest)
	} else {
		w.purgeLevel = w.watermark
	}
	w.watermark = w.watermarkOf(r.g)
	w.committed = r.process
	w.stats.Rounds++
	w.log("the round commits: watermark %v, purge level %v", w.watermark, w.purgeLevel)
}

// raiseFloor is an owner's part in the end of a round, of which it hears here.
func (w *world) raiseFloor(i int) {
	n := &w.nodes[i]
	if !isOwner(i) || !n.up || n.memory.floor >= w.watermark {
		return
	}
	if !w.rules.FloorFromData {
		n.memory.rebuilding = false // weakened: hearing of the watermark is enough
	} else if n.memory.rebuilding && w.rules.RebuildingAbstains || n.process != w.committed[i] && w.rules.RaiseByParticipant {
		return
	}
	n.memory.rebuilding = false
	n.memory.purge = max(n.memory.purge, w.purgeLevel)
	w.setFloor(i, w.watermark)
	w.log("%s raises its floor to %v", names[i], w.watermark)
}

// purge drops what the purge level lets go.
func (w *world) purge(i int) {
	n := &w.nodes[i]
	if !isOwner(i) || !n.up || n.memory.rebuilding {
		return
	}
	level := w.purgeLevelOf(i)
	changed := false
	for item := range items {
		changed = w.purgeItem(&n.memory.data[item], level) || changed
	}
	if !changed {
		return
	}
	w.log("%s purges up to %v", names[i], level)
	if !w.mode.memory {
		w.sync(i)
	}
}

// purgeLevelOf is up to where an owner may purge.
func (w *world) purgeLevelOf(i int) causal.HLC {
	n := &w.nodes[i]
	level := n.memory.purge
	switch {
	case !w.rules.PurgeByWatermark:
		level = back(w.physical(i), grace)
	case !w.rules.PurgeBelowPrevious:
		level = min(w.watermark, n.memory.floor)
	}
	if w.rules.PurgeMargin {
		level = back(level, retryWindow+maxOffset)
	}
	return level
}

func (w *world) purgeItem(r *record, level causal.HLC) (changed bool) {
	var kept []causal.Version
	for _, v := range r.versions {
		n := number(v.RequestID)
		switch {
		case v.Tombstone && v.Dot.HLC <= level:
			w.purged |= 1 << n
			w.gone |= w.writes[n].seen
			w.stats.Tombstones++
			changed = true
			continue
		case v.Past.IsZero():
		case v.Dot.HLC <= level:
			v.Past = causal.Past{}
			w.gone |= w.writes[n].seen
			w.stats.Pasts++
			changed = true
		case !w.rules.PurgeWholePast:
			if p := above(v.Past, level); !p.Equal(v.Past) {
				v.Past, changed = p, true
				w.gone |= w.writes[n].seen
			}
		}
		kept = append(kept, v)
	}
	r.versions = kept
	return changed
}

// above is the weakened purge of a past: single entries go.
func above(p causal.Past, level causal.HLC) causal.Past {
	var vector []causal.Dot
	for _, d := range p.Vector() {
		if d.HLC > level {
			vector = append(vector, d)
		}
	}
	return causal.NewPast(vector, nil)
}
