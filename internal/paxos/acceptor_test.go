package paxos

import (
	"bytes"
	"errors"
	"testing"
)

func testAcceptor(t *testing.T, number uint64, last string, r Record) *Acceptor {
	t.Helper()
	a, err := NewAcceptor(testNode(0), testInstance(t, number, 3), []byte(last), r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAcceptorTakesPartInOneInstance: earlier ones are over, for later ones it must learn first, and neither leaves
// anything on disk.
func TestAcceptorTakesPartInOneInstance(t *testing.T) {
	b := Ballot{1, testNode(1)}
	for instance, want := range map[uint64]Reply{
		2: {Kind: Past, Instance: 2, Open: 4},
		3: {Kind: Decided, Instance: 3, Open: 4, Value: []byte("three")},
		4: {Kind: Promised, Instance: 4, Ballot: b},
		5: {Kind: Behind, Instance: 5, Open: 4},
		9: {Kind: Behind, Instance: 9, Open: 4},
	} {
		for _, do := range []Action{Prepare, Accept} {
			reply, record, err := allRules().ask(testAcceptor(t, 4, "three", Record{}), request{do: do, instance: instance, ballot: b, value: "v"})
			want := want
			if instance == 4 && do == Accept {
				want.Kind = Accepted
			}
			if err != nil || !equalReplies(reply, want) || (record != nil) != (instance == 4) {
				t.Errorf("%v in instance %d: %+v, %v, %v", do, instance, reply, record, err)
			}
		}
	}
}

func equalReplies(a, b Reply) bool {
	return a.Kind == b.Kind && a.Instance == b.Instance && a.Ballot == b.Ballot && a.Accepted == b.Accepted && a.Open == b.Open && bytes.Equal(a.Value, b.Value)
}

// TestAcceptorRefusesNonsense: what no proposer sends is an error, and changes nothing.
func TestAcceptorRefusesNonsense(t *testing.T) {
	accepted := Record{Instance: 4, Promised: Ballot{7, testNode(1)}, Accepted: Ballot{7, testNode(1)}, Value: []byte("v")}
	for name, m := range map[string]request{
		"instance 0":        {do: Prepare, ballot: Ballot{9, testNode(1)}},
		"no counter":        {do: Prepare, instance: 4, ballot: Ballot{0, testNode(1)}},
		"counter too high":  {do: Prepare, instance: 4, ballot: Ballot{maxCounter + 1, testNode(1)}},
		"nobody":            {do: Prepare, instance: 4, ballot: Ballot{Counter: 9}},
		"stranger":          {do: Prepare, instance: 4, ballot: Ballot{9, testNode(3)}},
		"stranger's value":  {do: Accept, instance: 4, ballot: Ballot{9, testNode(3)}, value: "v"},
		"no value":          {do: Accept, instance: 4, ballot: Ballot{9, testNode(1)}},
		"too large a value": {do: Accept, instance: 4, ballot: Ballot{9, testNode(1)}, value: string(make([]byte, MaxValueBytes+1))},
		"two at one ballot": {do: Accept, instance: 4, ballot: Ballot{7, testNode(1)}, value: "w"},
	} {
		a := testAcceptor(t, 4, "three", accepted)
		var re *RequestError
		reply, record, err := allRules().ask(a, m)
		if !errors.As(err, &re) || !errors.Is(err, ErrRequest) || re.Instance != m.instance || re.Ballot != m.ballot || record != nil || reply.Kind != 0 {
			t.Errorf("%s: %+v, %v, %v", name, reply, record, err)
		}
		if a.record.Promised != accepted.Promised || string(a.record.Value) != "v" {
			t.Errorf("%s: left %+v", name, a.record)
		}
	}
	a, err := NewAcceptor(testNode(3), testInstance(t, 4, 3), []byte("three"), Record{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Prepare(4, Ballot{1, testNode(0)}); !errors.Is(err, ErrRequest) {
		t.Errorf("a node that is no acceptor: %v", err)
	}
	if reply, _, err := a.Prepare(3, Ballot{1, testNode(0)}); err != nil || reply.Kind != Decided {
		t.Errorf("it knows what was decided: %+v, %v", reply, err)
	}
}

// TestAcceptorRepeats: a repeated request gets the same answer with the record again, which may still be on its way; but
// a ballot of its own node is promised once.
func TestAcceptorRepeats(t *testing.T) {
	a := testAcceptor(t, 1, "", Record{})
	for _, m := range []request{
		{do: Prepare, instance: 1, ballot: Ballot{1, testNode(0)}},
		{do: Prepare, instance: 1, ballot: Ballot{1, testNode(1)}},
		{do: Accept, instance: 1, ballot: Ballot{1, testNode(1)}, value: "v"},
		{do: Prepare, instance: 1, ballot: Ballot{2, testNode(0)}},
	} {
		first, written, err := allRules().ask(a, m)
		if err != nil || written == nil || first.Kind == Refused {
			t.Fatalf("%+v: %+v, %v", m, first, err)
		}
		second, again, err := allRules().ask(a, m)
		if own := m.ballot.Node == testNode(0); own {
			if second.Kind != Refused || second.Ballot != m.ballot || again != nil || err != nil {
				t.Errorf("%+v twice: %+v, %v, %v", m, second, again, err)
			}
		} else if !equalReplies(first, second) || again == nil || err != nil {
			t.Errorf("%+v twice: %+v, then %+v, %v, %v", m, first, second, again, err)
		}
	}
	if reply, _, _ := a.Accept(1, Ballot{1, testNode(1)}, []byte("v")); reply.Kind != Refused || reply.Ballot != (Ballot{2, testNode(0)}) {
		t.Errorf("below the promise: %+v", reply)
	}
}

// TestRecordsGoWithTheirInstance: once it is decided, in memory and after a restart.
func TestRecordsGoWithTheirInstance(t *testing.T) {
	old := Record{Instance: 4, Promised: Ballot{9, testNode(1)}, Accepted: Ballot{9, testNode(1)}, Value: []byte("v")}
	a := testAcceptor(t, 4, "three", old)
	a.Decided(testInstance(t, 4, 3), []byte("stale"))
	if reply, _, _ := a.Prepare(3, Ballot{1, testNode(1)}); string(reply.Value) != "three" {
		t.Errorf("a decision told again: %+v", reply)
	}
	a.Decided(testInstance(t, 6, 3), []byte("five"))
	for name, a := range map[string]*Acceptor{"told": a, "restarted": testAcceptor(t, 6, "five", old)} {
		reply, record, err := a.Prepare(6, Ballot{1, testNode(1)})
		if err != nil || reply.Kind != Promised || !reply.Accepted.IsZero() || record.Instance != 6 || !record.Accepted.IsZero() || record.Value != nil {
			t.Errorf("%s: %+v, %+v, %v", name, reply, record, err)
		}
		if a.Open().Number() != 6 {
			t.Errorf("%s: open is %d", name, a.Open().Number())
		}
	}
	var se *SetupError
	if _, err := NewAcceptor(testNode(0), testInstance(t, 3, 3), nil, old); !errors.As(err, &se) || se.Instance != 3 || !errors.Is(err, ErrSetup) {
		t.Errorf("a record of the future: %v", err)
	}
}

func TestInstancesNeedDistinctAcceptors(t *testing.T) {
	ids := testInstance(t, 1, 3).Acceptors()
	if _, err := NewInstance(0, ids); !errors.Is(err, ErrSetup) {
		t.Errorf("instance 0: %v", err)
	}
	for name, in := range map[string][]int{"none": nil, "zero": {-1, 0}, "twice": {0, 1, 0}} {
		list := ids[:0:0]
		for _, i := range in {
			list = append(list, testNode(i))
		}
		if _, err := NewInstance(1, list); !errors.Is(err, ErrSetup) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n, want := range []int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 7: 4} {
		if n > 0 && n != 6 && testInstance(t, 1, n).Majority() != want {
			t.Errorf("majority of %d: %d", n, testInstance(t, 1, n).Majority())
		}
	}
}
