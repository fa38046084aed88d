package quorum

import "github.com/starling-db/starling/causal"

// Held is what a place has answered in full.
type Held struct {
	Place  int
	Digest causal.Digest
}

// NewJoin returns the tally of a get to which all have answered that will, R of each side among them,
// and whose result is their join whichever of them agree, as the items of a page are. Where they differ
// it is at Conflict, but of one owner set with R = 1.
func NewJoin(plan GetPlan, answers []Held) *Get {
	g := NewGet(plan)
	g.Start()
	differ := false
	for _, h := range answers {
		g.places[h.Place] = getPlace{asked: true, answered: true, full: true, digest: h.Digest}
		differ = differ || h.Digest != answers[0].Digest
	}
	if differ && (g.sides.n > 1 || plan.R > 1) {
		g.verdict = Conflict
	}
	return g
}

// Join reports, once after Conflict, the digest of the join of all states whose places Counts
// names. It asks for the join to be written back to every place that answered with something else,
// and to further candidates while those that hold it or are about to can't make up N-R+1 on each
// side. That many hold it when Stable is reached, so that every later read of R meets one, whichever
// side it goes by: reads never go back in time. With R = 1 there is never a conflict: one answer agrees
// with itself. Only two sides may differ then, and the join need be on one place of each.
func (g *Get) Join(digest causal.Digest) []Action {
	if g.verdict != Conflict || g.joined {
		return nil
	}
	g.joined, g.result = true, digest
	g.markHolders()
	var actions []Action
	for place := range g.places {
		if p := &g.places[place]; p.votes() && !p.holds {
			actions = append(actions, g.writeBack(place))
		}
	}
	return append(actions, g.settle()...)
}

// Joined tells whether Join was called.
func (g *Get) Joined() bool { return g.joined }

// Wrote reports that a place has stored the join durably. It returns nil: see Put.Ack.
func (g *Get) Wrote(place int) []Action {
	p := g.at(place)
	if p == nil || p.write != awaited {
		return nil
	}
	p.write, p.holds = acked, true
	g.settle()
	return nil
}

// WriteFailed reports that a write-back failed. The place is out of it, a read that may still be on
// its way included, and another candidate takes the join in its stead if one is left.
func (g *Get) WriteFailed(place int) []Action {
	p := g.at(place)
	if p == nil || p.write != awaited {
		return nil
	}
	p.write, p.out, p.reading = failed, true, false
	return g.settle()
}

// settle looks whether enough places of each side hold the join. While those that do or are about to
// are too few it sends the join to more, if there are enough for that to help.
func (g *Get) settle() []Action {
	if g.verdict != Conflict || !g.joined {
		return nil
	}
	need := g.needed()
	coming := g.tally(func(p *getPlace) bool { return p.holds || p.write == awaited })
	switch {
	case g.sides.short(g.tally(func(p *getPlace) bool { return p.holds }), need) == 0:
		g.verdict = Stable
		return nil
	case g.sides.short(coming.plus(g.tally((*getPlace).mayTake)), need) != 0:
		g.verdict = ReadLost
		return nil
	}
	var actions []Action
	for short := g.sides.short(coming, need); short != 0; short = g.sides.short(coming, need) {
		place := g.nextToWrite(short)
		actions = append(actions, g.writeBack(place))
		g.sides.add(&coming, place)
	}
	return actions
}

// mayTake tells whether the place may be sent the join and was not yet.
func (p *getPlace) mayTake() bool { return !p.out && !p.holds && p.write == unused }

// nextToWrite picks, of the candidates that may take the join and are of a side in the set, one that
// has answered rather than one that was not asked, and that rather than one that is silent; then one
// that is of more of the sides.
func (g *Get) nextToWrite(short uint8) int {
	best, most := -1, 0
	for place := range g.places {
		p := &g.places[place]
		worth := g.sides.helps(short, place)
		if worth == 0 || !p.mayTake() {
			continue
		}
		switch {
		case p.answered:
			worth += 2 * len(g.sides.of)
		case !p.asked:
			worth += len(g.sides.of)
		}
		if worth > most {
			best, most = place, worth
		}
	}
	return best
}

func (g *Get) writeBack(place int) Action {
	g.places[place].write = awaited
	return Action{Kind: WriteBack, Place: place}
}

// needed is the number of places of each side that must hold a join: N-R+1, but one where R is one.
func (g *Get) needed() (need tally) {
	for i := range g.sides.n {
		if side := &g.sides.of[i]; side.Need > 1 {
			need[i] = side.N - side.Need + 1
		} else {
			need[i] = 1
		}
	}
	return need
}
