package ring

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// joint53 moves partition 1 of two from nodes 1, 2, 3 to 3, 4, 5. Partition 0 stays.
func joint53(t *testing.T) *Epoch {
	var members []Member
	for i := range 5 {
		members = append(members, Member{ID: worldID(i), Weight: 1})
	}
	e, err := Genesis(newLayout(0, members, 2, 3, []uint16{0, 1, 2, 0, 1, 2})).Begin(newLayout(1, members, 2, 3, []uint16{2, 0, 1, 2, 3, 4}))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// knownAs makes facts: who is at epoch 1, and who is complete for it.
func knownAs(at, complete []int) Facts {
	return Facts{
		Epoch: func(id NodeID) uint64 {
			if slices.Contains(at, worldIndex(id)) {
				return 1
			}
			return 0
		},
		Complete: func(id NodeID, p, n int, origin uint64) bool {
			return p == 1 && origin == 1 && slices.Contains(complete, worldIndex(id))
		},
	}
}

func nodeIDs(of ...int) (ids []NodeID) {
	for _, i := range of {
		ids = append(ids, worldID(i))
	}
	return ids
}

func TestMayCommit(t *testing.T) {
	e := joint53(t)
	fenced := func(have, need int, missing ...int) Block {
		return Block{1, 3, OldFenced, have, need, nodeIDs(missing...)}
	}
	complete := func(have, need int, missing ...int) Block {
		return Block{1, 3, NewComplete, have, need, nodeIDs(missing...)}
	}
	for _, c := range []struct {
		r, w         int
		at, complete []int
		want         []Block
	}{
		{2, 2, nil, nil, []Block{fenced(0, 2, 0, 1, 2), complete(0, 2, 2, 3, 4)}},
		{2, 2, []int{0, 3, 4}, []int{4}, []Block{fenced(1, 2, 1, 2), complete(1, 2, 2, 3)}},
		{2, 2, []int{0, 2}, []int{4}, []Block{complete(1, 2, 2, 3)}},
		{2, 2, []int{0}, []int{2, 4}, []Block{fenced(1, 2, 1, 2)}},
		{2, 2, []int{0, 2}, []int{2, 4}, nil},
		{2, 2, []int{0, 2}, []int{0, 1}, []Block{complete(0, 2, 2, 3, 4)}},
		{3, 1, []int{0, 2}, []int{3}, []Block{fenced(2, 3, 1)}},
		{3, 1, []int{0, 1, 2}, []int{3}, nil},
		{1, 3, []int{0, 1, 2}, []int{2, 3}, []Block{complete(2, 3, 4)}},
		{1, 3, []int{0, 2}, []int{2, 3, 4}, []Block{fenced(2, 3, 1)}},
		{3, 3, []int{1}, []int{2, 3, 4}, nil},
	} {
		q := Quorums{3, c.r, c.w}
		if got := e.MayCommit(q, knownAs(c.at, c.complete)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v, at %v, complete %v:\ngot  %v\nwant %v", q, c.at, c.complete, got, c.want)
		}
	}
	s := fenced(1, 2, 1).String()
	if want := "partition 1 at N=3: 1 of 2 old owners have learnt of the move, waiting for any 1 of [" + worldID(1).String() + "]"; s != want {
		t.Errorf("got %q, want %q", s, want)
	}
	if got := complete(0, 1).String(); !slices.Contains([]string{"partition 1 at N=3: 0 of 1 new owners are complete, waiting for any 1 of []"}, got) || Rule(9).String() != "unknown" {
		t.Errorf("got %q", got)
	}
}

// TestMayCommitWhatDoesNotMove: a move of nothing, a split for one, has nothing to wait for.
func TestMayCommitWhatDoesNotMove(t *testing.T) {
	l := mustPlan(t, PlanInput{Members: testMembers(rand.New(rand.NewPCG(95, 1)), 5, 1), Partitions: 8, Replicas: 5})
	s, err := Split(l, 16, 1)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Genesis(l).Begin(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.MayCommit(Quorums{3, 2, 2}, knownAs(nil, nil)); got != nil {
		t.Errorf("got %v", got)
	}
}

// TestFactsOnlyHelp: to know more never takes back a commit or a drop.
func TestFactsOnlyHelp(t *testing.T) {
	r := rand.New(rand.NewPCG(96, 1))
	joint := joint53(t)
	stable, err := joint.Commit()
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		q := Quorums{3, 1 + r.IntN(3), 1 + r.IntN(3)}
		at, complete := r.Perm(5)[:r.IntN(6)], r.Perm(5)[:r.IntN(6)]
		less := knownAs(at[:r.IntN(len(at)+1)], complete[:r.IntN(len(complete)+1)])
		if len(joint.MayCommit(q, less)) == 0 && len(joint.MayCommit(q, knownAs(at, complete))) > 0 {
			t.Fatalf("%+v: at %v, complete %v are less than a part of them", q, at, complete)
		}
		for i := range 5 {
			if stable.MayDrop(worldID(i), 1, 3, less) && !stable.MayDrop(worldID(i), 1, 3, knownAs(at, complete)) {
				t.Fatalf("node %d may drop no longer", i)
			}
		}
	}
}

func TestMayDrop(t *testing.T) {
	joint := joint53(t)
	stable, err := joint.Commit()
	if err != nil {
		t.Fatal(err)
	}
	aborted, err := joint.Abort()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		e        *Epoch
		p        int
		complete []int
		want     []int
	}{
		{joint, 1, []int{2, 3, 4}, nil},
		{stable, 1, []int{2, 3}, nil},
		{stable, 1, []int{2, 3, 4}, []int{0, 1}},
		{stable, 0, nil, []int{3, 4}},
		{aborted, 1, nil, []int{3, 4}},
	} {
		var got []int
		for i := range 5 {
			if c.e.MayDrop(worldID(i), c.p, 3, knownAs(nil, c.complete)) {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("epoch %d, partition %d, complete %v: %v may drop, want %v", c.e.Number, c.p, c.complete, got, c.want)
		}
	}
	// A copy that only a larger N asks for is dropped with that N.
	if joint.MayDrop(worldID(2), 1, 3, knownAs(nil, nil)) || !joint.MayDrop(worldID(4), 1, 2, knownAs(nil, nil)) {
		t.Error("N does not tell owners apart")
	}
}

func TestPull(t *testing.T) {
	joint := joint53(t)
	stable, err := joint.Commit()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		e       *Epoch
		p       int
		pullers []int
		from    []NodeID
	}{
		{joint, 0, nil, nil},
		{joint, 1, []int{2, 3, 4}, nodeIDs(0, 1, 2)},
		{stable, 0, nil, nil},
		{stable, 1, []int{2, 3, 4}, nodeIDs(2, 3, 4)},
	} {
		for i := range 5 {
			for q, need := range map[Quorums]int{
				{3, 1, 1}: 3, {3, 2, 1}: 3, {3, 3, 1}: 3, {3, 1, 2}: 2, {3, 2, 2}: 2, {3, 3, 2}: 3, {3, 1, 3}: 1, {3, 2, 3}: 2, {3, 3, 3}: 3,
			} {
				got, ok := c.e.Pull(worldID(i), c.p, q)
				if ok != slices.Contains(c.pullers, i) || ok && !reflect.DeepEqual(got, Pull{1, c.from, need}) {
					t.Errorf("epoch %d, partition %d, %+v: node %d pulls %+v, %v", c.e.Number, c.p, q, i, got, ok)
				}
			}
		}
	}
}
