package paxos

import (
	"reflect"
	"testing"

	"github.com/starling-db/starling/ring"
)

// rules are what safety rests on. The product has them all and no switches: where a rule is taken away, what stands
// between acceptors and proposers in these tests undoes what the product does for it.
type rules struct {
	PersistFirst      bool // a reply leaves when its record is on disk
	PromiseDurable    bool // a restarted acceptor knows its promise
	AcceptanceDurable bool // and what it has accepted
	PromiseKept       bool // nothing is accepted below the promise
	AdoptAccepted     bool // a proposer is bound by what its promises name
	AdoptHighest      bool // namely by what was accepted at the highest ballot
	CountOnce         bool // an acceptor that is heard twice counts once
	FullMajority      bool // half is not enough
	NodeInBallot      bool // ballots of different proposers differ
	OwnBallotOnce     bool // an acceptor promises a ballot of its own node once
	SelfFirst         bool // nobody hears of a ballot before the proposer's own acceptor has it on disk
}

func allRules() rules {
	var r rules
	for v, i := reflect.ValueOf(&r).Elem(), 0; i < v.NumField(); i++ {
		v.Field(i).SetBool(true)
	}
	return r
}

func ruleNames() []string {
	var names []string
	for t, i := reflect.TypeFor[rules](), 0; i < t.NumField(); i++ {
		names = append(names, t.Field(i).Name)
	}
	return names
}

func without(name string) rules {
	r := allRules()
	reflect.ValueOf(&r).Elem().FieldByName(name).SetBool(false)
	return r
}

// request is what a proposer sends to one acceptor.
type request struct {
	do       Action // Prepare or Accept
	instance uint64
	ballot   Ballot
	value    string
	to       int
}

// start begins an attempt.
func (r rules) start(p *Proposer) Step {
	s := p.Start()
	if !r.FullMajority {
		p.promised.count, p.accepted.count = 1, 1
	}
	if !r.SelfFirst {
		p.phase, s.To = preparing, p.in.acceptors
	}
	return s
}

// sent is a ballot as acceptors see it.
func (r rules) sent(p *Proposer, b Ballot) Ballot {
	if !r.NodeInBallot {
		b.Node = p.in.acceptors[len(p.in.acceptors)-1]
	}
	return b
}

// request is what a step has a proposer send to the acceptor at this place.
func (r rules) request(p *Proposer, s Step, to int) request {
	return request{do: s.Do, instance: p.in.number, ballot: r.sent(p, s.Ballot), value: string(s.Value), to: to}
}

// ask hands a request to an acceptor.
func (r rules) ask(a *Acceptor, m request) (Reply, *Record, error) {
	promised := a.record.Promised
	if m.do == Prepare {
		if again := m.ballot == promised && m.ballot.Node == a.self; again && !r.OwnBallotOnce {
			a.record.Promised = Ballot{}
		}
		return a.Prepare(m.instance, m.ballot)
	}
	if !r.PromiseKept {
		a.record.Promised = Ballot{}
	}
	reply, record, err := a.Accept(m.instance, m.ballot, []byte(m.value))
	if promised.Compare(a.record.Promised) > 0 {
		a.record.Promised = promised
		if record != nil {
			record.Promised = promised
		}
	}
	return reply, record, err
}

// tell hands a reply to a proposer.
func (r rules) tell(p *Proposer, from ring.NodeID, reply Reply) Step {
	if !r.NodeInBallot && reply.Kind != Refused {
		reply.Ballot.Node = p.self
	}
	heard := p.promised
	switch {
	case reply.Kind == Accepted:
		heard = p.accepted
	case reply.Kind != Promised:
	case !r.AdoptAccepted:
		reply.Accepted, reply.Value = Ballot{}, nil
	case !r.AdoptHighest && !reply.Accepted.IsZero():
		p.found = Ballot{}
	}
	if !r.CountOnce && heard.heard != nil && heard.heard[p.in.place(from)] {
		for i, yes := range heard.heard {
			if !yes {
				from = p.in.acceptors[i]
			}
		}
	}
	// An attempt that goes on at once, after its own acceptor has refused a counter.
	if before := p.ballot; !r.FullMajority || !r.SelfFirst {
		if s := p.Handle(from, reply); p.phase != reserving || p.ballot == before {
			return s
		}
		p.phase = resting
		return r.start(p)
	}
	return p.Handle(from, reply)
}

// restarted is what an acceptor finds on its disk.
func (r rules) restarted(disk Record) Record {
	if !r.PromiseDurable {
		disk.Promised = disk.Accepted
	}
	if !r.AcceptanceDurable {
		disk.Accepted, disk.Value = Ballot{}, nil
	}
	if disk.Promised.IsZero() {
		return Record{}
	}
	return disk
}

// testNode is the id of node i, from 0 on.
func testNode(i int) ring.NodeID { return ring.NodeID{byte(i + 1)} }

// testInstance has the first n nodes for acceptors.
func testInstance(t testing.TB, number uint64, n int) Instance {
	t.Helper()
	var acceptors []ring.NodeID
	for i := range n {
		acceptors = append(acceptors, testNode(i))
	}
	in, err := NewInstance(number, acceptors)
	if err != nil {
		t.Fatal(err)
	}
	return in
}
