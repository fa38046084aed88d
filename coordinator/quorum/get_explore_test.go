package quorum

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/starling-db/starling/causal"
)

// getBounds limit what one exploration walks through.
type getBounds struct {
	n        int
	digests  int  // different digests that places may hold at one time
	late     int  // reads that may be late
	failures int  // reads and write-backs that may fail
	after    bool // go on behind the verdict
	odd      bool // states that come unasked; answers between Conflict and Join
	plain    bool // follow all that the get remembers, also what can't matter any more
}

// TestGetExhaustive drives gets through every order of answers, failures, lateness and write-backs within bounds, for
// every R and every number of candidates up to N, with every choice of digests, and holds each step against getHistory,
// which knows only what was asked and what was reported. Histories that lead to the same state are followed once.
//
// A replica that refuses is a Fail at once, one whose message or answer is lost a Slow and then a Fail, one that is late a
// Slow and then a reply; each comes before the verdict or, with after, behind it. Every number of the candidates are
// owners; where not all are, one of the digests is that of nothing, of which fallbacks alone have no say.
//
// By default N = 1 to 3 have no bound at all, and N = 4 none but three digests at a time. With N = 5 there are two digests,
// and either two reads are late and one message fails, or none is late and any fail. With -exhaustive N = 4 has no bound,
// and N = 5 none but two digests, or more digests where less goes wrong; and N = 4 is walked once without what keyOfGet
// leaves out. Under the race detector, which has nothing to find here, two of the longer walks are left out.
func TestGetExhaustive(t *testing.T) {
	bounds := []getBounds{
		{n: 1, digests: 2, late: all, failures: all, after: true, odd: true, plain: true},
		{n: 2, digests: 2, late: all, failures: all, after: true, odd: true, plain: true},
		{n: 3, digests: 3, late: all, failures: all, after: true, odd: true, plain: true},
		{n: 4, digests: 2, late: all, failures: all, after: true},
		{n: 5, digests: 2, late: 0, failures: all, after: true},
	}
	switch {
	case *exhaustive:
		bounds = []getBounds{
			{n: 4, digests: 4, late: all, failures: all, after: true, odd: true},
			{n: 4, digests: 2, late: all, failures: all, after: true, plain: true},
			{n: 5, digests: 2, late: all, failures: all, after: true},
			{n: 5, digests: 3, late: 1, failures: 1, after: true},
			{n: 5, digests: 3, late: 0, failures: all, after: true},
			{n: 5, digests: 5, late: 0, failures: 0, after: true},
		}
	case !raced:
		bounds = append(bounds,
			getBounds{n: 4, digests: 3, late: all, failures: all, after: true},
			getBounds{n: 5, digests: 2, late: 2, failures: 1, after: true},
		)
	}
	for _, b := range bounds {
		t.Run(fmt.Sprintf("%+v", b), func(t *testing.T) {
			t.Parallel()
			states := 0
			for r := 1; r <= b.n; r++ {
				for candidates := range b.n + 1 {
					for owners := range candidates + 1 {
						states += exploreGet(t, b, GetPlan{N: b.n, R: r, Candidates: candidates, Owners: owners})
					}
				}
			}
			t.Logf("%d states", states)
		})
	}
}

// all is no bound at all: every read may be late, and every read and write-back fail.
const all = 1 << 10

// one uses up one of so many.
func one(left int) int {
	if left == all {
		return all
	}
	return left - 1
}

func exploreGet(t *testing.T, b getBounds, plan GetPlan) int {
	t.Helper()
	count, refused := plan.Refusal()
	want := (getHistory{plan: plan}).count(make([]placeFacts, plan.Candidates))
	if count != want || refused != (want.Live < want.Required) {
		t.Fatalf("%+v: refusal %+v, %v", plan, count, refused)
	}
	if refused {
		return 0
	}
	e := &getExplorer{t: t, bounds: b, seen: map[getKey]bool{}}
	g := NewGet(plan)
	ev := getEvent{kind: "start", actions: g.Start()}
	checkStart(t, plan, ev.actions)
	e.visit(g, getHistory{plan: plan, events: []getEvent{ev}, quorums: plan.quorums()}, b.late, b.failures)
	return len(e.seen)
}

