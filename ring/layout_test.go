package ring

import (
	"math"
	"math/rand/v2"
	"testing"
)

// randomLayout draws owners with no regard for balance or zones.
func randomLayout(r *rand.Rand, nodes, partitions int) *Layout {
	members := testMembers(r, nodes, 1+r.IntN(4))
	replicas := 1 + r.IntN(min(MaxReplicas, nodes))
	l, err := Plan(PlanInput{Members: members, Partitions: partitions, Replicas: replicas, Version: r.Uint64()})
	if err != nil {
		panic(err) // the input is ours
	}
	var owners []uint16
	for range partitions {
		for _, o := range r.Perm(nodes)[:replicas] {
			owners = append(owners, uint16(o))
		}
	}
	return newLayout(l.version, l.members, partitions, replicas, owners)
}

func TestPartitionsCoverTheRing(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 1))
	for bits := range 17 {
		l := mustPlan(t, PlanInput{Members: testMembers(r, 1, 1), Partitions: 1 << bits, Replicas: 1})
		next := Token(0)
		for p := range l.Partitions() {
			first, last := l.PartitionRange(p)
			if first != next || last < first || l.PartitionOf(first) != p || l.PartitionOf(last) != p {
				t.Fatalf("partition %d of %d is [%v, %v]", p, l.Partitions(), first, last)
			}
			next = last + 1
		}
		if next != 0 {
			t.Fatalf("%d partitions end before the ring closes", l.Partitions())
		}
	}
}

func TestShare(t *testing.T) {
	r := rand.New(rand.NewPCG(32, 1))
	l := mustPlan(t, PlanInput{Members: testMembers(r, 5, 1), Partitions: 64, Replicas: 5})
	for n := 1; n <= 6; n++ {
		sum, parts := 0.0, 0
		for _, m := range l.Members() {
			p, share := l.Share(m.ID, n)
			sum += share
			parts += p
		}
		if math.Abs(sum-1) > 1e-9 || parts != 64*min(n, 5) {
			t.Errorf("N=%d: shares add up to %v, partitions to %d", n, sum, parts)
		}
	}
	if p, share := l.Share(NodeID{1}, 3); p != 0 || share != 0 {
		t.Errorf("a stranger owns %d partitions, %v", p, share)
	}
	if p, share := l.Share(l.Members()[0].ID, -1); p != 0 || share != 0 {
		t.Errorf("for N=-1 a member owns %d partitions, %v", p, share)
	}
}

func TestMember(t *testing.T) {
	in := PlanInput{Members: testMembers(rand.New(rand.NewPCG(33, 1)), 7, 2), Partitions: 4, Replicas: 2, Version: 9}
	l := mustPlan(t, in)
	for _, want := range in.Members {
		if got, ok := l.Member(want.ID); !ok || got != want {
			t.Errorf("got %v, %v, want %v", got, ok, want)
		}
	}
	if _, ok := l.Member(NodeID{}); ok || l.Version() != 9 || l.Replicas() != 2 {
		t.Error("the zero id is a member, or version or replicas are lost")
	}
}
