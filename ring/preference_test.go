package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// oraclePreference walks the ring once for every place of the list and takes the first node met
// whose zone is due.
func oraclePreference(l *Layout, p int) []NodeID {
	list := slices.Clone(l.Owners(p, l.Replicas()))
	zones, left := zonesOf(l), zoneSizes(l)
	held := make(map[string]int)
	for _, id := range list {
		held[zones[id]]++
		left[zones[id]]--
	}
	var walk []NodeID
	for i := range l.Partitions() {
		walk = append(walk, l.Owners((p+i)%l.Partitions(), l.Replicas())...)
	}
	for _, m := range l.Members() {
		walk = append(walk, m.ID)
	}
	for len(list) < len(l.Members()) {
		round := len(l.Members())
		for zone, n := range left {
			if n > 0 {
				round = min(round, held[zone])
			}
		}
		at := slices.IndexFunc(walk, func(id NodeID) bool {
			return held[zones[id]] == round && !slices.Contains(list, id)
		})
		list = append(list, walk[at])
		held[zones[walk[at]]]++
		left[zones[walk[at]]]--
	}
	return list
}

func TestPreferenceAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 1))
	for range 120 {
		l := mustPlan(t, randomInput(r))
		for range 4 {
			p := r.IntN(l.Partitions())
			got := l.Preference(p)
			if want := oraclePreference(l, p); !slices.Equal(got, want) {
				t.Fatalf("zones %v: got %v, want %v", zoneSizes(l), got, want)
			}
			checkRounds(t, l, got)
			if len(got) != len(l.Members()) {
				t.Fatalf("%d of %d members are on the list", len(got), len(l.Members()))
			}
			for n := 0; n <= MaxReplicas+1; n++ {
				k := min(n, l.Replicas())
				if !slices.Equal(l.Owners(p, n), got[:k]) {
					t.Fatalf("owners for N=%d are no prefix of the preference list", n)
				}
				if g := l.Guardians(p, n); !slices.Equal(g, got[:min(2*k, len(got))]) {
					t.Fatalf("guardians for N=%d are no prefix of the preference list: %v", n, g)
				}
			}
		}
	}
}

// TestPreferenceOfUnevenLayout: a layout that another planner made, without regard to zones, still
// has complete lists.
func TestPreferenceOfUnevenLayout(t *testing.T) {
	r := rand.New(rand.NewPCG(22, 1))
	for range 100 {
		l := randomLayout(r, 1+r.IntN(9), 8)
		for p := range l.Partitions() {
			if got, want := l.Preference(p), oraclePreference(l, p); !slices.Equal(got, want) {
				t.Fatalf("zones %v: got %v, want %v", zoneSizes(l), got, want)
			}
		}
	}
}

func TestPreflistForEveryMask(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 1))
	for nodes := 1; nodes <= 9; nodes++ {
		l := mustPlan(t, PlanInput{Members: testMembers(r, nodes, 3), Partitions: 4, Replicas: min(MaxReplicas, nodes)})
		for mask := range 1 << nodes {
			up := func(id NodeID) bool {
				i, _ := l.index(id)
				return mask>>i&1 != 0
			}
			for n := 0; n <= l.Replicas()+1; n++ {
				checkPreflist(t, l, mask%4, n, up)
			}
		}
	}
}

func checkPreflist(t *testing.T, l *Layout, p, n int, up func(NodeID) bool) {
	t.Helper()
	asked := make(map[NodeID]int)
	got := l.Preflist(p, n, func(id NodeID) bool { asked[id]++; return up(id) })
	owners, guardians := l.Owners(p, n), l.Guardians(p, n)
	var want []Target
	var down []NodeID
	for _, id := range owners {
		if up(id) {
			want = append(want, Target{Node: id})
		} else {
			down = append(down, id)
		}
	}
	reachable := 0
	for i, id := range guardians {
		if asked[id] > 1 {
			t.Fatalf("asked %d times about one node", asked[id])
		}
		if !up(id) {
			continue
		}
		reachable++
		if i >= len(owners) && len(down) > 0 {
			want = append(want, Target{Node: id, HintFor: down[0]})
			down = down[1:]
		}
	}
	if !slices.Equal(got, want) || len(got) != min(len(owners), reachable) {
		t.Fatalf("N=%d: got %v, want %v (%d guardians up)", n, got, want, reachable)
	}
	checkTargets(t, l, p, n, got, up)
}

// checkTargets checks what must hold of targets, whatever their order.
func checkTargets(t *testing.T, l *Layout, p, n int, got []Target, up func(NodeID) bool) {
	t.Helper()
	nodes, stoodFor := make(map[NodeID]bool), make(map[NodeID]bool)
	for _, target := range got {
		if nodes[target.Node] || !up(target.Node) || !l.IsGuardian(p, n, target.Node) {
			t.Fatalf("target %v is there twice, or down, or no guardian", target)
		}
		nodes[target.Node] = true
		if target.HintFor.IsZero() {
			if !l.IsOwner(p, n, target.Node) {
				t.Fatalf("%v stands for itself and is no owner", target.Node)
			}
			continue
		}
		if stoodFor[target.HintFor] || up(target.HintFor) || !l.IsOwner(p, n, target.HintFor) || l.IsOwner(p, n, target.Node) {
			t.Fatalf("target %v: want a fallback for one unreachable owner", target)
		}
		stoodFor[target.HintFor] = true
	}
}

func TestAppendPreflistAllocatesNothing(t *testing.T) {
	l := mustPlan(t, PlanInput{Members: testMembers(rand.New(rand.NewPCG(24, 1)), 12, 3), Partitions: 16, Replicas: 7})
	down := l.Owners(3, 1)[0]
	up := func(id NodeID) bool { return id != down }
	dst := make([]Target, 0, MaxReplicas)
	l.Guardians(3, 3)
	if n := testing.AllocsPerRun(100, func() { dst = l.AppendPreflist(dst[:0], 3, 3, up) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