// checkStart: of all sets of places that make up R on each side one was asked in which owners answer for as much of that
// as they can, and of those one of the fewest fallbacks, then of the fewest places; of one owner set the first R.
func checkStart(t *testing.T, plan GetPlan, actions []Action) {
	t.Helper()
	cost := func(set Places) int {
		owners := set & first(plan.Owners)
		cost := bits.OnesCount64(uint64(set)) + 100*bits.OnesCount64(uint64(set&^owners))
		for _, s := range plan.specSides() {
			cost += 10000 * max(0, s.Need-bits.OnesCount64(uint64(owners&s.Places)))
		}
		return cost
	}
	var asked Places
	for i, a := range actions {
		if (a.Kind == ReadFull) != (i == 0) || i > 0 && actions[i-1].Place >= a.Place || plan.Sides == nil && a.Place != i {
			t.Fatalf("%+v: start %v", plan, actions)
		}
		asked = asked.With(a.Place)
	}
	for set := range Places(1) << plan.Candidates {
		if enoughOf(plan.specSides(), set) && cost(set) < cost(asked) || !enoughOf(plan.specSides(), asked) {
			t.Fatalf("%+v: start %v, but %b will do", plan, actions, set)
		}
	}
}

// specSides are the owner sets of any plan.
func (p GetPlan) specSides() []Side {
	if p.Sides != nil {
		return p.Sides
	}
	return []Side{{N: p.N, Need: p.R, Places: first(p.Candidates)}}
}

type getExplorer struct {
	t      *testing.T
	bounds getBounds
	seen   map[getKey]bool // whether the get can still succeed from there
}

// getKey is all that the future of a get and of the specification depends on.
type getKey struct {
	places         [5]getPlace
	facts          [5]placeFacts
	state          specState
	late, failures int
}

// keyOfGet leaves out what can't matter any more: the last answer of a place that is out, what was asked of one that
// owes nothing, who was replaced once there is a verdict, and once there is a result, what differs from it how.
func keyOfGet(g *Get, state specState, facts []placeFacts) getKey {
	k := getKey{state: state}
	copy(k.places[:], g.places)
	copy(k.facts[:], facts)
	if state.hasResult() {
		k.state.result = causal.Digest{}
	}
	for i := range facts {
		p, f := &k.places[i], &k.facts[i]
		if !f.reading {
			p.kind, f.kind = 0, 0
		}
		if f.out || state.verdict != ReadPending {
			p.replaced, f.replaced = false, false
		}
		if f.out || state.hasResult() {
			p.digest, f.digest = causal.Digest{}, causal.Digest{}
			p.full, f.full = false, false
		}
	}
	return k
}

func (e *getExplorer) visit(g *Get, h getHistory, late, failures int) bool {
	facts := h.facts()
	key := keyOfGet(g, h.state, facts)
	if e.bounds.plain {
		key = getKey{state: h.state}
		copy(key.places[:], g.places)
		copy(key.facts[:], facts)
	}
	key.late, key.failures = late, failures
	if winnable, ok := e.seen[key]; ok {
		return winnable
	}
	e.check(g, h, facts)
	winnable := g.Verdict() == Agreed || g.Verdict() == Stable
	if e.bounds.after || !winnable && g.Verdict() != ReadLost {
		for _, ev := range e.next(h, facts, late, failures) {
			winnable = e.step(g, h, facts, ev, late, failures) || winnable
		}
		// That there are too few to hold a join is said once it is there, and was sent to those it can be.
		early := g.Verdict() == Conflict && !g.Joined() || g.Verdict() == ReadPending && h.plan.needsAJoin(facts)
		if lost := g.Verdict() == ReadLost; lost == winnable && !early {
			e.t.Fatalf("%v: verdict %v, but can it still succeed: %v", h, g.Verdict(), winnable)
		}
	}
	e.seen[key] = winnable
	return winnable
}

// next lists what may happen next.
func (e *getExplorer) next(h getHistory, facts []placeFacts, late, failures int) []getEvent {
	var events []getEvent
	if h.state.verdict == Conflict && !h.state.joined {
		for _, d := range e.held(h, facts, len(facts)+1) { // the last is nobody's: a join that is news to all
			events = append(events, getEvent{kind: "join", digest: d})
		}
		if !e.bounds.odd {
			return events
		}
	}
	for place, f := range facts {
		if f.reading || e.bounds.odd && !f.asked {
			for _, d := range e.held(h, facts, e.bounds.digests) {
				events = append(events, getEvent{kind: "replied", place: place, full: f.kind == ReadFull, digest: d})
				if e.bounds.odd && f.kind == ReadDigest {
					events = append(events, getEvent{kind: "replied", place: place, full: true, digest: d})
				}
			}
		}
		if f.reading && !f.late && late > 0 {
			events = append(events, getEvent{kind: "slow", place: place})
		}
		if f.reading && failures > 0 {
			events = append(events, getEvent{kind: "fail", place: place})
		}
		if f.writing {
			events = append(events, getEvent{kind: "wrote", place: place})
			if failures > 0 {
				events = append(events, getEvent{kind: "write failed", place: place})
			}
		}
	}
	return events
}

