package quorum

import (
	"math/bits"
	"slices"

	"github.com/starling-db/starling/causal"
)

// Kind is what a get asks of a place.
type Kind uint8

const (
	// ReadFull asks for the item's state.
	ReadFull Kind = iota
	// ReadDigest asks for its digest alone.
	ReadDigest
	// WriteBack sends the join, to be stored durably.
	WriteBack
)

// String names the kind.
func (k Kind) String() string { return name(k, "read", "digest", "write-back") }

// Action asks the shell to do something with a place. It reports a read by Replied or Fail, and by
// Slow when its budget passes without either; a write-back by Wrote or WriteFailed.
type Action struct {
	Kind  Kind
	Place int
}

// GetPlan is what a get knows before it asks anybody. Places are the candidates in the order in
// which they are to be asked.
type GetPlan struct {
	// N is the number of replicas of the item, at least R.
	N int
	// R is the number of places that must answer, at least 1. Sides take its place, and that of N.
	R int
	// Candidates is the number of places.
	Candidates int
	// Owners is the number of owners among them; the places from there on are fallbacks. That an
	// item is absent takes an owner's word: a fallback holds only what it took in somebody's stead.
	Owners int
	// Sides are both owner sets while the partition moves: the candidates that count for each, its N
	// and its R. All that is said of R holds of each of them. None: there is one owner set.
	Sides []Side
}

// Refusal tells whether there are too few candidates to reach R.
func (p GetPlan) Refusal() (Count, bool) {
	s := p.sides()
	count := s.farthest(func(side int) Count {
		return Count{Required: s.of[side].Need, Live: bits.OnesCount64(uint64(s.of[side].Places))}
	})
	return count, count.Live < count.Required
}

func (p GetPlan) sides() sides {
	return newSides(p.Sides, Side{N: p.N, Need: p.R, Places: first(p.Candidates)})
}

// Get tallies one read. See GetVerdict for its course.
type Get struct {
	plan    GetPlan
	sides   sides
	places  []getPlace
	verdict GetVerdict
	joined  bool
	result  causal.Digest // once agreed or joined
}

// getPlace is what is known of one candidate.
type getPlace struct {
	asked    bool // at any time
	reading  bool // a read is on its way
	kind     Kind // of the last read
	slow     bool // the read on its way is past its budget
	replaced bool // its lateness or failure has called up another candidate
	answered bool
	digest   causal.Digest // of the newest answer
	full     bool          // the newest answer brought the state
	out      bool          // it failed and has no vote
	holds    bool          // it is known to hold the result
	write    copyStatus
}

// votes tells whether the place's answer counts.
func (p *getPlace) votes() bool { return p.answered && !p.out }

// NewGet returns the tally of a get whose plan is not refused.
func NewGet(plan GetPlan) *Get {
	return &Get{plan: plan, sides: plan.sides(), places: make([]getPlace, max(0, plan.Candidates))}
}

// Start returns the first reads, of as few owners as make up R on each side: the state from the first
// of them, digests from the others. Fallbacks fill up what owners can't. To be called once, before
// anything is reported.
func (g *Get) Start() []Action {
	var actions []Action
	kind, chosen := ReadFull, g.cover()
	for place := range g.places {
		if chosen.Has(place) {
			actions = append(actions, g.read(place, kind))
			kind = ReadDigest
		}
	}
	g.decide()
	return actions
}

// cover picks who is asked first. Owners of both sides come before those of one, so that a read in a
// move asks little more than any other.
func (g *Get) cover() (chosen Places) {
	var have tally
	for {
		place := g.next(g.sides.short(have, g.sides.needs()), chosen)
		if place < 0 {
			return chosen
		}
		chosen = chosen.With(place)
		g.sides.add(&have, place)
	}
}

// next is the candidate to be asked next for the sake of the sides in the set: of those that were not
// asked and are not left out an owner, then the one that is of most of the sides, then the first.
// -1 when there is none.
func (g *Get) next(wanted uint8, out Places) int {
	best, most := -1, 0
	for place := range g.places {
		if g.places[place].asked || out.Has(place) {
			continue
		}
		worth := g.sides.helps(wanted, place)
		if worth > 0 && place < g.plan.Owners {
			worth += len(g.sides.of) // more than any fallback's
		}
		if worth > most {
			best, most = place, worth
		}
	}
	return best
}

