package quorum

import (
	"flag"
	"fmt"
	"slices"
	"testing"
)

var exhaustive = flag.Bool("exhaustive", false, "walk through larger state spaces (go test -timeout 30m ./coordinator/quorum -exhaustive); takes some minutes and half a GB")

// TestPutExhaustive drives puts through every order of acknowledgements, failures and lateness, for every plan up to
// the bounds: every W, sloppy and strict, every set of owners that are down, every coordinator. It holds each step
// against putHistory, which knows nothing but what was sent and what was reported. Histories that lead to the same
// state are followed once.
//
// A replica that refuses is a Fail at once, one whose message or answer is lost a Slow and then a Fail, one that is
// late a Slow and then an Ack; each comes before or after the verdict. What never comes at all is every prefix: each
// state on the way is checked.
//
// A preference list has at most as many fallbacks as owners. N = 1 to 3 are walked through with all of them, N = 4 and 5
// with one, and with -exhaustive N = 4 with three and N = 5 with two. Under the race detector, which has nothing to
// find here, N = 3 has two.
func TestPutExhaustive(t *testing.T) {
	bounds := []struct{ n, fallbacks int }{{1, 2}, {2, 3}, {3, 3}, {4, 1}, {5, 1}}
	switch {
	case *exhaustive:
		bounds = []struct{ n, fallbacks int }{{1, 3}, {2, 4}, {3, 3}, {4, 3}, {5, 2}}
	case raced:
		bounds = []struct{ n, fallbacks int }{{1, 2}, {2, 3}, {3, 2}, {4, 1}, {5, 1}}
	}
	for _, b := range bounds {
		t.Run(fmt.Sprintf("N=%d", b.n), func(t *testing.T) {
			t.Parallel()
			plans, states := 0, 0
			for fallbacks := range b.fallbacks + 1 {
				for mask := range 1 << (b.n + fallbacks) {
					for _, plan := range putPlans(b.n, b.n+fallbacks, mask) {
						states += explorePut(t, plan)
						plans++
					}
				}
			}
			t.Logf("%d plans, %d states", plans, states)
		})
	}
}

// putPlans are all plans with the places of the mask up.
func putPlans(n, places, mask int) []PutPlan {
	up := make([]bool, places)
	for i := range up {
		up[i] = mask>>i&1 == 1
	}
	var plans []PutPlan
	for self := range places {
		if !up[self] {
			continue
		}
		for w := 1; w <= n+1; w++ {
			plans = append(plans, PutPlan{N: n, W: w, Up: up, Self: self}, PutPlan{N: n, W: w, Up: up, Self: self, Strict: true})
		}
	}
	return plans
}

// explorePut checks the plan's refusal and, unless refused, all that can follow. Which owner
// coordinates makes no difference then, so only the first that is up is followed; a fallback that is
// down is as good as absent, and that plan is among the others.
func explorePut(t *testing.T, plan PutPlan) int {
	t.Helper()
	checkSelf(t, plan)
	count, refused := plan.Refusal()
	if want, wantRefused := specRefusal(plan); count != want || refused != wantRefused {
		t.Fatalf("%+v: refusal %+v, %v, want %+v, %v", plan, count, refused, want, wantRefused)
	}
	owner := slices.Index(plan.Up, true)
	if refused || plan.Self < plan.N && plan.Self != owner || slices.Contains(plan.Up[plan.N:], false) {
		return 0
	}
	e := &putExplorer{t: t, plan: plan, seen: map[putKey]bool{}}
	put := NewPut(plan)
	first := putEvent{kind: start}
	if plan.Sides != nil {
		checkJointStart(t, plan, put.Start())
	} else if got, want := put.Start(), (putHistory{plan: plan}).specSends(first); !slices.Equal(got, want) {
		t.Fatalf("%+v: start %v, want %v", plan, got, want)
	}
	e.visit(put, putHistory{plan: plan}.and(first, put.Start()))
	return len(e.seen)
}

// checkSelf: a coordinator that others can't reach has its own copy all the same.
func checkSelf(t *testing.T, plan PutPlan) {
	t.Helper()
	cut := plan
	cut.Up = slices.Clone(plan.Up)
	cut.Up[plan.Self] = false
	if got, want := NewPut(cut).Start(), NewPut(plan).Start(); !slices.Equal(got, want) {
		t.Fatalf("%+v: start %v, want %v as when it is up", cut, got, want)
	}
}