// held lists the digests that matter to what comes, those of votes or of the result, and one that is none of them if
// that makes no more than the bound. One will do: digests are only ever compared, so all others are alike, except that
// of nothing where fallbacks take part; while it matters it is always there.
func (e *getExplorer) held(h getHistory, facts []placeFacts, bound int) []causal.Digest {
	state := h.state
	var digests []causal.Digest
	if state.hasResult() {
		digests = append(digests, state.result)
	}
	for _, f := range facts {
		if f.votes() && !state.hasResult() && !slices.Contains(digests, f.digest) {
			digests = append(digests, f.digest)
		}
	}
	if h.plan.Owners < h.plan.Candidates && !state.hasResult() && state.verdict == ReadPending && !slices.Contains(digests, nothing) {
		digests = append(digests, nothing)
	}
	if len(digests) < bound {
		for d := 0; ; d++ {
			if !slices.Contains(digests, digest(d)) {
				return append(digests, digest(d))
			}
		}
	}
	return digests
}

func digest(d int) causal.Digest { return causal.Digest{byte(d + 1)} }

func (e *getExplorer) step(g *Get, h getHistory, facts []placeFacts, ev getEvent, late, failures int) bool {
	next := *g
	next.places = slices.Clone(g.places)
	switch ev.kind {
	case "replied":
		ev.actions = next.Replied(ev.place, ev.full, ev.digest)
	case "slow":
		ev.actions = next.Slow(ev.place)
		late = one(late)
	case "fail":
		ev.actions = next.Fail(ev.place)
		failures = one(failures)
	case "join":
		ev.actions = next.Join(ev.digest)
	case "wrote":
		ev.actions = next.Wrote(ev.place)
	case "write failed":
		ev.actions = next.WriteFailed(ev.place)
		failures = one(failures)
	}
	after := h.and(ev)
	checkActions(e.t, after, facts, ev)
	return e.visit(&next, after, late, failures)
}

// check holds everything a get says of itself against the history.
func (e *getExplorer) check(g *Get, h getHistory, facts []placeFacts) {
	if g.Verdict() != h.state.verdict || g.Joined() != h.state.joined {
		e.t.Fatalf("%v: %v, joined %v, want %+v", h, g.Verdict(), g.Joined(), h.state)
	}
	if count := h.count(facts); g.Count() != count {
		e.t.Fatalf("%v: %+v, want %+v", h, g.Count(), count)
	}
	if behind := h.behind(facts); !slices.Equal(g.Behind(), behind) {
		e.t.Fatalf("%v: behind %v, want %v", h, g.Behind(), behind)
	}
	reading, writing := 0, 0
	for place, f := range facts {
		counts := f.votes()
		if g.Verdict() == Agreed {
			counts = f.holds
		}
		if g.Counts(place) != counts {
			e.t.Fatalf("%v: place %d counts: %v", h, place, g.Counts(place))
		}
		if f.reading {
			reading++
		}
		if f.writing {
			writing++
		}
	}
	if g.Verdict() == ReadPending && reading == 0 || g.Verdict() == Conflict && g.Joined() && writing == 0 {
		e.t.Fatalf("%v: waits for nothing", h)
	}
	e.checkIdle(g, h, facts)
}

// checkIdle reports what nobody waits for and expects nothing to come of it.
func (e *getExplorer) checkIdle(g *Get, h getHistory, facts []placeFacts) {
	before := slices.Clone(g.places)
	verdict := g.Verdict()
	for place := -1; place <= len(facts); place++ {
		inside := place >= 0 && place < len(facts)
		var actions []Action
		if !inside || !facts[place].reading {
			actions = append(g.Fail(place), g.Slow(place)...)
			if !inside || facts[place].asked {
				actions = append(actions, g.Replied(place, true, digest(0))...)
			}
		}
		if !inside || !facts[place].writing {
			actions = append(actions, append(g.Wrote(place), g.WriteFailed(place)...)...)
		}
		if len(actions) > 0 {
			e.t.Fatalf("%v: idle events of place %d ask for %v", h, place, actions)
		}
	}
	if verdict != Conflict || g.Joined() {
		if actions := g.Join(digest(7)); actions != nil {
			e.t.Fatalf("%v: a second join, or one without a conflict, asks for %v", h, actions)
		}
	}
	if !slices.Equal(before, g.places) || verdict != g.Verdict() {
		e.t.Fatalf("%v: events that nobody waits for changed the tally", h)
	}
}