// Replied reports an answer: the digest of the place's state, and whether the state came with it.
// Only the newest answer of a place counts. When R have answered and states are needed that nobody
// has sent yet, it asks for them: one place for each digest. An answer to a full read without the
// state is a failure; one that comes unasked, from a place not asked yet, counts like any other.
// When R say that there is nothing, and no owner of some side is among them, it asks on. After the
// verdict an answer tells only who holds the result.
func (g *Get) Replied(place int, full bool, digest causal.Digest) []Action {
	p := g.at(place)
	if p == nil || p.asked && !p.reading {
		return nil
	}
	if p.reading && p.kind == ReadFull && !full {
		return g.Fail(place)
	}
	p.asked, p.reading, p.slow = true, false, false
	p.answered, p.digest, p.full = true, digest, full
	if g.decided() {
		p.holds = p.holds || digest == g.result
		g.settle()
		return nil
	}
	g.decide()
	return append(g.fetch(), g.further()...)
}

// Fail reports that a read brought nothing and will not. The place has no vote any more, though its
// digest may have come before: its state can't be had. The next candidate replaces it.
func (g *Get) Fail(place int) []Action {
	p := g.at(place)
	if p == nil || !p.reading {
		return nil
	}
	p.reading, p.slow = false, false
	if p.write == awaited {
		return nil // the join is on its way there, and that answer is the one that matters
	}
	p.out = true
	g.decide()
	actions := append(g.fetch(), g.replace(place, p.kind)...)
	return append(actions, g.further()...)
}

// Slow reports that a read is past its budget; it may be answered all the same. Somebody else is
// asked beside it: a place that gave the same digest if the state is what is late, else the next
// candidate, once for each place. While no state has come at all it is asked for the state.
func (g *Get) Slow(place int) []Action {
	p := g.at(place)
	if p == nil || !p.reading || p.slow {
		return nil
	}
	p.slow = true
	if actions := g.fetch(); len(actions) > 0 {
		return actions
	}
	return append(g.replace(place, ReadFull), g.further()...)
}

// replace asks the next candidate in the place's stead, once, on each side that the place is of: two
// where none is of both. It does not ask for a state when one is there already, unless the place had
// answered before, so that the places differ and its state is what was missing.
func (g *Get) replace(place int, kind Kind) []Action {
	p := &g.places[place]
	wanted := g.sides.at(place)
	next := g.next(wanted, 0)
	if g.verdict != ReadPending || p.replaced || next < 0 {
		return nil
	}
	p.replaced = true
	switch {
	case p.answered:
		kind = ReadFull
	case g.any(func(p *getPlace) bool { return p.full }):
		kind = ReadDigest
	}
	actions := []Action{g.read(next, kind)}
	if next = g.next(wanted&^g.sides.at(next), 0); next >= 0 {
		actions = append(actions, g.read(next, ReadDigest))
	}
	return actions
}

// further asks the next candidate for its state when none that may say so has said that there is
// nothing, though R have found nothing, and nobody else is about to answer.
func (g *Get) further() []Action {
	next := slices.IndexFunc(g.places, func(p getPlace) bool { return !p.asked })
	if g.verdict != ReadPending || next < 0 || !g.hollow() || g.any(func(p *getPlace) bool { return p.reading && !p.slow }) {
		return nil
	}
	return []Action{g.read(next, ReadFull)}
}

func (g *Get) read(place int, kind Kind) Action {
	p := &g.places[place]
	p.asked, p.reading, p.slow, p.kind = true, true, false, kind
	return Action{Kind: kind, Place: place}
}

// fetch asks for the states that are missing once R places of each side have answered: for each digest that
// came without its state, from one place that has it, and from one more when that one is slow.
func (g *Get) fetch() []Action {
	if g.verdict != ReadPending || !g.sides.enough(g.tally((*getPlace).votes)) {
		return nil
	}
	var actions []Action
	for place := range g.places {
		p := &g.places[place]
		if p.votes() && !p.reading && !g.inHand(p.digest) && !g.fetching(p.digest) {
			actions = append(actions, g.read(place, ReadFull))
		}
	}
	return actions
}