// specRefusal counts who could count: owners that are up and fallbacks for those that are not.
func specRefusal(p PutPlan) (Count, bool) {
	if p.Sides != nil {
		return specJointRefusal(p)
	}
	owners, fallbacks := 0, 0
	for i, up := range p.Up {
		if up && i < p.N {
			owners++
		} else if up && !p.Strict {
			fallbacks++
		}
	}
	down := min(p.N, len(p.Up)) - owners
	live := owners + min(down, fallbacks)
	idle := p.Self >= p.N && (p.Strict || down == 0)
	return Count{Required: p.W, Live: live}, live < p.W || idle
}

type putExplorer struct {
	t    *testing.T
	plan PutPlan
	seen map[putKey]bool // whether the put can still be won from there
}

// putKey is all that the future of a put and of the specification depends on. Whether a place was
// late or replaced matters as long as it owes an answer.
type putKey struct {
	machine, spec [10]uint16
	spares        int
}

func keyOf(p *Put, h putHistory) putKey {
	k := putKey{spares: len(p.spares)}
	for i, c := range p.copies {
		k.machine[i] = uint16(c.status)<<8 | uint16(c.owner)<<1
		if c.replaced && c.status == awaited {
			k.machine[i] |= 1
		}
	}
	const wasAcked, wasFailed, wasLate, wasReplaced = 1, 2, 4, 8
	for i := range h.events {
		ev := &h.events[i]
		switch ev.kind {
		case ack:
			k.spec[ev.place] |= wasAcked
		case fail:
			k.spec[ev.place] |= wasFailed
		case slow:
			k.spec[ev.place] |= wasLate
			if len(ev.sends) > 0 {
				k.spec[ev.place] |= wasReplaced
			}
		}
	}
	for _, s := range h.sends {
		k.spec[s.Place] |= uint16(s.For+1) << 4
	}
	for i, facts := range k.spec {
		if facts&(wasAcked|wasFailed) != 0 {
			k.spec[i] &^= wasLate | wasReplaced
		}
	}
	return k
}

// visit checks a state, then all that can come next, and tells whether the put can be won.
func (e *putExplorer) visit(p *Put, h putHistory) bool {
	key := keyOf(p, h)
	if winnable, ok := e.seen[key]; ok {
		return winnable
	}
	e.check(p, h)
	winnable := p.Verdict() == Won
	for place := range e.plan.Up {
		for _, kind := range []eventKind{ack, fail, slow} {
			ev := putEvent{kind: kind, place: place}
			if kind == slow && h.has(slow, place) {
				continue // leads nowhere new; checked by idle
			}
			if h.awaits(place) {
				winnable = e.step(p, h, ev) || winnable
			}
		}
	}
	if lost := p.Verdict() == Lost; lost == winnable {
		e.t.Fatalf("%v: verdict %v, but can it still be won: %v", h, p.Verdict(), winnable)
	}
	e.seen[key] = winnable
	return winnable
}

func (e *putExplorer) step(p *Put, h putHistory, ev putEvent) bool {
	next := &Put{sides: p.sides, owners: p.owners, copies: slices.Clone(p.copies), spares: p.spares}
	sends := apply(next, ev)
	if want := h.specSends(ev); !slices.Equal(sends, want) {
		e.t.Fatalf("%v: %v %d sends %v, want %v", h, ev.kind, ev.place, sends, want)
	}
	for _, s := range sends {
		if h.sentTo(s.Place) || e.plan.Strict || s.Place < e.plan.N || s.For >= e.plan.N {
			e.t.Fatalf("%v: %v %d: %+v is no proper stand-in", h, ev.kind, ev.place, s)
		}
	}
	if before := p.Verdict(); before != Pending && next.Verdict() != before {
		e.t.Fatalf("%v: %v %d turned %v into %v", h, ev.kind, ev.place, before, next.Verdict())
	}
	return e.visit(next, h.and(ev, sends))
}

func apply(p *Put, ev putEvent) []Send {
	switch ev.kind {
	case ack:
		return p.Ack(ev.place)
	case fail:
		return p.Fail(ev.place)
	default:
		return p.Slow(ev.place)
	}
}

// check holds everything a put says of itself against the history.
func (e *putExplorer) check(p *Put, h putHistory) {
	count, verdict, owed := h.spec()
	if p.Count() != count || p.Verdict() != verdict || !slices.Equal(p.Owed(), owed) {
		e.t.Fatalf("%v: %+v %v owed %v, want %+v %v owed %v", h, p.Count(), p.Verdict(), p.Owed(), count, verdict, owed)
	}
	before := keyOf(p, h)
	for place := -1; place <= len(e.plan.Up); place++ {
		for _, kind := range []eventKind{ack, fail, slow} {
			if h.awaits(place) && (kind != slow || !h.has(slow, place)) {
				continue
			}
			if sends := apply(p, putEvent{kind: kind, place: place}); kind != slow && sends != nil {
				e.t.Fatalf("%v: idle %v %d sends %v", h, kind, place, sends)
			}
		}
	}
	if keyOf(p, h) != before {
		e.t.Fatalf("%v: an event of a place that owes no answer changed the tally", h)
	}
}