// checkActions checks what was asked for in answer to ev, given the facts before it.
func checkActions(t *testing.T, h getHistory, before []placeFacts, ev getEvent) {
	t.Helper()
	var fresh Places
	facts := slices.Clone(before)
	if ev.kind == "replied" {
		facts[ev.place].asked = true
	}
	for _, a := range ev.actions {
		f := &facts[a.Place]
		ok := !f.out
		switch {
		case a.Kind == WriteBack:
			ok = ok && h.state.joined && !f.holds && !f.wasSent
		case h.state.verdict != ReadPending || f.reading && a.Place != ev.place:
			ok = false
		case f.asked: // for its state, in answer to a digest that nobody else's state has
			now := h.facts()
			ok = ok && a.Kind == ReadFull && (f.answered || a.Place == ev.place) && enoughOf(h.plan.specSides(), votesOf(now))
			ok = ok && !slices.ContainsFunc(now, func(o placeFacts) bool {
				return o.votes() && o.full && o.digest == now[a.Place].digest
			})
		default:
			replaces := (ev.kind == "fail" || ev.kind == "slow") && !before[ev.place].replaced
			first := slices.IndexFunc(facts, func(f placeFacts) bool { return !f.asked })
			if next := h.plan.nextFor(ev.place, fresh, facts); replaces && next >= 0 {
				first = next
			}
			ok = ok && a.Place == first && (replaces || h.plan.hollow(h.facts()))
			fresh = fresh.With(a.Place)
			f.asked = true
		}
		if !ok {
			t.Fatalf("%v: %+v is wrong", h, a)
		}
	}
	if ev.kind == "join" {
		checkJoin(t, h, before, ev)
	}
	must := ev.kind == "fail" && !before[ev.place].replaced || ev.kind == "slow" && !before[ev.place].replaced && len(ev.actions) == 0
	if must && h.state.verdict == ReadPending && h.plan.nextFor(ev.place, fresh, before) >= 0 {
		t.Fatalf("%v: nobody replaces place %d", h, ev.place)
	}
}

// nextFor is who is asked in the stead of a place, for the sides that those in fresh are not of: an owner rather than a
// fallback, one of two such sides rather than of one, and of these the first. -1 when there is nobody.
func (p GetPlan) nextFor(place int, fresh Places, facts []placeFacts) int {
	best, most := -1, 0
	for i, f := range facts {
		worth := 0
		for _, s := range p.specSides() {
			if s.Places.Has(place) && s.Places.Has(i) && s.Places&fresh == 0 {
				worth++
			}
		}
		if worth > 0 && i < p.Owners {
			worth += 10
		}
		if worth > most && !f.asked {
			best, most = i, worth
		}
	}
	return best
}

// votesOf are the places whose answers count.
func votesOf(facts []placeFacts) (votes Places) {
	for i, f := range facts {
		if f.votes() {
			votes = votes.With(i)
		}
	}
	return votes
}

// checkJoin: whoever answered with something else gets the join, and no more are written to than it
// takes.
func checkJoin(t *testing.T, h getHistory, before []placeFacts, ev getEvent) {
	t.Helper()
	others, holders := 0, 0
	for place, f := range before {
		sent := slices.Contains(ev.actions, Action{WriteBack, place})
		switch {
		case f.votes() && f.digest == ev.digest:
			holders++
		case f.votes() && !sent:
			t.Fatalf("%v: place %d is behind and not written to", h, place)
		case !f.votes() && sent:
			others++
		}
	}
	if total := holders + len(ev.actions); h.plan.Sides == nil && others > 0 && total != h.plan.N-h.plan.R+1 {
		t.Fatalf("%v: written to %d more, for %d in all", h, others, total)
	}
}

// getHistory is the specification. All but the verdict is recomputed from the events.
type getHistory struct {
	plan    GetPlan
	events  []getEvent
	state   specState
	agreed  int // how many events led to the verdict Agreed
	quorums []Places
}

