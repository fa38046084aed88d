package causal

import (
	"slices"
	"testing"
)

// replica is one copy of an item for the scenarios, with a clock that only counts.
type replica struct {
	State
	actor Actor
}

var scenarioActors Actor

// newReplica stands for a fresh record: each draws an actor of its own.
func newReplica() *replica {
	scenarioActors++
	return &replica{actor: scenarioActors}
}

func (r *replica) put(hlc HLC, n int, ctx Past) State {
	r.State, _ = Mint(Siblings, r.State, r.actor, hlc, Write{Context: ctx, RequestID: rid(n), Value: []byte{byte(n)}})
	return r.State
}

func (r *replica) del(hlc HLC, n int, ctx Past) State {
	r.State, _ = Mint(Siblings, r.State, r.actor, hlc, Write{Context: ctx, RequestID: rid(n), Tombstone: true})
	return r.State
}

// everyOrder delivers the states in each order, and with each one repeated last, and checks what is left.
func everyOrder(t *testing.T, states []State, want ...int) {
	t.Helper()
	permute(states, func(order []State) {
		s := mergeAll(Siblings, order...)
		wantRequests(t, s, want...)
		for _, again := range order {
			wantRequests(t, Merge(Siblings, again, s), want...)
		}
	})
}

func permute[T any](xs []T, visit func([]T)) {
	var rec func(int)
	xs = slices.Clone(xs)
	rec = func(k int) {
		if k == len(xs) {
			visit(xs)
			return
		}
		for i := k; i < len(xs); i++ {
			xs[k], xs[i] = xs[i], xs[k]
			rec(k + 1)
			xs[k], xs[i] = xs[i], xs[k]
		}
	}
	rec(0)
}

func TestTwoBlindWritersThenOneThatHasSeenBoth(t *testing.T) {
	a, b, c := newReplica(), newReplica(), newReplica()
	sa, sb := a.put(10, 1, Past{}), b.put(11, 2, Past{})
	everyOrder(t, []State{sa, sb}, 1, 2)

	ctx := Merge(Siblings, sa, sb).Context()
	everyOrder(t, []State{sa, sb, c.put(20, 3, ctx)}, 3) // c has seen neither
	a.State = Merge(Siblings, sa, sb)
	everyOrder(t, []State{sa, sb, a.put(21, 4, ctx)}, 4) // a has seen both

	// each of the two writers has seen the other's too: they conflict again
	everyOrder(t, []State{sa, sb, c.State, a.State}, 3, 4)
}

func TestRetryAtAnotherCoordinatorIsOneWrite(t *testing.T) {
	a, b := newReplica(), newReplica()
	first, second := a.put(10, 1, Past{}), b.put(20, 1, Past{})
	everyOrder(t, []State{first, second}, 1)
	if s := Merge(Siblings, first, second); s.Versions[0].Dot.HLC != 20 {
		t.Fatalf("the higher dot should stay: %s", show(s))
	}
}

func TestRetryWhoseTwinWasReplaced(t *testing.T) {
	a, b, c := newReplica(), newReplica(), newReplica()
	twin := a.put(10, 1, Past{})
	successor := c.put(20, 2, twin.Context())
	late := b.put(30, 1, Past{}) // b knows of neither and mints anew, above the successor
	everyOrder(t, []State{twin, successor, late}, 2)

	deleted := c.del(25, 3, successor.Context())
	s := mergeAll(Siblings, twin, late, deleted)
	wantRequests(t, s, 3)
	if s.Live() {
		t.Fatalf("the deleted value is back: %s", show(s))
	}
	if v, known := s.Known(rid(1)); v != nil || !known {
		t.Fatalf("a replaced request should be known: %v, %t", v, known)
	}
	if _, known := s.Known(rid(9)); known {
		t.Fatal("a foreign request should not be known")
	}
}

func TestReaderOfTheLaterTwinReplacesBoth(t *testing.T) {
	a, b, c := newReplica(), newReplica(), newReplica()
	first, second := a.put(10, 1, Past{}), b.put(20, 1, Past{})
	successor := c.put(30, 2, second.Context())
	everyOrder(t, []State{first, second, successor}, 2)
}

// The next four are the scenarios that riak_test calls kv679; docs/failures.md says what happened there.

func TestPutAfterPurgedTombstone(t *testing.T) { // kv679_tombstone
	a := newReplica()
	written := a.put(10, 1, Past{})
	tomb := a.del(20, 2, written.Context())
	a = newReplica() // the record was dropped, so the actor is a new one
	again := a.put(30, 3, Past{})
	everyOrder(t, []State{again, written}, 1, 3) // an old copy is a sibling, not lost: nobody has seen it
	everyOrder(t, []State{again, written, tomb}, 2, 3)
	if !mergeAll(Siblings, tomb, again).Live() {
		t.Fatal("the old tombstone ate a new write")
	}
}

func TestNodeThatForgetsIssuesNoEventTwice(t *testing.T) { // kv679_dataloss
	a, b := newReplica(), newReplica()
	sa := a.put(10, 1, Past{})
	b.State = Merge(Siblings, b.State, sa)
	sb := b.put(20, 2, sa.Context()) // names a's first event
	a = newReplica()
	// The worst case: the clock is back where it was.
	lost := a.put(10, 3, Past{})
	everyOrder(t, []State{sb, lost}, 2, 3)
	everyOrder(t, []State{sa, sb, lost}, 2, 3)
}

