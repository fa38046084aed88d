package causal

import (
	"fmt"
	"testing"
)

// benchState has n siblings whose writers had each seen the same history of h writes by three actors.
func benchState(n, h int) State {
	var vector []Dot
	var ids []RequestID
	for i := range h {
		vector = append(vector, Dot{Actor(1 + i%3), NewHLC(1_700_000_000_000, uint16(i))})
		ids = append(ids, rid(1+i))
	}
	past := NewPast(vector, ids)
	var s State
	for i := range n {
		v := ver(uint64(100+i), uint64(NewHLC(1_700_000_001_000, uint16(i))), 1000+i, past)
		v.Value = make([]byte, 1024)
		s.Versions = append(s.Versions, v)
	}
	return s
}

func eachSize(b *testing.B, run func(*testing.B, State)) {
	for _, size := range [][2]int{{1, 0}, {1, 100}, {3, 10}, {50, 100}} {
		b.Run(fmt.Sprintf("siblings=%d/seen=%d", size[0], size[1]), func(b *testing.B) {
			b.ReportAllocs()
			run(b, benchState(size[0], size[1]))
		})
	}
}

func BenchmarkMergeEqual(b *testing.B) {
	eachSize(b, func(b *testing.B, s State) {
		// A copy, as it comes from the wire: nothing is shared.
		o, err := DecodeState(AppendState(nil, s))
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			Merge(Siblings, s, o)
		}
	})
}

func BenchmarkMergeSuccessor(b *testing.B) {
	eachSize(b, func(b *testing.B, s State) {
		next := ver(500, uint64(NewHLC(1_700_000_002_000, 0)), 9999, s.Context())
		o := state(next)
		for b.Loop() {
			Merge(Siblings, s, o)
		}
	})
}

func BenchmarkMergeSibling(b *testing.B) {
	eachSize(b, func(b *testing.B, s State) {
		o := state(ver(500, uint64(NewHLC(1_700_000_002_000, 0)), 9999, Past{}))
		for b.Loop() {
			Merge(Siblings, s, o)
		}
	})
}

func BenchmarkMergeLastWriteWins(b *testing.B) {
	s, o := benchState(1, 0), state(ver(500, uint64(NewHLC(1_700_000_002_000, 0)), 9999, Past{}))
	b.ReportAllocs()
	for b.Loop() {
		Merge(LastWriteWins, s, o)
	}
}

func BenchmarkContext(b *testing.B) {
	eachSize(b, func(b *testing.B, s State) {
		for b.Loop() {
			s.Context()
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	eachSize(b, func(b *testing.B, s State) {
		for b.Loop() {
			s.Digest()
		}
	})
}

func BenchmarkAppendState(b *testing.B) {
	eachSize(b, func(b *testing.B, s State) {
		var buf []byte
		for b.Loop() {
			buf = AppendState(buf[:0], s)
		}
		b.SetBytes(int64(len(buf)))
	})
}

func BenchmarkDecodeState(b *testing.B) {
	eachSize(b, func(b *testing.B, s State) {
		buf := AppendState(nil, s)
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			if _, err := DecodeState(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSealer(b *testing.B) {
	past := benchState(1, 100).Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := testSealer.Open(testItem, testSealer.Seal(testItem, past)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClock(b *testing.B) {
	c, _ := testClock(0)
	c.Raise(MaxHLC)
	for b.Loop() {
		if _, err := c.Now(); err != nil {
			b.Fatal(err)
		}
	}
}