type getEvent struct {
	kind    string // "start", "replied", "slow", "fail", "join", "wrote", "write failed"
	place   int
	full    bool
	digest  causal.Digest
	actions []Action
}

// specState is what does not follow from the facts alone, because a verdict stays.
type specState struct {
	verdict GetVerdict
	joined  bool
	result  causal.Digest
}

func (s specState) hasResult() bool { return s.verdict == Agreed || s.joined }

// placeFacts is what a history says of one place.
type placeFacts struct {
	asked, reading, late, replaced bool
	kind                           Kind
	answered, full                 bool
	digest                         causal.Digest
	out, wasSent, writing          bool
	holds                          bool
}

func (f placeFacts) votes() bool { return f.answered && !f.out }

func (h getHistory) String() string {
	s := fmt.Sprintf("%+v", h.plan)
	for _, ev := range h.events {
		s += fmt.Sprintf("\n  %s %d full=%v %x -> %v", ev.kind, ev.place, ev.full, ev.digest[:1], ev.actions)
	}
	return s + fmt.Sprintf("\n  %+v\n", h.state)
}

// and appends an event and works out the verdict.
func (h getHistory) and(ev getEvent) getHistory {
	next := getHistory{h.plan, append(slices.Clip(h.events), ev), h.state, h.agreed, h.quorums}
	if ev.kind == "join" {
		next.state.joined, next.state.result = true, ev.digest
	}
	facts := next.facts()
	switch {
	case next.state.verdict == ReadPending:
		next.state.verdict, next.state.result = h.plan.firstVerdict(h.quorums, facts)
		if next.state.verdict == Agreed {
			next.agreed = len(next.events)
		}
	case next.state.verdict == Conflict && next.state.joined:
		next.state.verdict = h.plan.secondVerdict(facts)
	}
	return next
}

// facts replays the events. A place holds the result if its newest counting answer was the result
// when that became known, or a later one is, or a write-back to it succeeded.
func (h getHistory) facts() []placeFacts {
	facts := make([]placeFacts, h.plan.Candidates)
	for i, ev := range h.events {
		f := &placeFacts{}
		if ev.kind != "start" && ev.kind != "join" {
			f = &facts[ev.place]
		}
		switch ev.kind {
		case "replied":
			f.asked, f.reading, f.late = true, false, false
			f.answered, f.full, f.digest = true, ev.full, ev.digest
		case "fail":
			f.reading, f.late = false, false
			f.out = f.out || !f.writing
		case "slow":
			f.late = true
		case "join":
			for i := range facts {
				facts[i].holds = facts[i].votes() && facts[i].digest == ev.digest
			}
		case "wrote":
			f.writing, f.holds = false, true
		case "write failed":
			f.writing, f.out, f.reading = false, true, false
		}
		if h.state.joined && ev.kind == "replied" && h.joinBefore(i) {
			f.holds = f.holds || ev.digest == h.state.result
		}
		for _, a := range ev.actions {
			to := &facts[a.Place]
			if a.Kind == WriteBack {
				to.wasSent, to.writing = true, true
				continue
			}
			f.replaced = f.replaced || !to.asked
			to.asked, to.reading, to.late, to.kind = true, true, false, a.Kind
		}
	}
	if h.state.verdict == Agreed {
		h.markAgreed(facts)
	}
	return facts
}

func (h getHistory) joinBefore(i int) bool {
	return slices.ContainsFunc(h.events[:i], func(ev getEvent) bool { return ev.kind == "join" })
}

// markAgreed: no answer changes between the agreement and a later answer of the same place, so
// whoever ever answered with the result and did not take that back before the agreement holds it.
func (h getHistory) markAgreed(facts []placeFacts) {
	for place, f := range (getHistory{plan: h.plan, events: h.events[:h.agreed]}).facts() {
		facts[place].holds = f.votes() && f.digest == h.state.result
	}
	for _, ev := range h.events[h.agreed:] {
		if ev.kind == "replied" && ev.digest == h.state.result {
			facts[ev.place].holds = facts[ev.place].holds || !facts[ev.place].out
		}
	}
}

// hollow tells whether R have answered and all of them have nothing, and on some side they are fallbacks.
func (p GetPlan) hollow(facts []placeFacts) bool {
	votes := votesOf(facts)
	found := slices.ContainsFunc(facts, func(f placeFacts) bool { return f.votes() && f.digest != nothing })
	return !found && enoughOf(p.specSides(), votes) && !p.ownersOnEach(votes)
}

