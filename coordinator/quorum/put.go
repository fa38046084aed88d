package quorum

import "slices"

// PutPlan is what a put knows before it writes anything. Places are the guardians in the order of
// the preference list: first the owners, then the fallbacks.
type PutPlan struct {
	// N is the number of owners, in a move of those of either layout; a list shorter than N consists
	// of owners only.
	N int
	// W is the number of owners that must acknowledge, at least 1. Sides take its place.
	W int
	// Sides are both owner sets while the partition moves: the owners of each and its W. The put is
	// won when each of them has its own. None: there is one owner set.
	Sides []Side
	// Strict keeps fallbacks out of it.
	Strict bool
	// Up tells for each place whether it is worth sending to.
	Up []bool
	// Self is the coordinator's own place, which is up whatever Up says.
	Self int
}

// Refusal tells whether the put must be refused because it can't succeed as things are; nothing
// must be written then. Either too few can count on some side, so that Live < Required: the owners
// that are up and, unless strict, one fallback for each owner that is down. Or the coordinator's own copy would
// count for nobody: it is a fallback, and the quorum is strict or no owner is down. An owner should
// coordinate instead.
func (p PutPlan) Refusal() (Count, bool) {
	put := NewPut(p)
	count := put.Count()
	return count, count.Live < count.Required || !put.awaits(p.Self)
}

// spares are the fallbacks that may stand in, in the order in which they do. The coordinator is the
// first of them, wherever it stands in the list: it has the item anyway, because it minted.
func (p PutPlan) spares(owners int) []int {
	if p.Strict {
		return nil
	}
	var spares []int
	if p.Self >= owners && p.Self < len(p.Up) {
		spares = append(spares, p.Self)
	}
	for place := owners; place < len(p.Up); place++ {
		if p.Up[place] && place != p.Self {
			spares = append(spares, place)
		}
	}
	return spares
}

// Send asks the shell to send the item's state to a place and to report what came of it by Ack or
// Fail, and by Slow when its budget passes without either. For == Place is an owner's own copy;
// otherwise the place stands in for the owner For and keeps the state as a hint for it.
type Send struct {
	Place, For int
}

// Put tallies one write.
type Put struct {
	sides  sides
	owners int
	copies []putCopy // by place
	spares []int     // fallbacks not used yet, next first
	start  []Send
}

// putCopy is what is known of one place's copy.
type putCopy struct {
	status copyStatus
	owner  int // the owner as whom it counts
	// replaced: its lateness or failure has called up a stand-in, which a second one of the two
	// does not do again.
	replaced bool
}

type copyStatus uint8

const (
	unused copyStatus = iota
	awaited
	acked
	failed
)

// NewPut returns the tally of a put whose plan is not refused.
func NewPut(plan PutPlan) *Put {
	owners := max(0, min(plan.N, len(plan.Up)))
	p := &Put{owners: owners, copies: make([]putCopy, len(plan.Up)), spares: plan.spares(owners)}
	p.sides = newSides(plan.Sides, Side{N: plan.N, Need: plan.W, Places: first(owners)})
	for owner := range owners {
		if plan.Up[owner] || owner == plan.Self {
			p.start = append(p.start, p.send(owner, owner))
		}
	}
	for owner := p.unserved(); owner >= 0 && len(p.spares) > 0; owner = p.unserved() {
		p.start = append(p.start, p.standIn(owner)...)
	}
	return p
}

// unserved is the next owner that needs a stand-in at the start, -1 if none does: the first of those
// that help most of the sides that could not be won yet. So what fallbacks there are go where the put
// would fail without them, not to a side that has enough.
func (p *Put) unserved() int {
	var live tally
	for owner := range p.owners {
		if p.has(owner, awaited) {
			p.sides.add(&live, owner)
		}
	}
	short := p.sides.short(live, p.sides.needs())
	best, most := -1, -1
	for owner := range p.owners {
		if helps := p.sides.helps(short, owner); helps > most && !p.has(owner, awaited) {
			best, most = owner, helps
		}
	}
	return best
}

