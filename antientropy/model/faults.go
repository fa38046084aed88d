package model

// survives applies a loss and takes it back if it would take the last copy of an acknowledged write,
// or the last owner that vouches for anything: no rule protects from that.
func (w *world) survives(i int, lose func(n *node)) bool {
	if w.unlost() != 0 {
		return false
	}
	n := &w.nodes[i]
	before := *n
	lose(n)
	vouching := 0
	for k := range owners {
		// What comes back from a crash vouches on; an old or empty disk may not.
		if !w.nodes[k].memory.rebuilding && (k != i || n.copied == before.copied && n.id == before.id) {
			vouching++
		}
	}
	if w.missing() != 0 || vouching == 0 {
		*n = before
		return false
	}
	n.process++
	return true
}

// crash ends the process; what was not synced is gone.
func (w *world) crash(i int) {
	if !w.nodes[i].up {
		return
	}
	lost := w.survives(i, func(n *node) { n.up, n.memory = false, n.disk })
	if lost {
		w.log("%s crashes", names[i])
	}
}

// start begins a process on what the disk holds.
func (w *world) start(i int) {
	n := &w.nodes[i]
	if n.up {
		return
	}
	n.up = true
	n.process++
	n.pulled, n.pulledFloor, n.pulledAny = 0, 0, false
	stale := n.disk.bound < w.remembered[i]
	// Lifted to what peers remember, or a node that was put back would rebuild again at its next start.
	n.clock = max(n.disk.bound, w.remembered[i])
	heard := w.hear(i)
	if w.rules.AttestSurvives {
		n.memory.attested = max(n.memory.attested, heard.watermark)
	} else {
		n.memory.attested = 0
	}
	if w.rules.StartLifts {
		n.clock = max(n.clock, heard.watermark)
	}
	if w.rules.FreshActors {
		for k := range items {
			n.memory.data[k].actor, n.memory.hints[k].actor = 0, 0
		}
	}
	stale = stale || n.memory.floor < heard.purge
	if isOwner(i) && stale && w.rules.NoticePutBack {
		n.memory.rebuilding = true
	}
	if n.memory.rebuilding {
		n.memory.floor, n.memory.purge = 0, max(n.memory.purge, heard.purge)
	}
	n.disk.bound = forth(n.clock, lease)
	n.memory.bound = n.disk.bound
	n.disk = n.memory
	w.log("%s starts, rebuilding %v, floor %v", names[i], n.memory.rebuilding, n.memory.floor)
}

// hear is what a starting node learns.
func (w *world) hear(i int) levels {
	if w.rules.StartHearsAll {
		return levels{w.watermark, w.purgeLevel}
	}
	for k := 1; k < guardians; k++ {
		if p := &w.nodes[(i+k)%guardians]; p.up {
			return levels{p.memory.floor, p.memory.purge}
		}
	}
	return levels{}
}

// wipe replaces a node by a new one in its place.
func (w *world) wipe(i int) {
	ok := w.survives(i, func(n *node) {
		w.ids++
		*n = node{id: w.ids, process: n.process, skew: n.skew}
		n.memory.rebuilding = isOwner(i)
		n.disk = n.memory
	})
	if !ok {
		return
	}
	w.remembered[i] = 0
	w.log("%s is wiped", names[i])
	w.start(i)
}

// copyDisk takes the image that putBack may bring back, again in place of an older one.
func (w *world) copyDisk(i int, again bool) {
	if w.nodes[i].copied != nil && !again {
		return
	}
	c := w.nodes[i].disk
	w.nodes[i].copied = &c
	w.log("the disk of %s is copied", names[i])
}

func (w *world) putBack(i int) {
	n := &w.nodes[i]
	if n.copied == nil {
		return
	}
	older := n.disk.length > n.copied.length
	ok := w.survives(i, func(n *node) {
		n.up, n.disk, n.memory, n.copied = false, *n.copied, *n.copied, nil
	})
	if !ok {
		return
	}
	w.log("%s gets its old disk back", names[i])
	if isOwner(i) && older && n.disk.bound >= w.remembered[i] && n.disk.floor >= w.purgeLevel {
		w.stats.Unnoticed++
	}
	w.start(i)
}

// gossip tells peers the bound of a node's clock.
func (w *world) gossip(i int) {
	if n := &w.nodes[i]; n.up {
		w.remembered[i] = max(w.remembered[i], n.disk.bound)
	}
}

// loseItem takes an item from an owner, which notices nothing and goes on vouching. At the time some other owner that
// vouches has all that was in it, and until it is back the model takes no other copy away: no rule protects from more.
func (w *world) loseItem(i, item int) {
	n := &w.nodes[i]
	r := &n.memory.data[item]
	if w.unlost() != 0 || !isOwner(i) || !n.up || n.memory.rebuilding || len(r.versions) == 0 {
		return
	}
	for k := range owners {
		o := &w.nodes[k]
		if k == i || o.memory.rebuilding || !sameDots(o.memory.data[item].versions, r.versions) || !sameDots(o.disk.data[item].versions, r.versions) {
			continue
		}
		w.lostAt, w.lost = i, writesOf(r.versions)
		*r = record{} // with its actor: minting on with it would hide what was lost
		w.sync(i)
		w.stats.Unnoticed++
		w.stats.LostItems++
		w.log("%s loses item %d without noticing", names[i], item)
		return
	}
}

// unlost are the writes that were lost without notice and have not come back, nor been replaced.
func (w *world) unlost() set {
	if w.lost == 0 {
		return 0
	}
	there := w.purged
	for item := range items {
		there |= writesOf(w.nodes[w.lostAt].memory.data[item].versions)
	}
	w.lost &^= w.withPasts(there)
	return w.lost
}
