package paxos

import (
	"bytes"
	"fmt"

	"github.com/starling-db/starling/ring"
)

// Action is what a proposer asks of its shell.
type Action uint8

// What a proposer asks for.
const (
	// Wait for more replies, or the timeout.
	Wait Action = iota
	// Prepare: send Ballot to each node in To.
	Prepare
	// Accept: send Ballot and Value to each node in To.
	Accept
	// Teach each node in To what was decided before this instance, and go on waiting.
	Teach
	// BackOff: the attempt is over. Pause, then Start again; replies that still come may end it before. Ballot is the
	// one that came between, zero if only time was lacking.
	BackOff
	// Chosen: Value is decided, for ever, and all acceptors should be told. Own says whether it is the proposer's.
	Chosen
	// Outdated: the instance was decided long ago, and how is not known where it was asked: learn.
	Outdated
)

func (a Action) String() string {
	if names := [...]string{"wait", "prepare", "accept", "teach", "back off", "chosen", "outdated"}; int(a) < len(names) {
		return names[a]
	}
	return "no action"
}

// Step is what a proposer wants done next.
type Step struct {
	Do     Action
	To     []ring.NodeID
	Ballot Ballot
	Value  []byte
	Own    bool
}

type phase uint8

const (
	resting   phase = iota // between attempts
	reserving              // its own acceptor is to promise the ballot, before anybody else hears of it
	preparing
	accepting
	ended
)

// Proposer tries to have a value chosen in one instance, and ends with the one that was, be it its own or not: so it
// finishes what a crashed proposer began.
type Proposer struct {
	self ring.NodeID
	in   Instance
	own  []byte

	phase    phase
	ballot   Ballot
	seen     Ballot // the highest of others that it was told
	promised tally
	accepted tally
	found    Ballot // the highest at which a promise of this attempt names a value, and that value
	value    []byte
}

// NewProposer is a proposer of value at an acceptor of the instance. It keeps the value.
func NewProposer(self ring.NodeID, in Instance, value []byte) (*Proposer, error) {
	if !in.Has(self) {
		return nil, &SetupError{Instance: in.number, Reason: fmt.Sprintf(
			"node %v is no acceptor, so nothing would keep its ballots from being used twice: let an acceptor propose", self)}
	}
	if reason := checkValue(value); reason != "" {
		return nil, &SetupError{Instance: in.number, Reason: reason}
	}
	return &Proposer{self: self, in: in, own: value}, nil
}

// Start begins an attempt, at a ballot above all that it has used or heard of. It gives up an attempt that is under way,
// and does nothing once the proposer has ended.
func (p *Proposer) Start() Step {
	if p.phase == ended {
		return Step{}
	}
	p.phase = reserving
	p.ballot = Ballot{Counter: max(p.ballot.Counter, p.seen.Counter) + 1, Node: p.self}
	p.promised, p.accepted = newTally(p.in), newTally(p.in)
	p.found, p.value = Ballot{}, p.own
	return Step{Do: Prepare, To: []ring.NodeID{p.self}, Ballot: p.ballot}
}

// Timeout ends an attempt that takes too long.
func (p *Proposer) Timeout() Step {
	if p.phase == resting || p.phase == ended {
		return Step{}
	}
	p.phase = resting
	return Step{Do: BackOff}
}

// Handle takes in an acceptor's reply. Any reply may come late, twice, or in an attempt that it is not about.
func (p *Proposer) Handle(from ring.NodeID, r Reply) Step {
	place := p.in.place(from)
	if p.phase == ended || place < 0 || r.Instance != p.in.number {
		return Step{}
	}
	switch r.Kind {
	case Promised:
		if r.Ballot == p.ballot {
			return p.onPromise(place, r)
		}
	case Accepted:
		// The attempt may be over: an acceptance counts all the same.
		if r.Ballot == p.ballot {
			p.accepted.add(place)
			if p.accepted.count >= p.in.Majority() {
				return p.end(p.value)
			}
		}
	case Refused:
		return p.onRefusal(from, r.Ballot)
	case Decided:
		return p.end(r.Value)
	case Past:
		p.phase = ended
		return Step{Do: Outdated}
	case Behind:
		return Step{Do: Teach, To: []ring.NodeID{from}}
	}
	return Step{}
}

func (p *Proposer) onPromise(place int, r Reply) Step {
	reserved := p.phase == reserving && p.in.acceptors[place] == p.self
	if !reserved && p.phase != preparing {
		return Step{}
	}
	p.promised.add(place)
	if r.Accepted.Compare(p.found) > 0 {
		p.found, p.value = r.Accepted, r.Value
	}
	if p.promised.count >= p.in.Majority() {
		p.phase = accepting
		return Step{Do: Accept, To: p.in.acceptors, Ballot: p.ballot, Value: p.value}
	}
	if reserved {
		p.phase = preparing
		return Step{Do: Prepare, To: p.others(), Ballot: p.ballot}
	}
	return Step{}
}

// onRefusal ends the attempt if a higher ballot has come between. While the own acceptor is the only one that was asked,
// the refusal only tells which counters are used up, so the next attempt need not wait.
func (p *Proposer) onRefusal(from ring.NodeID, by Ballot) Step {
	if by.Compare(p.seen) > 0 {
		p.seen = by
	}
	switch {
	case p.phase == reserving && from == p.self && by.Compare(p.ballot) >= 0:
		return p.Start()
	case by.Compare(p.ballot) > 0 && p.phase != resting:
		p.phase = resting
		return Step{Do: BackOff, Ballot: by}
	}
	return Step{}
}

// end keeps the tallies no longer: whatever comes is of no interest.
func (p *Proposer) end(value []byte) Step {
	p.phase = ended
	return Step{Do: Chosen, Value: value, Own: bytes.Equal(value, p.own)}
}

func (p *Proposer) others() []ring.NodeID {
	var others []ring.NodeID
	for _, id := range p.in.acceptors {
		if id != p.self {
			others = append(others, id)
		}
	}
	return others
}
