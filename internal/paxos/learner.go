package paxos

import "github.com/starling-db/starling/ring"

// Learner finds out what was chosen from what acceptors have accepted, told by their replies or their records, in any
// order. It keeps only the highest acceptance of each acceptor, so that it is bounded: it may learn of a choice only at
// a later ballot, and never of one that is none.
type Learner struct {
	in      Instance
	highest []acceptance // by place
	chosen  []byte
}

type acceptance struct {
	ballot Ballot
	value  []byte
}

// NewLearner is a learner of the instance that has heard nothing.
func NewLearner(in Instance) *Learner {
	return &Learner{in: in, highest: make([]acceptance, len(in.acceptors))}
}

// Accepted tells that an acceptor has accepted a value at a ballot. It returns the value that was chosen, once there is
// one. It keeps the value.
func (l *Learner) Accepted(from ring.NodeID, b Ballot, value []byte) (chosen []byte, ok bool) {
	place := l.in.place(from)
	if place < 0 || l.chosen != nil || b.Compare(l.highest[place].ballot) <= 0 {
		return l.Chosen()
	}
	l.highest[place] = acceptance{b, value}
	count := 0
	for _, a := range l.highest {
		if a.ballot == b {
			count++
		}
	}
	if count >= l.in.Majority() {
		l.chosen = value
	}
	return l.Chosen()
}

// Chosen returns the value that was chosen, if it has been learnt.
func (l *Learner) Chosen() (value []byte, ok bool) { return l.chosen, l.chosen != nil }
