package causal

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func randomPast(rng *rand.Rand, n int) Past {
	var vector []Dot
	var ids []RequestID
	for range rng.IntN(n) {
		vector = append(vector, Dot{Actor(rng.IntN(n)), HLC(rng.IntN(5))})
	}
	for range rng.IntN(n) {
		ids = append(ids, rid(rng.IntN(n)))
	}
	return NewPast(vector, ids)
}

func TestNewPastNormalizes(t *testing.T) {
	vector := []Dot{{3, 1}, {1, 5}, {3, 4}, {2, 0}, {1, 5}}
	ids := []RequestID{rid(2), {}, rid(1), rid(2)}
	before := slices.Clone(vector)
	p := NewPast(vector, ids)
	if !slices.Equal(p.Vector(), []Dot{{1, 5}, {3, 4}}) || !slices.Equal(p.Replaced(), []RequestID{rid(1), rid(2)}) {
		t.Fatal(p)
	}
	if !slices.Equal(vector, before) {
		t.Fatal("the argument was modified")
	}
	if p.MaxHLC() != 5 || p.IsZero() || !NewPast([]Dot{{1, 0}}, []RequestID{{}}).IsZero() {
		t.Fatal(p)
	}
	for d, want := range map[Dot]bool{{1, 5}: true, {1, 6}: false, {3, 1}: true, {2, 1}: false} {
		if p.Covers(d) != want {
			t.Errorf("covers %v: %t", d, !want)
		}
	}
	if !p.Names(rid(1)) || p.Names(rid(3)) || p.Names(RequestID{}) {
		t.Error("wrong names")
	}
}

func TestPastJoin(t *testing.T) {
	rng := newRand(3)
	for range 6_000 {
		a, b, c := randomPast(rng, 6), randomPast(rng, 6), randomPast(rng, 6)
		got := a.Join(b)
		want := NewPast(slices.Concat(a.Vector(), b.Vector()), slices.Concat(a.Replaced(), b.Replaced()))
		if !got.Equal(want) {
			t.Fatalf("%v and %v: %v", a, b, got)
		}
		if !got.Equal(b.Join(a)) || !a.Join(a).Equal(a) || !got.Join(c).Equal(a.Join(b.Join(c))) {
			t.Fatalf("not a join: %v, %v, %v", a, b, c)
		}
		if a.includes(b) != got.Equal(a) {
			t.Fatalf("%v includes %v: %t", a, b, a.includes(b))
		}
	}
}

func TestPastJoinSharesWhatIncludes(t *testing.T) {
	big := NewPast([]Dot{{1, 5}, {2, 5}}, []RequestID{rid(1), rid(2)})
	small := NewPast([]Dot{{2, 4}}, []RequestID{rid(2)})
	if n := testing.AllocsPerRun(10, func() { big.Join(small); small.Join(big); big.Join(big) }); n != 0 {
		t.Fatal(n, "allocations")
	}
}

func TestContextCoversAllVersions(t *testing.T) {
	v1 := ver(1, 10, 1, NewPast([]Dot{{5, 3}}, []RequestID{rid(9)}))
	v2 := ver(2, 20, 0, Past{})
	want := NewPast([]Dot{{1, 10}, {2, 20}, {5, 3}}, []RequestID{rid(1), rid(9)})
	s := state(v1, v2)
	if got := s.Context(); !got.Equal(want) {
		t.Fatal(got)
	}
	if !(State{}).Context().IsZero() || s.MaxHLC() != 20 || (State{Floor: 30}).MaxHLC() != 30 {
		t.Fatal("context of nothing, or highest HLC")
	}
}

func TestStateLiveAndKnown(t *testing.T) {
	dead := ver(1, 10, 1, NewPast(nil, []RequestID{rid(4)}))
	dead.Tombstone = true
	s := state(dead)
	if s.Live() || (State{}).Live() {
		t.Fatal("a tombstone is not live")
	}
	s = state(dead, ver(2, 20, 2, Past{}))
	if !s.Live() {
		t.Fatal("a sibling is live")
	}
	if v, known := s.Known(rid(2)); !known || v != &s.Versions[1] {
		t.Fatal(v, known)
	}
	if v, known := s.Known(rid(4)); !known || v != nil {
		t.Fatal(v, known)
	}
}

func TestDigest(t *testing.T) {
	v1, v2 := ver(1, 10, 1, Past{}), ver(2, 20, 2, saw(ver(3, 5, 3, Past{})))
	if (State{Floor: 7}).Digest() != (Digest{}) {
		t.Fatal("a state without versions has the zero digest")
	}
	whole := state(v1, v2).Digest()
	pruned := v2
	pruned.Past = Past{}
	if whole != (State{Versions: []Version{v1, pruned}, Floor: 3}).Digest() {
		t.Fatal("past or floor took part")
	}
	if whole == state(v1).Digest() || whole == state(v2).Digest() || whole == (Digest{}) {
		t.Fatal("different dots, equal digests")
	}
	// Digests travel between releases: this one must stay.
	if got := whole.String(); got != "4a9340636fa20d90604ada0c9f747ba4" {
		t.Fatal(got)
	}
}
