package antientropy

import (
	"fmt"
	"slices"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// Part is one partition as the buckets with N replicas see it.
type Part struct{ N, Partition int }

// Seats are those who have to do with a part: its owners, and its guardians, the owners among them.
type Seats struct {
	Part
	Owners, Guardians []ring.NodeID
}

// Attestation is what a guardian answers that has promised to refuse fresh writes up to the HLC of the round.
type Attestation struct {
	// Process is the guardian's, drawn anew at each start.
	Process uint64
	// Floors of its data, for each part that it was asked about; 0 where it is no owner.
	Floors []causal.HLC
	// Hinted and Rebuilding are places in that list where it does not attest after all: it still holds a hint with a dot up
	// to that HLC, or its data vouches for nothing.
	Hinted, Rebuilding []int
}

// Pair is two owners and the partitions, at one N, that they have to compare for a round.
type Pair struct {
	A, B       ring.NodeID // A is the lower
	N          int
	Partitions []int // ascending
}

// Raise tells one owner which floors it may raise, if it still is that process.
type Raise struct {
	Node    ring.NodeID
	Process uint64
	Parts   []Part
	// PurgeLevels are those of the parts from now on, if they aren't higher already.
	PurgeLevels []causal.HLC
}

// Round decides what may be said of some parts once all that it takes has been done, in this order: all guardians attest,
// then all pairs of owners are compared, then all guardians are found to be the processes that attested. It is pure; Rounds
// drives it. docs/design/watermark.md has the argument.
type Round struct {
	// Through is what the floors are raised to.
	Through causal.HLC
	parts   []*roundPart
	asked   map[ring.NodeID][]*roundPart
	nodes   map[ring.NodeID]uint64 // who attested, and its process
}

type roundPart struct {
	Seats
	why    string // it is not done for this part; empty: it is
	lowest causal.HLC
	left   map[[2]ring.NodeID]bool // pairs that are still to be compared
}

// NewRound begins one. Each part has at least one owner, and all its owners are guardians.
func NewRound(through causal.HLC, parts []Seats) *Round {
	r := &Round{Through: through, asked: make(map[ring.NodeID][]*roundPart), nodes: make(map[ring.NodeID]uint64)}
	for _, s := range parts {
		p := &roundPart{Seats: s, lowest: causal.MaxHLC, left: make(map[[2]ring.NodeID]bool)}
		for i, a := range s.Owners {
			for _, b := range s.Owners[i+1:] {
				p.left[pairOf(a, b)] = true
			}
		}
		r.parts = append(r.parts, p)
	}
	return r
}

func pairOf(a, b ring.NodeID) [2]ring.NodeID {
	if slices.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return [2]ring.NodeID{a, b}
}

// Guardians lists everybody who has to attest, by id.
func (r *Round) Guardians() []ring.NodeID {
	seen := make(map[ring.NodeID]bool)
	var out []ring.NodeID
	for _, p := range r.parts {
		for _, id := range p.Guardians {
			if !seen[id] {
				seen[id] = true
				out = append(out, id)
			}
		}
	}
	slices.SortFunc(out, func(a, b ring.NodeID) int { return slices.Compare(a[:], b[:]) })
	return out
}

// PartsOf lists the parts that a guardian is to attest for: those that nothing stands in the way of so far. Its answer is about
// these, in this order.
func (r *Round) PartsOf(id ring.NodeID) []Part {
	var out []Part
	r.asked[id] = nil
	for _, p := range r.guardedBy(id) {
		if p.why == "" {
			r.asked[id] = append(r.asked[id], p)
			out = append(out, p.Part)
		}
	}
	return out
}

func (r *Round) guardedBy(id ring.NodeID) []*roundPart {
	var out []*roundPart
	for _, p := range r.parts {
		if slices.Contains(p.Guardians, id) {
			out = append(out, p)
		}
	}
	return out
}

func (p *roundPart) off(format string, args ...any) {
	if p.why == "" {
		p.why = fmt.Sprintf(format, args...)
	}
}

// Attested takes a guardian's answer, name being what people call it.
func (r *Round) Attested(id ring.NodeID, name string, a Attestation, err error) {
	parts := r.asked[id]
	if err != nil {
		parts = r.guardedBy(id)
	} else if len(a.Floors) != len(parts) || a.Process == 0 {
		parts = r.guardedBy(id)
		err = fmt.Errorf("%w: an attestation of %d parts, not %d", ErrAsked, len(a.Floors), len(parts))
	}
	if err != nil {
		for _, p := range parts {
			p.off("%s does not attest: %v", name, err)
		}
		return
	}
	r.nodes[id] = a.Process
	rebuilding, hinted := places(a.Rebuilding), places(a.Hinted)
	for i, p := range parts {
		switch {
		case rebuilding[i]:
			p.off("%s is rebuilding its copy", name)
		case hinted[i]:
			p.off("%s holds old hints", name)
		case slices.Contains(p.Owners, id):
			p.lowest = min(p.lowest, a.Floors[i])
		}
	}
}

func places(list []int) map[int]bool {
	out := make(map[int]bool, len(list))
	for _, i := range list {
		out[i] = true
	}
	return out
}

// Pairs lists the comparisons that are to begin now that everybody has attested.
func (r *Round) Pairs() []Pair {
	type place struct {
		pair [2]ring.NodeID
		n    int
	}
	byPair := make(map[place][]int)
	for _, p := range r.parts {
		r.complete(p)
		if p.why != "" {
			continue
		}
		for pair := range p.left {
			byPair[place{pair, p.N}] = append(byPair[place{pair, p.N}], p.Partition)
		}
	}
	var out []Pair
	for at, partitions := range byPair {
		slices.Sort(partitions)
		out = append(out, Pair{at.pair[0], at.pair[1], at.n, partitions})
	}
	slices.SortFunc(out, func(x, y Pair) int {
		if c := slices.Compare(x.A[:], y.A[:]); c != 0 {
			return c
		}
		if c := slices.Compare(x.B[:], y.B[:]); c != 0 {
			return c
		}
		return x.N - y.N
	})
	return out
}

// complete puts a part off whose guardians have not all attested.
func (r *Round) complete(p *roundPart) {
	for _, id := range p.Guardians {
		if r.nodes[id] == 0 {
			p.off("a guardian has not attested")
		}
	}
}

// Exchanged says that a pair has been compared whole, but for the partitions in which an item was not taken. The comparison
// began after Pairs was called.
func (r *Round) Exchanged(pair Pair, doubtful []int, err error) {
	doubted := places(doubtful)
	for _, p := range r.parts {
		if _, in := slices.BinarySearch(pair.Partitions, p.Partition); !in || p.N != pair.N {
			continue
		}
		switch {
		case err != nil:
			p.off("two owners could not be compared: %v", err)
		case doubted[p.Partition]:
			p.off("an owner would not take an item")
		default:
			delete(p.left, pairOf(pair.A, pair.B))
		}
	}
}

// Confirmed says which process a guardian is after all comparisons.
func (r *Round) Confirmed(id ring.NodeID, name string, process uint64, err error) {
	for _, p := range r.guardedBy(id) {
		switch {
		case err != nil:
			p.off("%s went away: %v", name, err)
		case process != r.nodes[id]:
			p.off("%s was restarted meanwhile", name)
		}
	}
}

// Raises lists what the owners are told at the end. Confirmed was called for all guardians.
func (r *Round) Raises() []Raise {
	byNode := make(map[ring.NodeID]*Raise)
	for _, p := range r.parts {
		r.complete(p)
		if p.why == "" && len(p.left) > 0 {
			p.off("not all owners were compared")
		}
		if p.why != "" {
			continue
		}
		for _, id := range p.Owners {
			if byNode[id] == nil {
				byNode[id] = &Raise{Node: id, Process: r.nodes[id]}
			}
			to := byNode[id]
			to.Parts, to.PurgeLevels = append(to.Parts, p.Part), append(to.PurgeLevels, p.lowest)
		}
	}
	var out []Raise
	for _, id := range r.Guardians() {
		if byNode[id] != nil {
			out = append(out, *byNode[id])
		}
	}
	return out
}

// Failed says for which parts the round has come to nothing, and why.
func (r *Round) Failed() map[Part]string {
	out := make(map[Part]string)
	for _, p := range r.parts {
		if p.why != "" {
			out[p.Part] = p.why
		}
	}
	return out
}
