package quorum

import (
	"slices"

	"github.com/starling-db/starling/causal"
)

// Join reports, once after Conflict, the digest of the join of all states whose places Counts
// names. It asks for the join to be written back to every place that answered with something else,
// and to further candidates while those that hold it or are about to can't make up N-R+1. That many
// hold it when Stable is reached, so that every later read of R meets one: reads never go back in
// time. With R = 1 there is never a conflict: one answer agrees with itself.
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

// settle looks whether enough places hold the join. While those that do or are about to are too few
// it sends the join to more, if there are enough for that to help.
func (g *Get) settle() []Action {
	if g.verdict != Conflict || !g.joined {
		return nil
	}
	coming := g.count(func(p *getPlace) bool { return p.holds || p.write == awaited })
	switch {
	case g.count(func(p *getPlace) bool { return p.holds }) >= g.needed():
		g.verdict = Stable
		return nil
	case coming+g.count((*getPlace).mayTake) < g.needed():
		g.verdict = ReadLost
		return nil
	}
	var actions []Action
	for ; coming < g.needed(); coming++ {
		actions = append(actions, g.writeBack(g.nextToWrite()))
	}
	return actions
}

// mayTake tells whether the place may be sent the join and was not yet.
func (p *getPlace) mayTake() bool { return !p.out && !p.holds && p.write == unused }

// nextToWrite picks, of the candidates that may take the join, one that has answered rather than
// one that was not asked, and that rather than one that is silent.
func (g *Get) nextToWrite() int {
	for _, better := range []func(*getPlace) bool{
		func(p *getPlace) bool { return p.answered },
		func(p *getPlace) bool { return !p.asked },
	} {
		for place := range g.places {
			if p := &g.places[place]; p.mayTake() && better(p) {
				return place
			}
		}
	}
	return slices.IndexFunc(g.places, func(p getPlace) bool { return p.mayTake() })
}

func (g *Get) writeBack(place int) Action {
	g.places[place].write = awaited
	return Action{Kind: WriteBack, Place: place}
}

// needed is the number of places that must hold a join.
func (g *Get) needed() int { return g.plan.N - g.plan.R + 1 }
