package causal

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// naiveMerge is Merge by its definition: the union as a map, claims, then every pair.
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
			} else if v.Dot.HLC <= other.PurgeLevel && own.Floor < other.PurgeLevel {
				continue
			}
			union[v.Dot] = v
		}
	}
	out := State{Floor: max(a.Floor, b.Floor), PurgeLevel: max(a.PurgeLevel, b.PurgeLevel)}
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
		s.PurgeLevel = HLC(rng.IntN(int(s.Floor) + 1))
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

// history is some writes of one item, write i with the HLC i+1 and an actor of its own.
type history struct {
	versions []Version
	seen     []uint // by each write, closed
}

func newHistory(rng *rand.Rand) history {
	var h history
	for i := range 8 {
		var seen uint
		for j := range i {
			if rng.IntN(3) == 0 {
				seen |= h.seen[j] | 1<<j
			}
		}
		var past []Dot
		for j := range i {
			if seen>>j&1 == 1 {
				past = append(past, h.versions[j].Dot)
			}
		}
		v := ver(uint64(i+1), uint64(i+1), i+1, NewPast(past, nil))
		v.Tombstone = seen != 0 && rng.IntN(2) == 0
		h.versions, h.seen = append(h.versions, v), append(h.seen, seen)
	}
	return h
}

// state is what a replica has that knows of some writes, of all up to the floor, and has purged up to a level.
func (h history) state(knows uint, floor, level HLC) State {
	for i := range h.versions {
		if knows>>i&1 == 1 || h.versions[i].Dot.HLC <= floor {
			knows |= 1<<i | h.seen[i]
		}
	}
	s := State{Floor: floor, PurgeLevel: level}
	for i, v := range h.versions {
		replaced := false
		for j := range h.versions {
			replaced = replaced || knows>>j&1 == 1 && h.seen[j]>>i&1 == 1
		}
		if knows>>i&1 == 1 && !replaced {
			s.Versions = append(s.Versions, v)
		}
	}
	s, _ = Purge(s, level, level)
	return s
}

// TestTrueClaimsAreAJoin: merging replicas whose claims are true gives what a replica has that knows what each of them
// does, in whatever order; but for what that replica would have purged.
func TestTrueClaimsAreAJoin(t *testing.T) {
	rng := newRand(2)
	for range 6_000 {
		h := newHistory(rng)
		var all State
		var knows uint
		for range 2 + rng.IntN(3) {
			k, floor := uint(rng.IntN(1<<8)), HLC(rng.IntN(9))
			s := h.state(k, floor, HLC(rng.IntN(int(floor)+1)))
			knows |= k
			if rng.IntN(2) == 0 {
				all = Merge(Siblings, all, s)
			} else {
				all = Merge(Siblings, s, all)
			}
		}
		got, _ := Purge(all, all.PurgeLevel, all.PurgeLevel)
		if want := h.state(knows, all.Floor, all.PurgeLevel); !sameState(got, want) {
			t.Fatalf("got  %s\nwant %s", show(got), show(want))
		}
	}
}

func TestPurgeLevelDropsWhatTheSideLacks(t *testing.T) {
	old, fresh := ver(1, 10, 1, Past{}), ver(2, 20, 2, Past{})
	both := state(old, fresh)
	purged := State{Versions: []Version{fresh}, Floor: 10, PurgeLevel: 10}
	for _, p := range []Policy{Siblings, LastWriteWins} {
		wantRequests(t, Merge(p, both, purged), 2)
		wantRequests(t, Merge(p, state(old), State{Floor: 10, PurgeLevel: 10}))
		wantRequests(t, Merge(p, state(old), State{Floor: 10, PurgeLevel: 9}), 1)
		wantRequests(t, Merge(p, state(old), State{Versions: []Version{old}, Floor: 10, PurgeLevel: 10}), 1)
	}
	// What is dropped replaces nothing: the replacer of fresh is itself long replaced.
	gone := ver(3, 9, 3, NewPast([]Dot{fresh.Dot}, nil))
	wantRequests(t, Merge(Siblings, purged, state(gone)), 2)
}

// TestLostCopy: a replica that has lost a version denies it, and is not believed by one that knows of all that was purged.
func TestLostCopy(t *testing.T) {
	v := ver(1, 10, 1, Past{})
	lost := State{Floor: 50, PurgeLevel: 30}
	for _, p := range []Policy{Siblings, LastWriteWins} {
		for floor, want := range map[HLC][]int{29: nil, 30: {1}, 50: {1}, 60: {1}} {
			has := State{Versions: []Version{v}, Floor: floor, PurgeLevel: min(floor, 30)}
			wantRequests(t, Merge(p, lost, has), want...)
			wantRequests(t, Merge(p, has, lost), want...)
		}
	}
}

func TestPurge(t *testing.T) {
	offset := 500 * time.Millisecond
	at := func(ms int64) HLC { return NewHLC(ms, 3) }
	level := at(1_000_000)
	before := PurgeBefore(level, offset)
	if want := at(1_000_000 - 60_000 - 500 - 1); before != want {
		t.Fatalf("before %v, want %v", before, want)
	}
	if PurgeBefore(at(60_500), offset) != 0 || PurgeBefore(0, offset) != 0 {
		t.Fatal("a level within the margin purges something")
	}
	past := NewPast([]Dot{{9, 1}}, nil)
	version := func(actor uint64, h HLC) Version { return ver(actor, uint64(h), int(actor), past) }
	tomb, expired, expiring, young := version(1, before), version(2, before), version(3, before), version(4, before+1)
	tomb.Tombstone, young.Tombstone = true, true
	expired.ExpiresAt, expiring.ExpiresAt = level, level+1
	s := state(tomb, expired, expiring, young)
	s.Floor, s.PurgeLevel = level, level
	got, changed := Purge(s, level, before)
	wantRequests(t, got, 3, 4)
	if !changed || got.Floor != level || !got.Versions[0].Past.IsZero() || got.Versions[1].Past.IsZero() {
		t.Fatal(show(got))
	}
	if again, changed := Purge(got, level, before); changed || &again.Versions[0] != &got.Versions[0] {
		t.Fatal("purged twice")
	}
	if got.PurgeableAt() != young.Dot.HLC || (State{}).PurgeableAt() != 0 || state(ver(1, 5, 1, Past{})).PurgeableAt() != 0 {
		t.Fatal(got.PurgeableAt())
	}
	if s, _ := Purge(state(tomb), level, before); s.Versions != nil {
		t.Fatal(show(s))
	}
	if s.Versions[0].Past.IsZero() {
		t.Fatal("the input was modified")
	}
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
