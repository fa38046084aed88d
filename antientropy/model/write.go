package model

import (
	"math/bits"

	"github.com/starling-db/starling/causal"
)

type messageKind uint8

const (
	writeMessage messageKind = iota
	repairMessage
	hintMessage
)

// message is a state on its way. It may be delivered at any later time, twice, or never.
type message struct {
	kind     messageKind
	from, to int
	id       int // of the receiving node: a new node does not get what was sent to the one before
	item     int
	state    causal.State
	attempt  int
	hintFor  int // at a fallback; -1: none
}

// newPut makes a write and tries it once. Its request id carries the coordinator's time.
func (w *world) newPut(coordinator, item int, t token, tombstone bool, reach set) {
	if len(w.writes) >= maxWrites || !w.nodes[coordinator].up {
		return
	}
	n := len(w.writes)
	w.writes = append(w.writes, write{
		item: item, context: t.context, seen: t.seen, tombstone: tombstone,
		id: requestID(n), drawn: w.reading(coordinator, 0),
	})
	w.put(n, coordinator, reach)
}

// put is one attempt: merge, mint, send. reach are the owners that the coordinator gets through to.
func (w *world) put(n, coordinator int, reach set) {
	wr, c := &w.writes[n], &w.nodes[coordinator]
	r := w.record(coordinator, wr.item)
	s := causal.State{Versions: r.versions}
	_, known := s.Known(wr.id)
	if !known && !w.mint(n, coordinator, r) {
		return
	}
	k := len(w.attempts)
	w.attempts = append(w.attempts, attempt{
		write: n, coordinator: coordinator, process: c.process, until: w.now + deadline, self: coordinator,
	})
	w.log("put w%d item %d at %s, reaches %v, known %v; %s has %v", n, wr.item, names[coordinator], reach, known, names[coordinator], r.versions)
	counts := isOwner(coordinator)
	fallback := owners
	for p := range owners {
		switch {
		case p == coordinator:
		case reach.has(p):
			w.send(message{kind: writeMessage, from: coordinator, to: p, item: wr.item, attempt: k, hintFor: -1})
		case !isOwner(coordinator) && !counts:
			counts = true
			r.targets |= 1 << p
			w.attempts[k].self = p
		case !w.mode.sloppy:
			w.keepHint(coordinator, wr.item, p)
		default:
			if fallback == coordinator {
				fallback++
			}
			if fallback < guardians {
				w.send(message{kind: writeMessage, from: coordinator, to: fallback, item: wr.item, attempt: k, hintFor: p})
				fallback++
			}
		}
	}
	if !isOwner(coordinator) && r.targets == 0 {
		*r = record{} // all were reached: its copy stands in for nobody
	}
	w.countOwn(k, counts)
}

// mint makes the write a version in the coordinator's record, or refuses: outside the retry window.
func (w *world) mint(n, coordinator int, r *record) bool {
	wr, c := &w.writes[n], &w.nodes[coordinator]
	s := causal.State{Versions: r.versions, Floor: c.memory.floor, PurgeLevel: min(c.memory.purge, c.memory.floor)}
	h := w.reading(coordinator, max(s.MaxHLC(), wr.context.MaxHLC()))
	if w.rules.MintWindow {
		if h > forth(wr.drawn, retryWindow) {
			w.stats.Refused++
			return false
		}
		h = max(h, wr.drawn)
	}
	if r.actor == 0 {
		w.actors++
		r.actor = w.actors
	}
	w.setClock(coordinator, h)
	merged, _ := causal.Mint(causal.Siblings, s, r.actor, h, causal.Write{
		Context: wr.context, RequestID: wr.id, Tombstone: wr.tombstone,
	})
	r.versions = merged.Versions
	return true
}

// keepHint is what a strict coordinator does for an owner that failed. It counts for nothing.
func (w *world) keepHint(coordinator, item, target int) {
	h := &w.nodes[coordinator].memory.hints[item]
	if isOwner(coordinator) {
		w.receive(coordinator, h, causal.State{}, causal.State{Versions: w.record(coordinator, item).versions})
	}
	h.targets |= 1 << target
}

// countOwn syncs and counts the coordinator's own copy, as the mode has it.
func (w *world) countOwn(k int, counts bool) {
	a := &w.attempts[k]
	if !counts && !w.rules.StandInCounts {
		counts = true // weakened: a copy that stands in for nobody counts
	}
	switch {
	case w.mode.memory && counts:
		w.acknowledge(k, a.self)
	case w.mode.memory:
	case w.mode.parallel:
		a.unsynced = counts
	default:
		a.unsynced = counts
		w.sync(a.coordinator)
	}
}

