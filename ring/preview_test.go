package ring

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestPreviewAgainstOracle counts everything again, one node and one partition at a time.
func TestPreviewAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(91, 1))
	for range 25 {
		op := newOperator(r)
		for _, e := range op.run(8) {
			if e.Joint() {
				continue
			}
			next := op.next(e)
			if next.Version() <= e.Base.Version() {
				continue
			}
			v, err := e.Preview(next, []int{3, 1, 7, 3})
			if err != nil {
				t.Fatal(err)
			}
			if len(v.ByN) != 3 || v.ByN[0].N != 1 || v.ByN[1].N != 3 || v.ByN[2].N != 7 || v.Partitions != next.Partitions() {
				t.Fatalf("%d partitions, by N %v", v.Partitions, v.ByN)
			}
			for _, by := range v.ByN {
				checkPreview(t, e.Base, next, by)
			}
			again, err := e.Preview(next, []int{7, 3, 1})
			if err != nil || !reflect.DeepEqual(v, again) {
				t.Fatal("asked again, it says something else")
			}
		}
	}
}

func checkPreview(t *testing.T, base, next *Layout, by PreviewN) {
	t.Helper()
	want := make(map[NodeID]NodeChange)
	for _, l := range []*Layout{base, next} {
		for _, m := range l.Members() {
			want[m.ID] = NodeChange{ID: m.ID}
		}
	}
	var moves []PartitionMove
	for p := range next.Partitions() {
		first, _ := next.PartitionRange(p)
		old, fresh := base.Owners(base.PartitionOf(first), by.N), next.Owners(p, by.N)
		same := len(old) == len(fresh)
		for _, id := range fresh {
			same = same && slices.Contains(old, id)
		}
		if !same {
			moves = append(moves, PartitionMove{p, old, fresh})
		}
		for id, c := range want {
			if slices.Contains(old, id) {
				c.Before++
			}
			if slices.Contains(fresh, id) {
				c.After++
				if !same {
					c.Pull++
				}
				if !slices.Contains(old, id) {
					c.New++
				}
			}
			want[id] = c
		}
	}
	if !reflect.DeepEqual(by.Moves, moves) {
		t.Fatalf("N=%d: moves %v, want %v", by.N, by.Moves, moves)
	}
	before, after := 0.0, 0.0
	for i, got := range by.Nodes {
		w := want[got.ID]
		if got.Before != w.Before || got.After != w.After || got.Pull != w.Pull || got.New != w.New {
			t.Fatalf("N=%d: %+v, want %+v", by.N, got, w)
		}
		if i > 0 && by.Nodes[i-1].ID.Compare(got.ID) >= 0 {
			t.Fatalf("N=%d: nodes out of order", by.N)
		}
		before += got.ShareBefore
		after += got.ShareAfter
	}
	if len(by.Nodes) != len(want) || math.Abs(before-1) > 1e-9 || math.Abs(after-1) > 1e-9 {
		t.Fatalf("N=%d: %d of %d nodes, shares add up to %v and %v", by.N, len(by.Nodes), len(want), before, after)
	}
	checkSpread(t, next, by)
}

func checkSpread(t *testing.T, l *Layout, by PreviewN) {
	t.Helper()
	zones, sizes := zonesOf(l), zoneSizes(l)
	misses := func(p, prefix int) (covered, want int) {
		seen := make(map[string]bool)
		for _, id := range l.Owners(p, prefix) {
			seen[zones[id]] = true
		}
		return len(seen), min(prefix, len(sizes))
	}
	worst := 0
	for p := range l.Partitions() {
		for prefix := 1; prefix <= min(by.N, l.Replicas()); prefix++ {
			covered, want := misses(p, prefix)
			worst = max(worst, want-covered)
		}
	}
	covered, want := misses(by.Zones.Partition, by.Zones.Prefix)
	if by.Zones.Zones != covered || by.Zones.Want != want || want-covered != worst {
		t.Fatalf("N=%d: %+v, but that prefix covers %d of %d, and the worst misses %d", by.N, by.Zones, covered, want, worst)
	}
}