// fetching tells whether a state with the digest is on its way from a place that is not slow.
func (g *Get) fetching(d causal.Digest) bool {
	return g.any(func(p *getPlace) bool { return p.votes() && p.digest == d && p.reading && !p.slow })
}

// inHand tells whether the shell has a state with the digest.
func (g *Get) inHand(d causal.Digest) bool {
	return g.any(func(p *getPlace) bool { return p.votes() && p.digest == d && p.full })
}

// decide looks for a first verdict. Any R answers will do, also when others differ: every set of R
// owners meets every set of W (R+W>N), and every N-R+1 that hold what an earlier read returned. Only
// answers count whose state is in hand, so that the join of a conflict covers R places. That there is
// nothing is agreed on only with an owner: else the read would call lost what a late owner has. All
// that holds of each side by itself, as which of them a write before or a read after it went by is
// not known here.
func (g *Get) decide() {
	if g.verdict != ReadPending {
		return
	}
	var usable tally
	found := false
	for i := range g.places {
		p := &g.places[i]
		if !p.votes() || !g.inHand(p.digest) {
			continue
		}
		g.sides.add(&usable, i)
		found = found || p.digest != nothing
		alike := g.tally(func(q *getPlace) bool { return q.votes() && q.digest == p.digest })
		if g.sides.enough(alike) && g.attested(p.digest) {
			g.verdict, g.result = Agreed, p.digest
			g.markHolders()
			return
		}
	}
	switch {
	case g.sides.enough(usable) && found:
		g.verdict = Conflict
	case !g.sides.enough(g.tally(func(p *getPlace) bool { return !p.out })):
		g.verdict = ReadLost
	case g.hollow() && !g.any(func(p *getPlace) bool { return p.reading || !p.asked }):
		g.verdict = ReadLost
	}
}

// decided tells whether there is a result that digests can be compared with.
func (g *Get) decided() bool { return g.verdict == Agreed || g.joined }

func (g *Get) markHolders() {
	for i := range g.places {
		p := &g.places[i]
		p.holds = p.votes() && p.digest == g.result
	}
}

// Counts tells whether the place's state is part of the result: after Agreed, whether it answered
// with what was agreed on; before, whether its answer counts at all.
func (g *Get) Counts(place int) bool {
	p := g.at(place)
	if p == nil {
		return false
	}
	if g.verdict == Agreed {
		return p.holds
	}
	return p.votes()
}

// Verdict tells how the get stands.
func (g *Get) Verdict() GetVerdict { return g.verdict }

// Count counts answers before Join is called and holders of the join after it, on the side that is
// farthest from what it needs, as Put.Count does.
func (g *Get) Count() Count { return g.sides.farthest(g.countOn) }

func (g *Get) countOn(side int) Count {
	count := Count{Required: g.sides.of[side].Need}
	if g.joined {
		count.Required = g.needed()[side]
	}
	for i := range g.places {
		if !g.sides.of[side].Places.Has(i) {
			continue
		}
		p := &g.places[i]
		received := p.votes()
		if g.joined {
			received = p.holds
		}
		if received {
			count.Received++
			if i >= g.plan.Owners {
				count.Fallbacks++
			}
		}
		if received || !p.out {
			count.Live++
		}
	}
	return count
}

// Behind lists the places that answered, if only after the verdict, with something else than the
// result and were not sent it: to be repaired after the reply. Before there is a result it is
// empty.
func (g *Get) Behind() []int {
	var behind []int
	for place, p := range g.places {
		if g.decided() && p.answered && !p.holds && p.write == unused {
			behind = append(behind, place)
		}
	}
	return behind
}

func (g *Get) at(place int) *getPlace {
	if place < 0 || place >= len(g.places) {
		return nil
	}
	return &g.places[place]
}

func (g *Get) any(f func(*getPlace) bool) bool {
	for i := range g.places {
		if f(&g.places[i]) {
			return true
		}
	}
	return false
}

// tally counts, on each side, the places of which f holds.
func (g *Get) tally(f func(*getPlace) bool) (n tally) {
	for i := range g.places {
		if f(&g.places[i]) {
			g.sides.add(&n, i)
		}
	}
	return n
}