func TestFallbackThatForgetsTwice(t *testing.T) { // kv679_dataloss_fb, fb2
	owner, fallback := newReplica(), newReplica()
	first := fallback.put(10, 1, Past{})
	owner.State = Merge(Siblings, owner.State, first)
	fallback = newReplica() // handed off and dropped
	second := fallback.put(20, 2, Past{})
	owner.State = Merge(Siblings, owner.State, second)
	third := owner.put(30, 3, owner.Context())
	fallback = newReplica()
	fourth := fallback.put(40, 4, Past{})
	everyOrder(t, []State{first, second, third, fourth}, 3, 4)
}

func TestActorKeptOverALossWouldLoseData(t *testing.T) {
	// What the fresh actor is for: the same story with the old one goes wrong.
	a := newReplica()
	sa := a.put(20, 1, Past{})
	reader := newReplica()
	sb := reader.put(30, 2, sa.Context())
	a.State = State{}
	lost := a.put(15, 3, Past{}) // covered by a vector that has never seen it
	wantRequests(t, Merge(Siblings, sb, lost), 2)
}

func TestInterleavedWritersDontExplode(t *testing.T) {
	r := newReplica()
	var ctx [2]Past
	for n := 1; n <= 100; n++ {
		// Each writer has seen its own writes only, whole as they are.
		r.put(HLC(10*n), n, ctx[n%2])
		mine := indexOf(r.Versions, Dot{r.actor, HLC(10 * n)})
		ctx[n%2] = saw(r.Versions[mine])
		if len(r.Versions) > 2 {
			t.Fatalf("%d siblings after %d writes of two clients", len(r.Versions), n)
		}
	}
	wantRequests(t, r.State, 99, 100)
}

func TestOldContextReplacesOnlyWhatItSaw(t *testing.T) {
	a := newReplica()
	old := a.put(10, 1, Past{}).Context()
	a.put(20, 2, old)
	a.put(30, 3, old) // a second writer with the same context
	wantRequests(t, a.State, 2, 3)
	a.del(40, 4, old)
	wantRequests(t, a.State, 2, 3, 4)
}

func TestLastWriteWinsKeepsTheHighestDot(t *testing.T) {
	low, high := ver(9, 10, 1, Past{}), ver(1, 11, 2, Past{})
	tie := ver(2, 11, 3, Past{})
	permute([]State{state(low), state(high), state(tie)}, func(order []State) {
		wantRequests(t, mergeAll(LastWriteWins, order...), 3)
	})
}

func TestMintNeverLetsAVersionSeeItself(t *testing.T) {
	r := newReplica()
	seen := r.put(10, 1, Past{}).Context()
	// A retry with the context of a read that has shown the first try, at a coordinator that lacks it.
	other := newReplica()
	again := other.put(20, 1, seen)
	checkCanonical(t, again)
	everyOrder(t, []State{r.State, again}, 1)

	// A forged context that names the actor's future.
	forged := NewPast([]Dot{{other.actor, 1000}}, nil)
	s, v := Mint(Siblings, State{}, other.actor, 30, Write{Context: forged, RequestID: rid(2)})
	checkCanonical(t, s)
	if len(s.Versions) != 1 || !v.Past.Covers(Dot{other.actor, 29}) || forged.MaxHLC() != 1000 {
		t.Fatalf("%s", show(s))
	}
	if _, v = Mint(Siblings, State{}, 7, 1, Write{Context: NewPast([]Dot{{7, 5}}, nil)}); !v.Past.IsZero() {
		t.Fatal("nothing lies before the first reading")
	}
}

func TestMintKeepsTheClaims(t *testing.T) {
	s, v := Mint(Siblings, State{Floor: 50, PurgeLevel: 45}, 1, 40, Write{RequestID: rid(1), Tombstone: true, Value: []byte("x")})
	if s.Floor != 50 || s.PurgeLevel != 45 || len(s.Versions) != 1 || v.Value != nil {
		t.Fatalf("%s, %v", show(s), v)
	}
}

// Under last-write-wins a retry is recognised though its write was replaced blindly, and pasts stay small however often
// an item is overwritten.
func TestLastWriteWinsRemembersRecentRequests(t *testing.T) {
	var s State
	id := func(ms int64) RequestID {
		r, err := NewRequestID(ms, zeros{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for ms := range int64(100_000) {
		s, _ = Mint(LastWriteWins, s, 1, NewHLC(ms+1, 0), Write{RequestID: id(ms + 1)})
		if n := len(s.Versions[0].Past.Replaced()); n > maxRecent {
			t.Fatalf("%d ids after %d writes", n, ms+1)
		}
	}
	if _, known := s.Known(id(99_950)); !known {
		t.Error("a write that was replaced a moment ago is not known any more")
	}
	s, _ = Mint(LastWriteWins, s, 1, NewHLC(100_000+RetryWindow.Milliseconds()+1, 0), Write{RequestID: id(200_000)})
	if n := len(s.Versions[0].Past.Replaced()); n != 0 {
		t.Errorf("%d ids are remembered beyond the window", n)
	}
	if s.Versions[0].Past.Vector() != nil {
		t.Error("a vector under last-write-wins")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
