package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestZeta(t *testing.T) {
	if got, want := zeta(3, 0.99), 1+math.Pow(2, -0.99)+math.Pow(3, -0.99); math.Abs(got-want) > 1e-12 {
		t.Errorf("zeta(3) = %v, want %v", got, want)
	}
	// Beyond a million terms it is a formula; adding up is the oracle.
	direct := 0.0
	const n = 1_500_000
	for i := n; i > 0; i-- {
		direct += math.Pow(float64(i), -0.99)
	}
	if got := zeta(n, 0.99); math.Abs(got-direct) > 1e-9 {
		t.Errorf("zeta(%d) = %.12f, want %.12f", n, got, direct)
	}
	// The constant that YCSB has in its source, added up term by term.
	if math.Abs(zipfSpaceZeta()-26.46902820178302) > 1e-6 {
		t.Errorf("zeta of YCSB's space = %.12f", zipfSpaceZeta())
	}
}

// TestZipfShape compares draws with the probabilities that they must have. The formula is exact for ranks 0 and 1 and
// close for the others.
func TestZipfShape(t *testing.T) {
	const n, draws = 1000, 400_000
	z := newZipf(n, zipfTheta)
	rng := rand.New(rand.NewPCG(1, 2))
	var counts [n]int
	for range draws {
		counts[z.draw(rng)]++
	}
	below := func(ranks int) (got, want float64) {
		for r := range ranks {
			got += float64(counts[r]) / draws
			want += math.Pow(float64(r+1), -zipfTheta) / z.zeta
		}
		return got, want
	}
	for _, c := range []struct {
		ranks     int
		tolerance float64
	}{{1, 0.02}, {2, 0.02}, {10, 0.08}, {100, 0.04}, {500, 0.02}, {n, 1e-9}} {
		if got, want := below(c.ranks); math.Abs(got/want-1) > c.tolerance {
			t.Errorf("the first %d ranks get %.4f of all draws, want %.4f", c.ranks, got, want)
		}
	}
}

func TestZipfGrows(t *testing.T) {
	grown, fresh := newZipf(10, zipfTheta), newZipf(1000, zipfTheta)
	grown.grow(500)
	grown.grow(200) // never shrinks
	grown.grow(1000)
	if math.Abs(grown.zeta-fresh.zeta) > 1e-9 || math.Abs(grown.eta-fresh.eta) > 1e-9 || grown.n != fresh.n {
		t.Errorf("grown: %+v, fresh: %+v", grown, fresh)
	}
}

func TestZipfOfFew(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := uint64(1); n <= 3; n++ {
		z, seen := newZipf(n, zipfTheta), map[uint64]bool{}
		for range 1000 {
			seen[z.draw(rng)] = true
		}
		for rank := range seen {
			if rank >= n {
				t.Errorf("rank %d of %d", rank, n)
			}
		}
		if len(seen) != int(n) {
			t.Errorf("%d of %d ranks are ever drawn", len(seen), n)
		}
	}
}
