package ring

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// testMembers makes n members in zones by turns ("z0", "z1", ...), each of weight 1.
func testMembers(r *rand.Rand, n, zones int) []Member {
	members := make([]Member, n)
	for i := range members {
		for j := range members[i].ID {
			members[i].ID[j] = byte(r.Uint32())
		}
		members[i].Zone = fmt.Sprintf("z%d", i%zones)
		members[i].Weight = 1
	}
	return members
}

// randomInput draws a planning problem of up to 24 nodes and 256 partitions: zones even or not,
// weights equal or not.
func randomInput(r *rand.Rand) PlanInput {
	n := 1 + r.IntN(24)
	zones := 1 + r.IntN(8)
	members := testMembers(r, n, zones)
	if r.IntN(3) == 0 {
		for i := range members {
			members[i].Zone = fmt.Sprintf("z%d", r.IntN(zones))
		}
	}
	if r.IntN(3) == 0 {
		for i := range members {
			members[i].Weight = 1 + r.Uint32N(8)
		}
	}
	return PlanInput{
		Members:    members,
		Partitions: 1 << r.IntN(9),
		Replicas:   1 + r.IntN(min(MaxReplicas, n)),
		Version:    r.Uint64(),
	}
}

func mustPlan(t testing.TB, in PlanInput) *Layout {
	t.Helper()
	l, err := Plan(in)
	if err != nil {
		t.Fatalf("Plan: %v", err)
	}
	return l
}

// counts says of how many partitions each member is among the first n owners.
func counts(l *Layout, n int) map[NodeID]int {
	c := make(map[NodeID]int)
	for p := range l.Partitions() {
		for _, id := range l.Owners(p, n) {
			c[id]++
		}
	}
	return c
}

func zonesOf(l *Layout) map[NodeID]string {
	zones := make(map[NodeID]string)
	for _, m := range l.Members() {
		zones[m.ID] = m.Zone
	}
	return zones
}

// zoneSizes says how many members each zone has.
func zoneSizes(l *Layout) map[string]int {
	sizes := make(map[string]int)
	for _, m := range l.Members() {
		sizes[m.Zone]++
	}
	return sizes
}

// checkRounds fails unless the list, cut by the oracle's rule, spreads zones: of every prefix no
// zone holds more nodes than the most even spread of so many nodes needs.
func checkRounds(t *testing.T, l *Layout, list []NodeID) {
	t.Helper()
	zones, sizes := zonesOf(l), zoneSizes(l)
	held := make(map[string]int)
	seen := make(map[NodeID]bool)
	for i, id := range list {
		if seen[id] {
			t.Fatalf("%v is on the list twice: %v", id, list)
		}
		seen[id] = true
		held[zones[id]]++
		most, room := 0, 0
		for room < i+1 {
			most++
			room = 0
			for _, size := range sizes {
				room += min(size, most)
			}
		}
		for zone, n := range held {
			if n > most {
				t.Fatalf("zone %s holds %d of the first %d, want at most %d (zones %v)", zone, n, i+1, most, sizes)
			}
		}
	}
}
