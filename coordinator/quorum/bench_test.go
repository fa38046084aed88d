package quorum

import "testing"

// The course that nearly all requests take: N=3, nothing goes wrong. In a move one owner of three changes.

func BenchmarkPut(b *testing.B) {
	up := []bool{true, true, true, true, true, true}
	benchmarkPut(b, "still", PutPlan{N: 3, W: 2, Up: up})
	benchmarkPut(b, "moving", PutPlan{N: 4, Sides: move{2, 1, 1}.sides(2, 2), Up: up})
}

func benchmarkPut(b *testing.B, name string, plan PutPlan) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, refused := plan.Refusal(); refused {
				b.Fatal("refused")
			}
			p := NewPut(plan)
			for _, s := range p.Start() {
				p.Ack(s.Place)
				p.Verdict()
			}
			if p.Verdict() != Won || p.Count().Received != 3 {
				b.Fatal(p.Count())
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	benchmarkGet(b, "still", GetPlan{N: 3, R: 2, Candidates: 3, Owners: 3})
	benchmarkGet(b, "moving", GetPlan{Candidates: 4, Owners: 4, Sides: move{2, 1, 1}.sides(2, 2)})
}

func benchmarkGet(b *testing.B, name string, plan GetPlan) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, refused := plan.Refusal(); refused {
				b.Fatal("refused")
			}
			g := NewGet(plan)
			for _, a := range g.Start() {
				g.Replied(a.Place, a.Kind == ReadFull, newer)
				g.Verdict()
			}
			if g.Verdict() != Agreed || g.Count().Received != 2 {
				b.Fatal(g.Count())
			}
		}
	})
}
