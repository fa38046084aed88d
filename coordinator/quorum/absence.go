package quorum

import "github.com/starling-db/starling/causal"

// nothing is the digest of a state without versions.
var nothing causal.Digest

// Unattested tells whether R have answered, and there is no result all the same, as they hold nothing
// and no owner of some side is among them.
func (g *Get) Unattested() bool { return g.hollow() && g.verdict != Agreed }

// hollow tells whether R have answered and hold nothing, and no owner of some side is among them.
func (g *Get) hollow() bool {
	var votes, owners tally
	for i := range g.places {
		if p := &g.places[i]; p.votes() {
			if p.digest != nothing {
				return false
			}
			g.sides.add(&votes, i)
			if i < g.plan.Owners {
				g.sides.add(&owners, i)
			}
		}
	}
	return g.sides.enough(votes) && !g.sides.each(owners)
}

// attested tells whether a result may stand on those who gave it: a state on anybody, nothing on an
// owner of each side. An owner to be may not have pulled yet what those before it hold, and one that
// is left may not have heard that the move is over: neither can speak for the other.
func (g *Get) attested(d causal.Digest) bool {
	if d != nothing {
		return true
	}
	var owners tally
	for i := range g.places[:min(g.plan.Owners, len(g.places))] {
		if p := &g.places[i]; p.votes() && p.digest == nothing {
			g.sides.add(&owners, i)
		}
	}
	return g.sides.each(owners)
}
