package paxos

import (
	"fmt"
	"slices"

	"github.com/starling-db/starling/ring"
)

// Instance is one decision to be made: its number and those who make it. It is immutable.
type Instance struct {
	number    uint64
	acceptors []ring.NodeID // ascending
}

// NewInstance is the instance of this number, from 1 on, with these acceptors, in any order.
func NewInstance(number uint64, acceptors []ring.NodeID) (Instance, error) {
	in := Instance{number: number, acceptors: slices.SortedFunc(slices.Values(acceptors), ring.NodeID.Compare)}
	switch {
	case number == 0:
		return Instance{}, &SetupError{Reason: "0 is not decided here: number instances from 1 on"}
	case len(acceptors) == 0:
		return Instance{}, &SetupError{Instance: number, Reason: "no acceptors: nothing would ever be decided"}
	case in.acceptors[0].IsZero():
		return Instance{}, &SetupError{Instance: number, Reason: "an acceptor without an id"}
	}
	for i, id := range in.acceptors[1:] {
		if id == in.acceptors[i] {
			return Instance{}, &SetupError{Instance: number, Reason: fmt.Sprintf("acceptor %v twice: its vote would count twice", id)}
		}
	}
	return in, nil
}

// Number is that of the instance.
func (in Instance) Number() uint64 { return in.number }

// Acceptors lists who decides, ascending. The caller must not change the list.
func (in Instance) Acceptors() []ring.NodeID { return in.acceptors }

// Majority is how many acceptors choose a value.
func (in Instance) Majority() int { return len(in.acceptors)/2 + 1 }

// Has reports whether the node is an acceptor.
func (in Instance) Has(id ring.NodeID) bool { return in.place(id) >= 0 }

// place is the acceptor's place in the list, -1 if the node is none.
func (in Instance) place(id ring.NodeID) int {
	if i, ok := slices.BinarySearchFunc(in.acceptors, id, ring.NodeID.Compare); ok {
		return i
	}
	return -1
}

// tally is a set of acceptors, by place. It counts each once, however often it is heard.
type tally struct {
	heard []bool
	count int
}

func newTally(in Instance) tally { return tally{heard: make([]bool, len(in.acceptors))} }

func (t *tally) add(place int) {
	if !t.heard[place] {
		t.heard[place] = true
		t.count++
	}
}
