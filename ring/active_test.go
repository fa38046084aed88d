package ring

import (
	"slices"
	"testing"
)

// Every method of an epoch's active layouts, against the layouts themselves, while owners move and while partitions are cut
// as well.
func TestActive(t *testing.T) {
	var seven []Member
	for i := range 7 {
		seven = append(seven, Member{ID: NodeID{byte(i + 1)}, Weight: 1})
	}
	from := mustPlan(t, PlanInput{Members: seven[:5], Partitions: 16, Replicas: 3, Version: 1})
	to := mustPlan(t, PlanInput{Members: seven, Partitions: 16, Replicas: 3, Version: 2, Previous: from})
	cut, err := Split(to, 32, 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, next := range map[string]*Layout{"stable": nil, "moves": to, "moves and cuts": cut} {
		t.Run(name, func(t *testing.T) {
			e := Genesis(from)
			if next != nil {
				if e, err = e.Begin(next); err != nil {
					t.Fatal(err)
				}
			}
			for p := range e.Partitions() {
				checkActive(t, e, p)
			}
		})
	}
}

func checkActive(t *testing.T, e *Epoch, p int) {
	t.Helper()
	first, _ := e.PartitionRange(p)
	layouts := []*Layout{e.Base}
	if e.Joint() {
		layouts = append(layouts, e.Next)
	}
	const n = 3
	var union, everyone []NodeID
	for i := range 7 {
		everyone = append(everyone, NodeID{byte(i + 1)})
	}
	for _, id := range everyone {
		owner, guardian := false, false
		for _, l := range layouts {
			owner = owner || l.IsOwner(l.PartitionOf(first), n, id)
			guardian = guardian || l.IsGuardian(l.PartitionOf(first), n, id)
		}
		if owner {
			union = append(union, id)
		}
		if e.IsOwner(p, n, id) != owner || e.IsGuardian(p, n, id) != guardian {
			t.Fatalf("partition %d, node %v: owner %v, guardian %v", p, id, !owner, !guardian)
		}
		for _, other := range everyone {
			want := false
			for _, l := range layouts {
				at := l.PartitionOf(first)
				want = want || l.IsOwner(at, n, id) && l.IsOwner(at, n, other)
			}
			if e.Shares(p, n, id, other) != want {
				t.Fatalf("partition %d: %v and %v share: %v", p, id, other, !want)
			}
		}
	}
	active := e.ActiveOwners(p, n)
	grade := func(id NodeID) int {
		switch in := slices.Contains(e.Owners(p, n), id); {
		case in && slices.Contains(e.NextOwners(p, n), id):
			return 0
		case in:
			return 1
		}
		return 2
	}
	if !slices.IsSortedFunc(active, func(a, b NodeID) int { return grade(a) - grade(b) }) {
		t.Fatalf("partition %d: active owners %v", p, active)
	}
	preference := e.Preference(p, n)
	if !slices.Equal(preference[:len(active)], active) {
		t.Fatalf("partition %d: preference %v, active owners %v", p, preference, active)
	}
	sorted := func(in []NodeID) []NodeID {
		return slices.Compact(slices.SortedFunc(slices.Values(in), NodeID.Compare))
	}
	if !slices.Equal(sorted(active), sorted(union)) || len(sorted(preference)) != len(preference) {
		t.Fatalf("partition %d: active owners %v, want those of %v; preference %v", p, active, union, preference)
	}
	members := e.Base.Members()
	if e.Joint() {
		members = e.Next.Members()
	}
	if len(preference) != len(members) {
		t.Fatalf("partition %d: %d nodes in the preference list of %d members", p, len(preference), len(members))
	}
}
