package ring

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// changeRing is a ring of nodes 1 to n in zones a, b and c, of equal weights.
func changeRing(t *testing.T, n, partitions int) *Layout {
	t.Helper()
	in := PlanInput{Partitions: partitions, Replicas: min(MaxReplicas, n), Version: 1}
	for i := range n {
		in.Members = append(in.Members, Member{ID: NodeID{byte(i + 1)}, Zone: string(rune('a' + i%3)), Weight: 1})
	}
	l, err := Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPlanChangesMembers(t *testing.T) {
	l := changeRing(t, 6, 64)
	next, err := PlanChanges(l, []Change{
		{Kind: AddNode, Node: NodeID{9}, Zone: "c", Weight: 3},
		{Kind: RemoveNode, Node: NodeID{1}},
		{Kind: ReplaceNode, Node: NodeID{2}, With: NodeID{8}, Zone: "d"},
		{Kind: SetWeight, Node: NodeID{3}, Weight: 2},
		{Kind: SetZone, Node: NodeID{4}, Zone: "e"},
	}, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := []Member{{NodeID{3}, "c", 2}, {NodeID{4}, "e", 1}, {NodeID{5}, "b", 1}, {NodeID{6}, "c", 1}, {NodeID{8}, "d", 1}, {NodeID{9}, "c", 3}}
	if !slices.Equal(next.Members(), want) || next.Version() != 7 || next.Partitions() != 64 || next.Replicas() != 6 {
		t.Errorf("version %d, %d partitions, lists of %d: %v", next.Version(), next.Partitions(), next.Replicas(), next.Members())
	}
	if _, err := Genesis(l).Begin(next); err != nil {
		t.Error(err)
	}
	twice, err := PlanChanges(l, []Change{{Kind: SplitPartitions, Partitions: 128}}, 7)
	if err != nil || twice.Partitions() != 128 || !slices.Equal(twice.Owners(5, 3), l.Owners(2, 3)) {
		t.Errorf("a split: %v", err)
	}
	single := changeRing(t, 1, 8)
	if more, err := PlanChanges(single, []Change{{Kind: AddNode, Node: NodeID{9}, Weight: 1}}, 2); err != nil || more.Replicas() != 2 {
		t.Errorf("owner lists stay short: %v", err)
	}
}

// The order of changes means nothing.
func TestPlanChangesInAnyOrder(t *testing.T) {
	l := changeRing(t, 6, 64)
	changes := []Change{
		{Kind: AddNode, Node: NodeID{9}, Zone: "c", Weight: 2}, {Kind: AddNode, Node: NodeID{10}, Zone: "a", Weight: 1},
		{Kind: RemoveNode, Node: NodeID{1}}, {Kind: ReplaceNode, Node: NodeID{2}, With: NodeID{8}, Zone: "b"},
	}
	want, err := PlanChanges(l, changes, 2)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		r.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
		if got, err := PlanChanges(l, changes, 2); err != nil || !got.Equal(want) {
			t.Fatalf("%v: another layout, %v", changes, err)
		}
	}
}

// A node that replaces another in its zone gets its places, and nothing else moves.
func TestReplaceMovesNothingElse(t *testing.T) {
	for _, size := range []int{1, 3, 4, 5, 8, 13, 30} {
		l := changeRing(t, size, 256)
		for old := range size {
			gone, _ := l.Member(NodeID{byte(old + 1)})
			by := NodeID{200}
			if old%2 == 0 { // it may sort before all, too
				by = NodeID{0, 1}
			}
			next, err := PlanChanges(l, []Change{{Kind: ReplaceNode, Node: gone.ID, With: by, Zone: gone.Zone}}, 2)
			if err != nil {
				t.Fatal(err)
			}
			for p := range l.Partitions() {
				want := slices.Clone(l.Owners(p, MaxReplicas))
				if i := slices.Index(want, gone.ID); i >= 0 {
					want[i] = by
				}
				if got := next.Owners(p, MaxReplicas); !slices.Equal(got, want) {
					t.Fatalf("%d nodes, node %d replaced: partition %d has %v, want %v", size, old+1, p, got, want)
				}
			}
		}
	}
}

func TestPlanChangesRefuses(t *testing.T) {
	l := changeRing(t, 3, 8)
	one, two, new1 := NodeID{1}, NodeID{2}, NodeID{9}
	for name, test := range map[string]struct {
		changes []Change
		index   int
	}{
		"nothing":                    {nil, -1},
		"no node":                    {[]Change{{Kind: RemoveNode}}, 0},
		"a member is added":          {[]Change{{Kind: AddNode, Node: one, Weight: 1}}, 0},
		"a stranger is removed":      {[]Change{{Kind: RemoveNode, Node: new1}}, 0},
		"a stranger is weighted":     {[]Change{{Kind: SetWeight, Node: new1, Weight: 2}}, 0},
		"a stranger is replaced":     {[]Change{{Kind: ReplaceNode, Node: new1, With: NodeID{8}}}, 0},
		"replaced by a member":       {[]Change{{Kind: ReplaceNode, Node: one, With: two}}, 0},
		"replaced by nobody":         {[]Change{{Kind: ReplaceNode, Node: one}}, 0},
		"replaced by itself":         {[]Change{{Kind: ReplaceNode, Node: one, With: one}}, 0},
		"two changes of one node":    {[]Change{{Kind: SetWeight, Node: one, Weight: 2}, {Kind: RemoveNode, Node: one}}, 1},
		"added and to replace":       {[]Change{{Kind: AddNode, Node: new1, Weight: 1}, {Kind: ReplaceNode, Node: one, With: new1}}, 1},
		"a split with something":     {[]Change{{Kind: SplitPartitions, Partitions: 16}, {Kind: RemoveNode, Node: one}}, 0},
		"an unknown kind":            {[]Change{{Kind: 77, Node: one}}, 0},
		"all are removed":            {[]Change{{Kind: RemoveNode, Node: one}, {Kind: RemoveNode, Node: two}, {Kind: RemoveNode, Node: NodeID{3}}}, -1},
		"the weight that it has":     {[]Change{{Kind: SetWeight, Node: one, Weight: 1}}, -1},
		"the zone that it is in":     {[]Change{{Kind: SetZone, Node: one, Zone: "a"}}, -1},
		"two replaced by one":        {[]Change{{Kind: ReplaceNode, Node: one, With: new1}, {Kind: ReplaceNode, Node: two, With: new1}}, 1},
		"what replaces is replaced":  {[]Change{{Kind: ReplaceNode, Node: one, With: new1}, {Kind: ReplaceNode, Node: new1, With: NodeID{8}}}, 1},
		"what is replaced is wanted": {[]Change{{Kind: ReplaceNode, Node: one, With: new1}, {Kind: SetZone, Node: one, Zone: "x"}}, 1},
	} {
		_, err := PlanChanges(l, test.changes, 2)
		change, ok := errors.AsType[*ChangeError](err)
		if !ok || change.Index != test.index || !errors.Is(err, ErrChange) || change.Reason == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]Change{
		"no weight": {Kind: AddNode, Node: new1}, "weight 0": {Kind: SetWeight, Node: one}, "fewer partitions": {Kind: SplitPartitions, Partitions: 4},
	} {
		if _, err := PlanChanges(l, []Change{c}, 2); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
