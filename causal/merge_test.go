package causal

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// naiveMerge is Merge by its definition: the union as a map, floors, then every pair.
func naiveMerge(p Policy, a, b State) State {
	union := map[Dot]Version{}
	for _, side := range [][2]State{{a, b}, {b, a}} {
		own, other := side[0], side[1]
		for _, v := range own.Versions {
			i := slices.IndexFunc(other.Versions, func(o Version) bool { return o.Dot == v.Dot })
			if i >= 0 {
				o := other.Versions[i].Past
				v.Past = NewPast(append(slices.Clone(v.Past.Vector()), o.Vector()...),
					append(slices.Clone(v.Past.Replaced()), o.Replaced()...))
			} else if v.Dot.HLC <= other.Floor {
				continue
			}
			union[v.Dot] = v
		}
	}
	out := State{Floor: max(a.Floor, b.Floor)}
	for _, v := range union {
		if !slices.ContainsFunc(values(union), func(o Version) bool { return naiveReplaces(p, o, v) }) {
			out.Versions = append(out.Versions, v)
		}
	}
	slices.SortFunc(out.Versions, func(v, o Version) int { return v.Dot.Compare(o.Dot) })
	return out
}

func values(m map[Dot]Version) (out []Version) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func naiveReplaces(p Policy, v, o Version) bool {
	if p == LastWriteWins || v.RequestID == o.RequestID && !v.RequestID.IsZero() {
		return v.Dot.Compare(o.Dot) > 0
	}
	if naiveSaw(v, o) && naiveSaw(o, v) {
		return v.Dot.Compare(o.Dot) > 0
	}
	return naiveSaw(v, o)
}

func naiveSaw(v, o Version) bool {
	for _, d := range v.Past.Vector() {
		if d.Actor == o.Dot.Actor && d.HLC >= o.Dot.HLC {
			return true
		}
	}
	return slices.Contains(v.Past.Replaced(), o.RequestID)
}

// randomState is canonical and otherwise arbitrary: few actors, clocks and requests, so that everything
// collides. What the dot (actor, hlc) wrote is fixed, its past may differ between copies, as after
// purging. Vectors stay below the version's own HLC, as Mint sees to.
func randomState(rng *rand.Rand, p Policy) State {
	var s State
	for range rng.IntN(6) {
		actor, hlc := uint64(1+rng.IntN(4)), uint64(1+rng.IntN(8))
		n := int(actor*31+hlc*7) % 12
		var vector []Dot
		var ids []RequestID
		for range rng.IntN(3) {
			vector = append(vector, Dot{Actor(1 + rng.IntN(4)), HLC(rng.Uint64N(hlc))})
			if x := rng.IntN(12); x != n {
				ids = append(ids, rid(x))
			}
		}
		s = naiveMerge(p, s, state(ver(actor, hlc, n, NewPast(vector, ids))))
	}
	if rng.IntN(2) == 0 {
		s.Floor = HLC(rng.IntN(9))
	}
	return s
}

func TestMergeEqualsTheNaiveOne(t *testing.T) {
	for _, p := range []Policy{Siblings, LastWriteWins} {
		rng := newRand(1)
		for range 6_000 {
			a, b := randomState(rng, p), randomState(rng, p)
			got, want := Merge(p, a, b), naiveMerge(p, a, b)
			if !sameState(got, want) {
				t.Fatalf("%v:\na %s\nb %s\ngot  %s\nwant %s", p, show(a), show(b), show(got), show(want))
			}
			if back := Merge(p, b, a); !sameState(got, back) {
				t.Fatalf("%v: not commutative:\na %s\nb %s", p, show(a), show(b))
			}
			checkCanonical(t, got)
		}
	}
}

// TestFloorsAreAJoin: where nothing replaces anything, any states and floors will do. (Otherwise the
// floors must be true: one that denies a version which another side holds as a replacer is not.)
func TestFloorsAreAJoin(t *testing.T) {
	rng := newRand(2)
	flat := func() State {
		s := randomState(rng, Siblings)
		for i := range s.Versions {
			s.Versions[i].Past, s.Versions[i].RequestID = Past{}, RequestID{}
		}
		return s
	}
	for range 6_000 {
		checkJoin(t, Siblings, flat(), flat(), flat())
	}
}

