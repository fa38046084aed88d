package quorum

import (
	"slices"
	"testing"
)

// The scenarios of Dynamo 4.5 and 4.6, with N=3 and three fallbacks. The exhaustive tests prove
// more; these say what the rules mean.

func plan(w int, strict bool, self int, down ...int) PutPlan {
	p := PutPlan{N: 3, W: w, Strict: strict, Up: []bool{true, true, true, true, true, true}, Self: self}
	for _, place := range down {
		p.Up[place] = false
	}
	return p
}

func wantSends(t *testing.T, what string, got []Send, want ...Send) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s sends %v, want %v", what, got, want)
	}
}

func wantPut(t *testing.T, p *Put, verdict Verdict, count Count, owed ...int) {
	t.Helper()
	if p.Verdict() != verdict || p.Count() != count || !slices.Equal(p.Owed(), owed) {
		t.Fatalf("%v %+v, owed %v; want %v %+v, owed %v", p.Verdict(), p.Count(), p.Owed(), verdict, count, owed)
	}
}

func TestPutWritesToAllOwnersAndWaitsForW(t *testing.T) {
	p := NewPut(plan(2, false, 1))
	wantSends(t, "start", p.Start(), Send{0, 0}, Send{1, 1}, Send{2, 2})
	wantPut(t, p, Pending, Count{Required: 2, Live: 3}, 0, 1, 2)
	p.Ack(1)
	wantPut(t, p, Pending, Count{Required: 2, Received: 1, Live: 3}, 0, 2)
	p.Ack(2)
	wantPut(t, p, Won, Count{Required: 2, Received: 2, Live: 3}, 0)
	wantSends(t, "a late owner of a put that has won", p.Slow(0))
	wantSends(t, "a lost owner of a put that has won", p.Fail(0), Send{3, 0})
	p.Ack(3)
	wantPut(t, p, Won, Count{Required: 2, Received: 3, Live: 3, Fallbacks: 1})
}

func TestSloppyPutGoesRoundOwnersThatAreDown(t *testing.T) {
	p := NewPut(plan(2, false, 0, 1, 2, 3))
	wantSends(t, "start", p.Start(), Send{0, 0}, Send{4, 1}, Send{5, 2})
	p.Ack(0)
	p.Ack(5)
	wantPut(t, p, Won, Count{Required: 2, Received: 2, Live: 3, Fallbacks: 1}, 1)
	wantSends(t, "a lost stand-in when no fallback is left", p.Fail(4))
	wantPut(t, p, Won, Count{Required: 2, Received: 2, Live: 2, Fallbacks: 1}, 1)
}

func TestOwnerAndItsStandInCountOnce(t *testing.T) {
	p := NewPut(plan(2, false, 0))
	p.Start()
	wantSends(t, "a late owner", p.Slow(1), Send{3, 1})
	wantSends(t, "its failure, replaced already", p.Fail(1))
	wantSends(t, "a late stand-in", p.Slow(3), Send{4, 1})
	p.Ack(3)
	p.Ack(4)
	wantPut(t, p, Pending, Count{Required: 2, Received: 1, Live: 3, Fallbacks: 1}, 0, 2)
	p.Ack(0)
	wantPut(t, p, Won, Count{Required: 2, Received: 2, Live: 3, Fallbacks: 1}, 2)
}

func TestALateOwnerCountsOnceBesideItsStandIn(t *testing.T) {
	p := NewPut(plan(3, false, 0))
	p.Start()
	wantSends(t, "a late owner", p.Slow(1), Send{3, 1})
	p.Ack(0)
	p.Ack(3)
	p.Ack(1)
	wantPut(t, p, Pending, Count{Required: 3, Received: 2, Live: 3}, 2)
}

func TestCoordinatorThatIsAFallbackStandsForTheFirstOwnerThatIsDown(t *testing.T) {
	p := NewPut(plan(3, false, 5, 0, 2))
	wantSends(t, "start", p.Start(), Send{1, 1}, Send{5, 0}, Send{3, 2})
}

func TestStrictPutTakesNoFallback(t *testing.T) {
	p := NewPut(plan(2, true, 0, 2))
	wantSends(t, "start", p.Start(), Send{0, 0}, Send{1, 1})
	p.Ack(0)
	wantSends(t, "a late owner", p.Slow(1))
	wantPut(t, p, Pending, Count{Required: 2, Received: 1, Live: 2}, 1, 2)
	wantSends(t, "a lost owner", p.Fail(1))
	wantPut(t, p, Lost, Count{Required: 2, Received: 1, Live: 1}, 1, 2)
	p.Ack(1)
	wantPut(t, p, Lost, Count{Required: 2, Received: 1, Live: 1}, 1, 2)
}

func TestPutRefusal(t *testing.T) {
	for _, c := range []struct {
		name    string
		plan    PutPlan
		live    int
		refused bool
	}{
		{"all up", plan(3, false, 0), 3, false},
		{"strict, one owner down, W=2", plan(2, true, 0, 1), 2, false},
		{"strict, two owners down, W=2", plan(2, true, 0, 1, 2), 1, true},
		{"sloppy, two owners down", plan(3, false, 0, 1, 2), 3, false},
		{"sloppy, all owners down", plan(3, false, 4, 0, 1, 2), 3, false},
		{"sloppy, too few nodes in all", plan(3, false, 4, 0, 1, 2, 3), 2, true},
		{"a fallback, no owner down", plan(1, false, 3), 3, true},
		{"a fallback, strict", plan(1, true, 3, 0), 2, true},
		{"W above N", plan(4, false, 0), 3, true},
		{"ring smaller than N", PutPlan{N: 3, W: 2, Up: []bool{true}}, 1, true},
		{"ring of one, W=1", PutPlan{N: 3, W: 1, Up: []bool{true}}, 1, false},
		{"no place of its own", plan(1, false, -1), 3, true},
		{"no place at all", PutPlan{N: 3, W: 1, Self: 3}, 0, true},
	} {
		count, refused := c.plan.Refusal()
		if want := (Count{Required: c.plan.W, Live: c.live}); count != want || refused != c.refused {
			t.Errorf("%s: %+v, refused %v; want %+v, %v", c.name, count, refused, want, c.refused)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Pending.String(), "pending"}, {Won.String(), "won"}, {Lost.String(), "lost"}, {Verdict(9).String(), "invalid"},
		{ReadPending.String(), "pending"}, {Agreed.String(), "agreed"}, {Conflict.String(), "conflict"},
		{Stable.String(), "stable"}, {ReadLost.String(), "lost"},
		{ReadFull.String(), "read"}, {ReadDigest.String(), "digest"}, {WriteBack.String(), "write-back"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