// ownersOnEach tells whether an owner of each side is in the set.
func (p GetPlan) ownersOnEach(set Places) bool {
	return !slices.ContainsFunc(p.specSides(), func(s Side) bool { return s.Places&set&first(p.Owners) == 0 })
}

// quorums are the sets of places that hold R of each side, and no more than that of any by themselves.
func (p GetPlan) quorums() []Places {
	sets := []Places{0}
	for _, s := range p.specSides() {
		var more []Places
		for q := range Places(1) << p.Candidates {
			if q&^s.Places != 0 || bits.OnesCount64(uint64(q)) != s.Need {
				continue
			}
			for _, set := range sets {
				more = append(more, set|q)
			}
		}
		sets = more
	}
	return sets
}

// needsAJoin tells whether nothing but a join can come of the get, of which there would be too few to hold it: no owner
// can say that there is nothing, and a fallback has.
func (p GetPlan) needsAJoin(facts []placeFacts) bool {
	if p.Sides != nil {
		return false // not with three replicas
	}
	alive, absent := 0, false
	for i, f := range facts {
		if !f.out {
			alive++
			if i < p.Owners {
				return false
			}
			absent = absent || f.votes() && f.digest == nothing
		}
	}
	return absent && alive <= p.N-p.R
}

// firstVerdict tries every set of R places of each side. A set in which all say that there is nothing must have an owner
// of each side in it.
func (p GetPlan) firstVerdict(quorums []Places, facts []placeFacts) (GetVerdict, causal.Digest) {
	inHand := map[causal.Digest]bool{}
	var alive Places
	hopes := false
	for i, f := range facts {
		if f.votes() && f.full {
			inHand[f.digest] = true
		}
		if !f.out {
			alive = alive.With(i)
		}
		hopes = hopes || f.reading || !f.asked
	}
	verdict := ReadPending
	for _, set := range quorums {
		usable, alike, found := true, true, false
		var last *placeFacts
		for i := range facts {
			f := &facts[i]
			if !set.Has(i) {
				continue
			}
			usable = usable && f.votes() && inHand[f.digest]
			alike = alike && (last == nil || last.digest == f.digest)
			found = found || f.digest != nothing
			last = f
		}
		if !usable || !found && !p.ownersOnEach(set) {
			continue
		}
		if alike {
			return Agreed, last.digest
		}
		verdict = Conflict
	}
	if verdict == ReadPending && (!enoughOf(p.specSides(), alive) || p.hollow(facts) && !hopes) {
		verdict = ReadLost
	}
	return verdict, causal.Digest{}
}

// specNeeded is the number of places of a side that must hold a join: so many that any R of it meet one. Where one answer
// does, later ones are promised nothing.
func specNeeded(s Side) int {
	if s.Need == 1 {
		return 1
	}
	return s.N - s.Need + 1
}

// secondVerdict counts who holds the join and who may come to, on each side.
func (p GetPlan) secondVerdict(facts []placeFacts) GetVerdict {
	verdict := Stable
	for _, s := range p.specSides() {
		holders, hopes := 0, 0
		for i, f := range facts {
			if !s.Places.Has(i) {
				continue
			}
			if f.holds {
				holders++
			} else if f.writing || !f.out && !f.wasSent {
				hopes++
			}
		}
		if holders+hopes < specNeeded(s) {
			return ReadLost
		}
		if holders < specNeeded(s) {
			verdict = Conflict
		}
	}
	return verdict
}

func (h getHistory) count(facts []placeFacts) Count {
	sides := h.plan.specSides()
	worst := h.countOn(sides[0], facts)
	if len(sides) == 2 {
		worst = specFarthest(worst, h.countOn(sides[1], facts))
	}
	return worst
}

func (h getHistory) countOn(s Side, facts []placeFacts) Count {
	count := Count{Required: s.Need}
	if h.state.joined {
		count.Required = specNeeded(s)
	}
	for place, f := range facts {
		if !s.Places.Has(place) {
			continue
		}
		in := h.state.joined && f.holds || !h.state.joined && f.votes()
		if in {
			count.Received++
		}
		if in && place >= h.plan.Owners {
			count.Fallbacks++
		}
		if in || !f.out {
			count.Live++
		}
	}
	return count
}

func (h getHistory) behind(facts []placeFacts) []int {
	var behind []int
	for place, f := range facts {
		if h.state.hasResult() && f.answered && !f.holds && !f.wasSent {
			behind = append(behind, place)
		}
	}
	return behind
}
