package model

import "github.com/starling-db/starling/causal"

// exchange is one pair of owners trading all items of the partition, one after the other.
type exchange struct {
	active  bool
	next    int
	process [2]int
	floor   [2]causal.HLC // when it began: what was pulled vouches for no more
	round   int           // that it counts for; 0: none
}

// exchangeItem trades the next item of a pair, or begins with the first. A half one sends the state
// one way and breaks off.
func (w *world) exchangeItem(p int, half bool) {
	e := &w.exchanges[p]
	a, b := pairs[p][0], pairs[p][1]
	x, y := &w.nodes[a], &w.nodes[b]
	if !x.up || !y.up {
		e.active = false
		return
	}
	if process := [2]int{x.process, y.process}; !e.active || e.process != process {
		*e = exchange{active: true, process: process, floor: [2]causal.HLC{w.vouched(a), w.vouched(b)}}
		if w.round.active && (w.round.attested == allGuardians || !w.rules.ExchangeAfterAttest) {
			e.round = w.round.number
		}
	}
	item := e.next
	toA, toB := w.travel(b, item), w.travel(a, item)
	w.receive(a, w.record(a, item), w.claims(a), toA)
	if !half {
		w.receive(b, w.record(b, item), w.claims(b), toB)
	}
	if len(toA.Versions)+len(toB.Versions) > 0 {
		w.log("exchange %s-%s item %d half %v; %v and %v", names[a], names[b], item, half, w.record(a, item).versions, w.record(b, item).versions)
	}
	if half {
		e.active = false
		return
	}
	e.next++
	if e.next == items || e.next == 1 && !w.rules.WholeExchange {
		w.exchanged(p)
	}
	e.active = e.next < items
}

// vouched is the floor that an owner lends to who pulls it whole.
func (w *world) vouched(i int) causal.HLC {
	if n := &w.nodes[i]; !n.memory.rebuilding {
		return n.memory.floor
	}
	return 0
}

// exchanged ends an exchange: for rebuilding owners, for those that lag behind, and for the round.
func (w *world) exchanged(p int) {
	e := &w.exchanges[p]
	a, b := pairs[p][0], pairs[p][1]
	fromA, fromB := !w.nodes[a].memory.rebuilding, !w.nodes[b].memory.rebuilding
	w.pulledWhole(a, b, e.floor[1], fromB)
	w.pulledWhole(b, a, e.floor[0], fromA)
	if w.round.active && e.round == w.round.number {
		w.round.exchanged |= 1 << p
		w.log("      pair %s-%s counts for the round", names[a], names[b])
	}
}

// pulledWhole gives i the floor of a source all whose items it has merged: the source had, up to that
// floor, everything or its successor, and so has i now. A rebuilding source adds data but no floor.
func (w *world) pulledWhole(i, from int, floor causal.HLC, vouches bool) {
	n := &w.nodes[i]
	if !n.memory.rebuilding {
		if vouches && floor > n.memory.floor {
			w.setFloor(i, floor)
			w.log("      %s takes the floor %v from %s", names[i], floor, names[from])
		}
		return
	}
	if level := w.nodes[from].memory.purge; vouches && level > n.memory.purge && w.rules.RebuildAtOneLevel {
		n.pulled, n.pulledFloor, n.pulledAny = 0, 0, false
		n.memory.purge = level
		return
	}
	n.pulled |= 1 << from
	if vouches {
		n.pulledFloor, n.pulledAny = max(n.pulledFloor, floor), true
	}
	all := n.pulled == allOwners&^(1<<i) || !w.rules.RebuildFromAll
	if !all || !n.pulledAny {
		return
	}
	n.memory.rebuilding = false
	w.setFloor(i, n.pulledFloor)
	w.stats.Rebuilt++
	w.log("      %s is rebuilt, floor %v", names[i], n.memory.floor)
}

// setFloor writes a floor into the log, after the data that it vouches for.
func (w *world) setFloor(i int, floor causal.HLC) {
	n := &w.nodes[i]
	n.memory.floor = floor
	if !w.rules.FloorAfterData {
		n.disk.floor, n.disk.rebuilding = floor, n.memory.rebuilding
		return
	}
	w.sync(i)
}