func TestPreviewWarns(t *testing.T) {
	member := func(id byte, zone string, weight uint32) Member {
		return Member{ID: NodeID{id}, Zone: zone, Weight: weight}
	}
	base := newLayout(1, []Member{member(1, "a", 1), member(2, "b", 1)}, 2, 1, []uint16{0, 1})
	for name, c := range map[string]struct {
		next *Layout
		n    int
		want map[WarningKind]string
	}{
		"nothing to say": {newLayout(2, base.members, 2, 1, []uint16{0, 1}), 1, nil},
		"few members": {newLayout(2, base.members, 2, 2, []uint16{0, 1, 1, 0}), 3, map[WarningKind]string{
			FewMembers: "lists have 2 nodes", FewZones: "in 2 zones"}},
		"few zones": {newLayout(2, []Member{member(1, "a", 1), member(2, "a", 1)}, 2, 2, []uint16{0, 1, 1, 0}), 2, map[WarningKind]string{
			FewZones: "in 1 zones"}},
		"crowded": {newLayout(2, []Member{member(1, "a", 1), member(2, "b", 1), member(3, "b", 1)}, 2, 2, []uint16{0, 1, 1, 2}), 2, map[WarningKind]string{
			Crowded: "first 2 owners of partition 1 are in 1 zones, where 2"}},
		"unmet weight": {newLayout(2, []Member{member(1, "a", 1), member(2, "b", 9)}, 2, 2, []uint16{0, 1, 1, 0}), 2, map[WarningKind]string{
			UnmetWeight: "gets 2 partitions of the 4"}},
		"all owners change": {newLayout(2, base.members, 2, 1, []uint16{0, 0}), 1, map[WarningKind]string{
			AllOwnersChange: "of 1 partitions change, of partition 1 first", UnmetWeight: "gets 0 partitions of the 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := Genesis(base).Preview(c.next, []int{c.n})
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Warnings) != len(c.want) {
				t.Errorf("got %v", v.Warnings)
			}
			for i, w := range v.Warnings {
				if w.N != c.n || c.want[w.Kind] == "" || !strings.Contains(w.Text, c.want[w.Kind]) || w.Node.IsZero() != (w.Kind != UnmetWeight) {
					t.Errorf("%v: %+v", w.Kind, w)
				}
				if i > 0 && v.Warnings[i-1].Kind > w.Kind {
					t.Error("out of order")
				}
			}
		})
	}
}

func TestPreviewRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(92, 1))
	l := mustPlan(t, PlanInput{Members: testMembers(r, 3, 1), Partitions: 4, Replicas: 3})
	if v, err := Genesis(l).Preview(l, []int{3}); v != nil || !errors.Is(err, ErrSuccession) {
		t.Errorf("of the layout in force: %v, %v", v, err)
	}
}

// TestPreviewOfASplit: many more partitions, and not one of them moves.
func TestPreviewOfASplit(t *testing.T) {
	r := rand.New(rand.NewPCG(93, 1))
	l := mustPlan(t, PlanInput{Members: testMembers(r, 9, 3), Partitions: 64, Replicas: 7})
	s, err := Split(l, 256, 1)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Genesis(l).Preview(s, []int{0, 2, 3, 9})
	if err != nil || len(v.ByN) != 4 || v.ByN[0].N != 1 || v.ByN[3].N != MaxReplicas {
		t.Fatalf("by N %v, %v", v.ByN, err)
	}
	for _, by := range v.ByN {
		for _, c := range by.Nodes {
			if len(by.Moves) > 0 || c.Pull > 0 || c.New > 0 || c.Before != c.After || c.ShareBefore != c.ShareAfter {
				t.Errorf("N=%d: %+v of %d moves", by.N, c, len(by.Moves))
			}
		}
	}
}

func TestWarningKindString(t *testing.T) {
	seen := make(map[string]bool)
	for k := FewMembers; k <= AllOwnersChange; k++ {
		seen[k.String()] = true
	}
	if len(seen) != 5 || seen["unknown"] || (AllOwnersChange+1).String() != "unknown" {
		t.Errorf("got %v", seen)
	}
}