func TestFloorDropsWhatTheSideLacks(t *testing.T) {
	old, fresh := ver(1, 10, 1, Past{}), ver(2, 20, 2, Past{})
	both := state(old, fresh)
	purged := State{Versions: []Version{fresh}, Floor: 10}
	for _, p := range []Policy{Siblings, LastWriteWins} {
		wantRequests(t, Merge(p, both, purged), 2)
		wantRequests(t, Merge(p, state(old), State{Floor: 10}))
		wantRequests(t, Merge(p, state(old), State{Floor: 9}), 1)
		wantRequests(t, Merge(p, state(old), State{Versions: []Version{old}, Floor: 10}), 1)
	}
	// What a floor drops replaces nothing: the replacer of fresh is itself long replaced.
	gone := ver(3, 9, 3, NewPast([]Dot{fresh.Dot}, nil))
	wantRequests(t, Merge(Siblings, purged, state(gone)), 2)
}

func TestMergeJoinsThePastsOfOneDot(t *testing.T) {
	a := ver(1, 10, 1, NewPast([]Dot{{2, 5}}, []RequestID{rid(2)}))
	b := ver(1, 10, 1, NewPast([]Dot{{2, 4}, {3, 3}}, []RequestID{rid(3)}))
	want := NewPast([]Dot{{2, 5}, {3, 3}}, []RequestID{rid(2), rid(3)})
	for _, p := range []Policy{Siblings, LastWriteWins} {
		got := Merge(p, state(a), state(b))
		if len(got.Versions) != 1 || !got.Versions[0].Past.Equal(want) {
			t.Fatalf("%v: %s", p, show(got))
		}
		// and neither input has changed
		if len(a.Past.Vector()) != 1 || len(b.Past.Vector()) != 2 {
			t.Fatal("an input was modified")
		}
	}
}

func TestMergeReturnsASideAsItIs(t *testing.T) {
	v1 := ver(1, 10, 1, Past{})
	v2 := ver(2, 20, 2, saw(v1))
	v3 := ver(3, 15, 3, Past{})
	older, newer := state(v1, v3), state(v3, v2)
	for name, in := range map[string][2]State{
		"equal":        {newer, state(slices.Clone(newer.Versions)...)},
		"subsumes":     {newer, older},
		"against none": {newer, {}},
		"a prefix":     {newer, state(v3)},
	} {
		for _, side := range [][2]State{{in[0], in[1]}, {in[1], in[0]}} {
			var got State
			allocs := testing.AllocsPerRun(10, func() { got = Merge(Siblings, side[0], side[1]) })
			if allocs != 0 || !sameState(got, newer) {
				t.Errorf("%s: %v allocations, %s", name, allocs, show(got))
			}
		}
	}
}

// TestReusedRequestID: a client that uses one id for two writes hurts nobody's data but its own.
func TestReusedRequestID(t *testing.T) {
	x1 := ver(1, 10, 1, Past{})
	y := ver(2, 20, 2, saw(x1))
	x2 := ver(3, 30, 1, NewPast([]Dot{y.Dot}, []RequestID{y.RequestID}))
	wantRequests(t, Merge(Siblings, state(y), state(x2)), 1)
	wantRequests(t, Merge(Siblings, state(x2), state(y)), 1)
	if y.Replaces(&x2) || !x2.Replaces(&y) {
		t.Fatal("the higher dot should stay")
	}
}

func TestZeroRequestIDsAreDifferentWrites(t *testing.T) {
	s := Merge(Siblings, state(ver(1, 10, 0, Past{})), state(ver(2, 20, 0, Past{})))
	if len(s.Versions) != 2 {
		t.Fatal(show(s))
	}
	if _, known := s.Known(RequestID{}); known {
		t.Fatal("the zero id is known")
	}
}
