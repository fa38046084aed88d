package paxos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

func testProposer(t *testing.T, nodes int) *Proposer {
	t.Helper()
	p, err := NewProposer(testNode(0), testInstance(t, 3, nodes), []byte("mine"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// want holds a step against its short form: the action, whom it goes to, the ballot's counter, the value.
func want(t *testing.T, s Step, form string) {
	t.Helper()
	to := ""
	for _, id := range s.To {
		to += fmt.Sprint(id[0] - 1)
	}
	if got := fmt.Sprintf("%v to %q at %d: %q, own %v", s.Do, to, s.Ballot.Counter, s.Value, s.Own); got != form {
		t.Errorf("got  %s\nwant %s", got, form)
	}
}

const waits = `wait to "" at 0: "", own false`

func promised(counter uint64, accepted Ballot, value string) Reply {
	return Reply{Kind: Promised, Instance: 3, Ballot: Ballot{counter, testNode(0)}, Accepted: accepted, Value: []byte(value)}
}

func accepted(counter uint64) Reply {
	return Reply{Kind: Accepted, Instance: 3, Ballot: Ballot{counter, testNode(0)}}
}

func refused(b Ballot) Reply { return Reply{Kind: Refused, Instance: 3, Ballot: b} }

func TestProposerDecides(t *testing.T) {
	p := testProposer(t, 3)
	want(t, p.Start(), `prepare to "0" at 1: "", own false`)
	want(t, p.Handle(testNode(1), promised(1, Ballot{}, "")), waits)
	want(t, p.Handle(testNode(0), promised(1, Ballot{}, "")), `prepare to "12" at 1: "", own false`)
	want(t, p.Handle(testNode(0), promised(1, Ballot{}, "")), waits)
	want(t, p.Handle(testNode(0), refused(Ballot{1, testNode(0)})), waits)
	want(t, p.Handle(testNode(3), promised(1, Ballot{}, "")), waits)
	want(t, p.Handle(testNode(2), promised(1, Ballot{}, "")), `accept to "012" at 1: "mine", own false`)
	want(t, p.Handle(testNode(1), promised(1, Ballot{}, "")), waits)
	want(t, p.Handle(testNode(1), accepted(1)), waits)
	want(t, p.Handle(testNode(1), accepted(1)), waits)
	want(t, p.Handle(testNode(0), accepted(1)), `chosen to "" at 0: "mine", own true`)
	want(t, p.Handle(testNode(2), accepted(1)), waits)
	want(t, p.Timeout(), waits)
	want(t, p.Start(), waits)
}

// TestProposerFinishesAnothersRound: it is bound by the highest of what its promises name, and says that it lost.
func TestProposerFinishesAnothersRound(t *testing.T) {
	p := testProposer(t, 5)
	p.Start()
	p.Handle(testNode(0), promised(1, Ballot{}, ""))
	p.Handle(testNode(1), promised(1, Ballot{8, testNode(2)}, "high"))
	want(t, p.Handle(testNode(2), promised(1, Ballot{7, testNode(3)}, "low")), `accept to "01234" at 1: "high", own false`)
	p.Handle(testNode(3), accepted(1))
	p.Handle(testNode(1), accepted(1))
	want(t, p.Handle(testNode(2), accepted(1)), `chosen to "" at 0: "high", own false`)
}

// TestProposerForgetsAnAttempt: what one attempt found at a minority does not bind the next, if that does not find it.
func TestProposerForgetsAnAttempt(t *testing.T) {
	p := testProposer(t, 3)
	p.Start()
	p.Handle(testNode(0), promised(1, Ballot{}, ""))
	p.Handle(testNode(1), promised(1, Ballot{8, testNode(2)}, "theirs"))
	p.Start()
	p.Handle(testNode(0), promised(2, Ballot{}, ""))
	want(t, p.Handle(testNode(2), promised(2, Ballot{}, "")), `accept to "012" at 2: "mine", own false`)
}

// TestProposerIsPreempted: it says by whom, once, counts what still comes, and then goes above.
func TestProposerIsPreempted(t *testing.T) {
	p := testProposer(t, 3)
	p.Start()
	p.Handle(testNode(0), promised(1, Ballot{}, ""))
	p.Handle(testNode(1), promised(1, Ballot{}, ""))
	want(t, p.Handle(testNode(2), refused(Ballot{5, testNode(1)})), `back off to "" at 5: "", own false`)
	want(t, p.Handle(testNode(1), refused(Ballot{4, testNode(1)})), waits)
	want(t, p.Timeout(), waits)
	late := *p
	late.accepted = newTally(p.in)
	late.Handle(testNode(0), accepted(1))
	want(t, late.Handle(testNode(1), accepted(1)), `chosen to "" at 0: "mine", own true`)
	want(t, p.Start(), `prepare to "0" at 6: "", own false`)
	want(t, p.Handle(testNode(0), accepted(1)), waits)
	want(t, p.Handle(testNode(1), accepted(1)), waits)
	want(t, p.Timeout(), `back off to "" at 0: "", own false`)
	want(t, p.Start(), `prepare to "0" at 7: "", own false`)
}

// TestProposerReservesItsBallot: counters that its node has used or promised are found out at home, with nobody asked.
func TestProposerReservesItsBallot(t *testing.T) {
	p := testProposer(t, 3)
	p.Start()
	want(t, p.Handle(testNode(0), refused(Ballot{1, testNode(0)})), `prepare to "0" at 2: "", own false`)
	want(t, p.Handle(testNode(0), refused(Ballot{9, testNode(1)})), `prepare to "0" at 10: "", own false`)
	want(t, p.Handle(testNode(0), promised(10, Ballot{}, "")), `prepare to "12" at 10: "", own false`)
}

func TestProposerLearns(t *testing.T) {
	p := testProposer(t, 3)
	p.Start()
	want(t, p.Handle(testNode(2), Reply{Kind: Behind, Instance: 3, Open: 2}), `teach to "2" at 0: "", own false`)
	want(t, p.Handle(testNode(1), Reply{Kind: Decided, Instance: 2, Value: []byte("another instance")}), waits)
	past := *p
	want(t, past.Handle(testNode(1), Reply{Kind: Past, Instance: 3, Open: 9}), `outdated to "" at 0: "", own false`)
	want(t, past.Start(), waits)
	want(t, p.Handle(testNode(1), Reply{Kind: Decided, Instance: 3, Value: []byte("theirs")}), `chosen to "" at 0: "theirs", own false`)
}

func TestProposerAlone(t *testing.T) {
	p := testProposer(t, 1)
	p.Start()
	want(t, p.Handle(testNode(0), promised(1, Ballot{}, "")), `accept to "0" at 1: "mine", own false`)
	want(t, p.Handle(testNode(0), accepted(1)), `chosen to "" at 0: "mine", own true`)
}

func TestProposerNeedsAnAcceptorAndAValue(t *testing.T) {
	in := testInstance(t, 3, 3)
	var se *SetupError
	if _, err := NewProposer(testNode(3), in, []byte("v")); !errors.As(err, &se) || se.Instance != 3 {
		t.Errorf("no acceptor: %v", err)
	}
	for _, size := range []int{0, MaxValueBytes + 1} {
		if _, err := NewProposer(testNode(0), in, make([]byte, size)); !errors.Is(err, ErrSetup) {
			t.Errorf("a value of %d bytes: %v", size, err)
		}
	}
}

// TestLearner holds it against counting everything: it never learns what was not chosen, and when an acceptance of a
// majority at the highest ballot has come it has learnt.
func TestLearner(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	learnt := 0
	for range 3000 {
		n := 1 + rng.IntN(7)
		in := testInstance(t, 1, n)
		l := NewLearner(in)
		heard := map[[2]int]bool{} // by ballot and acceptor
		counts := map[int]int{}
		first := ""
		for range 30 {
			ballot, from := 1+rng.IntN(4), rng.IntN(n+1) // the last is no acceptor
			if from < n && !heard[[2]int{ballot, from}] {
				heard[[2]int{ballot, from}] = true
				counts[ballot]++
			}
			value, ok := l.Accepted(testNode(from), Ballot{uint64(ballot), testNode(0)}, fmt.Appendf(nil, "v%d", ballot))
			if again, same := l.Chosen(); string(again) != string(value) || same != ok {
				t.Fatalf("Chosen says %q, %v, Accepted %q, %v", again, same, value, ok)
			}
			if ok && counts[int(value[1]-'0')] < in.Majority() {
				t.Fatalf("%q is not chosen: %v of %d", value, counts, n)
			}
			if !ok && counts[4] >= in.Majority() {
				t.Fatalf("not learnt: %v of %d", counts, n)
			}
			switch {
			case ok && first == "":
				first = string(value)
				learnt++
			case string(value) != first:
				t.Fatalf("learnt %q, and then %q", first, value)
			}
		}
	}
	if learnt == 0 {
		t.Error("nothing was ever learnt")
	}
}
