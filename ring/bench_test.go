package ring

import (
	"math/rand/v2"
	"testing"
)

func BenchmarkTokenOf(b *testing.B) {
	key := []byte("Greek and Coptic")
	b.ReportAllocs()
	for b.Loop() {
		TokenOf(42, key)
	}
}

func benchLayout(b *testing.B) *Layout {
	return mustPlan(b, PlanInput{Members: testMembers(rand.New(rand.NewPCG(61, 1)), 100, 3), Partitions: 1024, Replicas: 7})
}

func BenchmarkOwners(b *testing.B) {
	l := benchLayout(b)
	t := Token(0)
	b.ReportAllocs()
	for b.Loop() {
		t += 0x9e3779b97f4a7c15
		l.Owners(l.PartitionOf(t), 3)
	}
}

func BenchmarkAppendPreflist(b *testing.B) {
	l := benchLayout(b)
	down := l.Members()[5].ID
	up := func(id NodeID) bool { return id != down }
	dst := make([]Target, 0, MaxReplicas)
	t := Token(0)
	b.ReportAllocs()
	for b.Loop() {
		t += 0x9e3779b97f4a7c15
		dst = l.AppendPreflist(dst[:0], l.PartitionOf(t), 3, up)
	}
}

func BenchmarkPlan(b *testing.B) {
	members := testMembers(rand.New(rand.NewPCG(62, 1)), 1001, 3)
	in := PlanInput{Members: members[:1000], Partitions: 16384, Replicas: 7}
	first := mustPlan(b, in)
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			mustPlan(b, in)
		}
	})
	grow := PlanInput{Members: members, Partitions: 16384, Replicas: 7, Previous: first}
	b.Run("one more", func(b *testing.B) {
		for b.Loop() {
			mustPlan(b, grow)
		}
	})
	encoded := AppendEpoch(nil, Genesis(first))
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		for b.Loop() {
			if _, err := DecodeEpoch(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
}
