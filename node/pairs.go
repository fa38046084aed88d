package node

import (
	"bytes"
	"slices"

	"github.com/starling-db/starling/ring"
)

// nodePair is two members. The first has the lower id: it asks, the other answers.
type nodePair [2]ring.NodeID

// pairsOf are each two of the members, or those of only, if that is one of them.
func pairsOf(members []ring.NodeID, only ring.NodeID) (pairs []nodePair) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b ring.NodeID) int { return bytes.Compare(a[:], b[:]) })
	for i, by := range members {
		for _, with := range members[i+1:] {
			if only.IsZero() || by == only || with == only {
				pairs = append(pairs, nodePair{by, with})
			}
		}
	}
	return pairs
}

// pairing hands out pairs such that no node is in two of them at once, and at most so many at a time.
type pairing struct {
	waiting []nodePair
	busy    map[ring.NodeID]bool
	out     int
	atOnce  int
}

func newPairing(pairs []nodePair, atOnce int) *pairing {
	return &pairing{waiting: slices.Clone(pairs), busy: make(map[ring.NodeID]bool), atOnce: atOnce}
}

// next hands out a pair, if one may be begun now.
func (p *pairing) next() (nodePair, bool) {
	if p.out >= p.atOnce {
		return nodePair{}, false
	}
	i := slices.IndexFunc(p.waiting, func(pair nodePair) bool { return !p.busy[pair[0]] && !p.busy[pair[1]] })
	if i < 0 {
		return nodePair{}, false
	}
	pair := p.waiting[i]
	p.waiting = slices.Delete(p.waiting, i, i+1)
	p.busy[pair[0]], p.busy[pair[1]] = true, true
	p.out++
	return pair, true
}

// done takes a pair back.
func (p *pairing) done(pair nodePair) {
	delete(p.busy, pair[0])
	delete(p.busy, pair[1])
	p.out--
}

// drop forgets the pairs that were not handed out yet.
func (p *pairing) drop() { p.waiting = nil }

// ended says that all pairs were handed out and came back.
func (p *pairing) ended() bool { return p.out == 0 && len(p.waiting) == 0 }
