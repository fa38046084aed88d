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

func TestStateDeleteContext(t *testing.T) {
	own, over := NewPast([]Dot{{1, 10}}, []RequestID{rid(1)}), NewPast([]Dot{{1, 10}, {2, 20}}, []RequestID{rid(1), rid(2)})
	s := State{Versions: []Version{{Dot: Dot{3, 30}, RequestID: rid(3), Past: own}, {Dot: Dot{4, 40}, RequestID: rid(4), Past: over}}}
	for _, c := range []struct {
		name string
		id   RequestID
		want Past
	}{
		{"there", rid(3), own},
		{"replaced", rid(2), over},
		{"replaced by both", rid(1), own},
		{"unheard of", rid(9), s.Context()},
		{"no id", RequestID{}, s.Context()},
	} {
		if got := s.DeleteContext(c.id); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// A delete is done on two replicas, and a value is written there after it. Its client asks again, and the replica that
// has missed both mints the delete once more, with the context of a read from the others: the value stays everywhere.
func TestDeleteRepeatedByOneWhoMissedIt(t *testing.T) {
	old := ver(1, 10, 1, Past{})
	behind := state(old)
	done, _ := Mint(Siblings, behind, 2, 20, Write{Context: behind.DeleteContext(rid(2)), RequestID: rid(2), Tombstone: true})
	ahead, later := Mint(Siblings, done, 3, 30, Write{RequestID: rid(3), Value: []byte("later")})
	again, _ := Mint(Siblings, behind, 4, 40, Write{Context: ahead.DeleteContext(rid(2)), RequestID: rid(2), Tombstone: true})
	for _, merged := range []State{Merge(Siblings, ahead, again), Merge(Siblings, again, ahead)} {
		if len(merged.Versions) != 2 || indexOf(merged.Versions, later.Dot) < 0 {
			t.Errorf("the value written after the delete is gone: %v", merged)
		}
		if indexOf(merged.Versions, old.Dot) >= 0 {
			t.Errorf("what was deleted is back: %v", merged)
		}
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
