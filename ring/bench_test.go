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

func BenchmarkSuccession(b *testing.B) {
	members := testMembers(rand.New(rand.NewPCG(63, 1)), 1001, 3)
	first := mustPlan(b, PlanInput{Members: members[:1000], Partitions: 16384, Replicas: 7})
	next := mustPlan(b, PlanInput{Members: members, Partitions: 16384, Replicas: 7, Previous: first, Version: 1})
	split, err := Split(first, 32768, 1)
	if err != nil {
		b.Fatal(err)
	}
	stable := Genesis(first)
	joint, err := stable.Begin(next)
	if err != nil {
		b.Fatal(err)
	}
	run := func(name string, f func() (*Epoch, error)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("begin", func() (*Epoch, error) { return stable.Begin(next) })
	run("begin split", func() (*Epoch, error) { return stable.Begin(split) })
	run("commit", joint.Commit)
	run("abort", joint.Abort)
	run("preview", func() (*Epoch, error) {
		_, err := stable.Preview(next, []int{3, 5})
		return stable, err
	})
	facts := Facts{Epoch: func(NodeID) uint64 { return 1 }, Complete: func(NodeID, int, int, uint64) bool { return true }}
	run("may commit", func() (*Epoch, error) {
		joint.MayCommit(Quorums{3, 2, 2}, facts)
		return joint, nil
	})
	run("follows", func() (*Epoch, error) { return joint, stable.Follows(joint) })
}
