package paxos

import (
	"bytes"
	"fmt"

	"github.com/starling-db/starling/ring"
)

// Acceptor is one node's vote. Just one instance is open at a time: the one behind the last that this node knows to be
// decided. Of earlier ones it knows the last, and it takes no part in later ones before it has learnt what it missed.
//
// What Prepare and Accept return counts only when it is on disk: see the package.
type Acceptor struct {
	self   ring.NodeID
	open   Instance
	last   []byte // what was decided in the instance before
	record Record // of the open instance; zero until something was promised
}

// NewAcceptor is the acceptor of a node that knows all decisions before the open instance, the last being this value,
// and has this record on disk, or a zero one. A record of an earlier instance is void, for that was decided. One of a
// later instance says that decisions were lost which this node once knew.
func NewAcceptor(self ring.NodeID, open Instance, last []byte, r Record) (*Acceptor, error) {
	if r.Instance > open.number {
		return nil, &SetupError{Instance: open.number, Reason: fmt.Sprintf(
			"the record on disk is of instance %d, but the decisions before that are not there: learn them from other nodes first", r.Instance)}
	}
	if r.Instance < open.number {
		r = Record{}
	}
	return &Acceptor{self: self, open: open, last: last, record: r}, nil
}

// Prepare asks for a promise to take no ballot below b. If the record is not nil it must be on disk before the reply
// leaves.
//
// A repeated request gets its promise again, so a lost reply costs nothing. Not so if the ballot is this node's own: its
// proposer asks here first, and once, so this is one from before a restart, which may have used the ballot for another
// value.
func (a *Acceptor) Prepare(instance uint64, b Ballot) (Reply, *Record, error) {
	if reply, done, err := a.admit(instance, b); done {
		return reply, nil, err
	}
	if c := b.Compare(a.record.Promised); c < 0 || c == 0 && b.Node == a.self {
		return a.refuse(), nil, nil
	}
	a.record.Instance, a.record.Promised = instance, b
	reply := Reply{Kind: Promised, Instance: instance, Ballot: b, Accepted: a.record.Accepted, Value: a.record.Value}
	return reply, a.written(), nil
}

// Accept asks to accept a value at a ballot. If the record is not nil it must be on disk before the reply leaves. The
// acceptor keeps the value.
func (a *Acceptor) Accept(instance uint64, b Ballot, value []byte) (Reply, *Record, error) {
	if reply, done, err := a.admit(instance, b); done {
		return reply, nil, err
	}
	if err := checkValue(value); err != "" {
		return Reply{}, nil, &RequestError{Instance: instance, Ballot: b, Reason: err}
	}
	if b.Compare(a.record.Promised) < 0 {
		return a.refuse(), nil, nil
	}
	if b == a.record.Accepted && !bytes.Equal(value, a.record.Value) {
		return Reply{}, nil, &RequestError{Instance: instance, Ballot: b, Reason: "another value was accepted at this ballot: its proposer has used it twice"}
	}
	a.record = Record{Instance: instance, Promised: b, Accepted: b, Value: value}
	return Reply{Kind: Accepted, Instance: instance, Ballot: b}, a.written(), nil
}

// Decided tells that the instance before next was decided, and how; the caller has that on disk. The record of what was
// open is dropped. What is known already changes nothing.
func (a *Acceptor) Decided(next Instance, value []byte) {
	if next.number > a.open.number {
		a.open, a.last, a.record = next, value, Record{}
	}
}

// Open is the instance in which this acceptor takes part.
func (a *Acceptor) Open() Instance { return a.open }

// admit answers what is not about the open instance, or not from one of its acceptors.
func (a *Acceptor) admit(instance uint64, b Ballot) (reply Reply, done bool, err error) {
	invalid := func(format string, args ...any) (Reply, bool, error) {
		return Reply{}, true, &RequestError{Instance: instance, Ballot: b, Reason: fmt.Sprintf(format, args...)}
	}
	open := a.open.number
	switch {
	case instance == 0:
		return invalid("instances are numbered from 1 on")
	case instance == open-1:
		return Reply{Kind: Decided, Instance: instance, Value: a.last, Open: open}, true, nil
	case instance < open:
		return Reply{Kind: Past, Instance: instance, Open: open}, true, nil
	case instance > open:
		return Reply{Kind: Behind, Instance: instance, Open: open}, true, nil
	case b.Counter == 0 || b.Counter > maxCounter:
		return invalid("want a counter of 1 to %d", uint64(maxCounter))
	case !a.open.Has(b.Node):
		return invalid("the proposer is no acceptor of this instance: leave it to one that is")
	case !a.open.Has(a.self):
		return invalid("node %v is no acceptor of this instance: ask those that are", a.self)
	}
	return Reply{}, false, nil
}

func (a *Acceptor) refuse() Reply {
	return Reply{Kind: Refused, Instance: a.open.number, Ballot: a.record.Promised}
}

// written is the record as it must be on disk. A promise or acceptance that is only repeated is written again: it may
// still be on its way.
func (a *Acceptor) written() *Record {
	r := a.record
	return &r
}

// checkValue says what is wrong with a value.
func checkValue(value []byte) string {
	if len(value) == 0 || len(value) > MaxValueBytes {
		return fmt.Sprintf("a value of %d bytes, want 1 to %d", len(value), MaxValueBytes)
	}
	return ""
}