// acknowledge counts a copy for one owner, each once, while the coordinator lives and waits.
func (w *world) acknowledge(k, owner int) {
	a := &w.attempts[k]
	c := &w.nodes[a.coordinator]
	if !c.up || c.process != a.process || w.now > a.until {
		return
	}
	a.counted |= 1 << owner
	if wr := &w.writes[a.write]; bits.OnesCount64(uint64(a.counted)) >= w.mode.quorum && !wr.acked {
		wr.acked = true
		w.stats.Acked++
		w.log("      w%d is acknowledged", a.write)
	}
}

func (w *world) send(m message) {
	m.id = w.nodes[m.to].id
	if m.kind == writeMessage {
		m.state = w.travel(m.from, m.item)
	}
	w.messages = append(w.messages, m)
}

// travel is the state that a node sends of an item.
func (w *world) travel(i, item int) causal.State {
	s := w.state(i, item)
	if !w.rules.WholeStates && len(s.Versions) > 0 {
		return causal.State{Versions: s.Versions[len(s.Versions)-1:]}
	}
	return s
}

// deliver hands a message over; lostAck says that the sender never hears of it.
func (w *world) deliver(m message, lostAck bool) {
	n := &w.nodes[m.to]
	if !n.up || n.id != m.id {
		return
	}
	r := w.record(m.to, m.item)
	if m.kind == writeMessage && w.tooOld(m, r) {
		w.stats.Refused++
		w.log("%s refuses w%d: at or below its floor %v or attestation %v", names[m.to], w.attempts[m.attempt].write, n.memory.floor, n.memory.attested)
		return
	}
	w.receive(m.to, r, w.claims(m.to), m.state)
	if !isOwner(m.to) && m.hintFor >= 0 {
		r.targets |= 1 << m.hintFor
	}
	w.log("%s gets %s of item %d from %s: %v floor %v; has %v", names[m.to], [...]string{"write", "repair", "hint"}[m.kind], m.item, names[m.from], m.state.Versions, m.state.Floor, r.versions)
	if !w.mode.memory || m.kind == hintMessage {
		w.sync(m.to)
	}
	switch {
	case lostAck:
	case m.kind == writeMessage && m.hintFor >= 0:
		w.acknowledge(m.attempt, m.hintFor)
	case m.kind == writeMessage:
		w.acknowledge(m.attempt, m.to)
	case m.kind == hintMessage:
		w.handedOff(m)
	}
}

// tooOld says that the write that m carries is fresh here and lies at or below the floor, or what was attested.
func (w *world) tooOld(m message, r *record) bool {
	n := &w.nodes[m.to]
	var limit causal.HLC
	if isOwner(m.to) && !n.memory.rebuilding {
		limit = n.memory.floor
	}
	if w.rules.AttestRefuses {
		limit = max(limit, n.memory.attested)
	}
	if !w.rules.RefuseBelowFloor {
		limit = 0
	}
	id := w.writes[w.attempts[m.attempt].write].id
	for _, v := range m.state.Versions {
		if v.RequestID == id && v.Dot.HLC <= limit && !holds(r.versions, v.Dot) {
			return true
		}
	}
	return false
}

// sendHint offers a hint to one of the owners that it stands in for.
func (w *world) sendHint(from, item, start int) {
	n := &w.nodes[from]
	for k := range owners {
		p := (start + k) % owners
		if h := &n.memory.hints[item]; n.up && h.targets.has(p) {
			s := causal.State{Versions: h.versions}
			if !isOwner(from) {
				s = w.travel(from, item)
			}
			w.send(message{kind: hintMessage, from: from, to: p, item: item, state: s, hintFor: -1})
			return
		}
	}
}

// handedOff takes the owner out of the targets, if the record is still what it has synced.
func (w *world) handedOff(m message) {
	n := &w.nodes[m.from]
	h := &n.memory.hints[m.item]
	if !n.up || !h.targets.has(m.to) || w.rules.HandoffExact && !sameDots(h.versions, m.state.Versions) {
		return
	}
	h.targets &^= 1 << m.to
	if h.targets == 0 {
		actor := h.actor
		*h = record{}
		if !w.rules.ActorDiesWithHint {
			h.actor = actor
		}
		w.log("      %s drops its hint of item %d", names[m.from], m.item)
	}
	w.sync(m.from)
}