// Start returns the first sends: all owners that are up, because Dynamo writes to N and waits for
// W, and for each of the others a stand-in unless the quorum is strict. The coordinator's own copy
// is among them.
func (p *Put) Start() []Send { return slices.Clone(p.start) }

// Ack says that a place holds the state as durably as asked. It never asks for more: it returns
// nil, so that the shell can treat all events alike. Events of places that owe no answer are
// ignored, here and below: the first answer of a place is the one that holds.
func (p *Put) Ack(place int) []Send {
	if p.awaits(place) {
		p.copies[place].status = acked
	}
	return nil
}

// Fail says that a place did not take the state, or that nothing will be heard of it any more.
// The next fallback stands in for the same owner, also after the verdict: what is acknowledged
// should end up on N nodes, whoever they are.
func (p *Put) Fail(place int) []Send {
	if !p.awaits(place) {
		return nil
	}
	p.copies[place].status = failed
	return p.replace(place)
}

// Slow says that a place is past its budget; it may acknowledge all the same. The next fallback
// stands in for the same owner, and whichever of the two is first counts. Once the put has won,
// lateness is no reason to make another copy: what is late most often comes.
func (p *Put) Slow(place int) []Send {
	if !p.awaits(place) || p.Verdict() == Won {
		return nil
	}
	return p.replace(place)
}

// replace calls up a stand-in for the owner whose copy at the place is late or lost.
func (p *Put) replace(place int) []Send {
	c := &p.copies[place]
	if c.replaced || p.has(c.owner, acked) {
		return nil
	}
	c.replaced = true
	return p.standIn(c.owner)
}

// standIn uses the next fallback, if there is one, for an owner. A fallback stands for one owner
// only: its copy bears that owner's name, and handoff will send it there.
func (p *Put) standIn(owner int) []Send {
	if len(p.spares) == 0 {
		return nil
	}
	place := p.spares[0]
	p.spares = p.spares[1:]
	return []Send{p.send(place, owner)}
}

func (p *Put) send(place, owner int) Send {
	p.copies[place] = putCopy{status: awaited, owner: owner}
	return Send{Place: place, For: owner}
}

func (p *Put) awaits(place int) bool {
	return place >= 0 && place < len(p.copies) && p.copies[place].status == awaited
}

// has tells whether any copy that counts as the owner has the status.
func (p *Put) has(owner int, status copyStatus) bool {
	return slices.ContainsFunc(p.copies, func(c putCopy) bool { return c.status == status && c.owner == owner })
}

// Verdict tells how the put stands. Acknowledgements are never taken back and a stand-in only ever
// takes the place of a copy that was on its way, so a verdict, once reached, stays.
func (p *Put) Verdict() Verdict {
	switch count := p.Count(); {
	case count.Received >= count.Required:
		return Won
	case count.Live < count.Required:
		return Lost
	default:
		return Pending
	}
}

// Count counts owners: an owner that acknowledged and whose stand-in did too is one. It counts
// among Fallbacks only as long as it has not acknowledged itself. In a move it tells of the side that
// is farthest from its W: one that is lost before one that is not, then the one that lacks more
// acknowledgements, then the first.
func (p *Put) Count() Count { return p.sides.farthest(p.count) }

// count counts the owners of one side. A stand-in counts wherever its owner does.
func (p *Put) count(side int) Count {
	s := &p.sides.of[side]
	count := Count{Required: s.Need}
	for owner := range p.owners {
		if !s.Places.Has(owner) {
			continue
		}
		switch {
		case p.copies[owner].status == acked:
			count.Received++
		case p.has(owner, acked):
			count.Received++
			count.Fallbacks++
		case p.has(owner, awaited):
			count.Live++
		}
	}
	count.Live += count.Received
	return count
}

// Owed lists the owners that have neither acknowledged nor got a stand-in that did, in strict
// quorums too: whoever closes the put sees to it that they get a hint.
func (p *Put) Owed() []int {
	var owed []int
	for owner := range p.owners {
		if !p.has(owner, acked) {
			owed = append(owed, owner)
		}
	}
	return owed
}