// putHistory is the specification: it recomputes everything from what happened.
type putHistory struct {
	plan   PutPlan
	events []putEvent
	sends  []Send // of all events
}

type putEvent struct {
	kind  eventKind
	place int
	sends []Send
}

type eventKind byte

const (
	start eventKind = 's'
	ack   eventKind = 'a'
	fail  eventKind = 'f'
	slow  eventKind = 'l'
)

func (k eventKind) String() string { return string(rune(k)) }

func (h putHistory) String() string { return fmt.Sprintf("%+v %v", h.plan, h.events) }

func (h putHistory) and(ev putEvent, sends []Send) putHistory {
	ev.sends = sends
	return putHistory{h.plan, append(slices.Clip(h.events), ev), append(slices.Clip(h.sends), sends...)}
}

func (h putHistory) has(kind eventKind, place int) bool {
	for i := range h.events {
		if ev := &h.events[i]; ev.place == place && ev.kind == kind {
			return true
		}
	}
	return false
}

func (h putHistory) sentTo(place int) bool {
	return slices.ContainsFunc(h.sends, func(s Send) bool { return s.Place == place })
}

func (h putHistory) awaits(place int) bool {
	return h.sentTo(place) && !h.has(ack, place) && !h.has(fail, place)
}

func (h putHistory) spec() (count Count, verdict Verdict, owed []int) {
	if h.plan.Sides != nil {
		return h.specJoint()
	}
	count, owed = h.specOf(h.plan.W, first(h.plan.N))
	if count.Received >= count.Required {
		verdict = Won
	} else if count.Live < count.Required {
		verdict = Lost
	}
	return count, verdict, owed
}

// specOf counts the owners in a set, of which so many must acknowledge.
func (h putHistory) specOf(required int, owners Places) (count Count, owed []int) {
	count.Required = required
	for owner := range min(h.plan.N, len(h.plan.Up)) {
		if !owners.Has(owner) {
			continue
		}
		own, standIn, waiting := false, false, false
		for _, s := range h.sends {
			if s.For != owner {
				continue
			}
			acked := h.has(ack, s.Place)
			own = own || acked && s.Place == owner
			standIn = standIn || acked && s.Place != owner
			waiting = waiting || !acked && !h.has(fail, s.Place)
		}
		if own || standIn {
			count.Received++
		} else {
			owed = append(owed, owner)
		}
		if standIn && !own {
			count.Fallbacks++
		}
		if own || standIn || waiting {
			count.Live++
		}
	}
	return count, owed
}

// specSends is what must be sent in answer to an event that comes after the history.
func (h putHistory) specSends(ev putEvent) []Send {
	var sends []Send
	if ev.kind == start {
		for owner := range min(h.plan.N, len(h.plan.Up)) {
			if h.plan.Up[owner] {
				sends = append(sends, Send{owner, owner})
			}
		}
		free := h.free()
		for owner := range min(h.plan.N, len(h.plan.Up)) {
			if !h.plan.Up[owner] && len(free) > 0 {
				sends = append(sends, Send{free[0], owner})
				free = free[1:]
			}
		}
		return sends
	}
	if ev.kind == ack {
		return nil
	}
	_, verdict, owed := h.spec()
	i := slices.IndexFunc(h.sends, func(s Send) bool { return s.Place == ev.place })
	owner := h.sends[i].For
	again := slices.ContainsFunc(h.events, func(was putEvent) bool {
		return was.place == ev.place && was.kind != start && len(was.sends) > 0
	})
	if again || !slices.Contains(owed, owner) || ev.kind == slow && verdict == Won {
		return nil
	}
	if free := h.free(); len(free) > 0 {
		return []Send{{free[0], owner}}
	}
	return nil
}

// free are the fallbacks that may be used next.
func (h putHistory) free() []int {
	var free []int
	for place := h.plan.N; place < len(h.plan.Up); place++ {
		if h.plan.Up[place] && !h.plan.Strict && !h.sentTo(place) {
			free = append(free, place)
		}
	}
	if i := slices.Index(free, h.plan.Self); i > 0 {
		free = slices.Insert(slices.Delete(free, i, i+1), 0, h.plan.Self)
	}
	return free
}
