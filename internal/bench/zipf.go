package bench

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
)

// zipfTheta is the skew of YCSB's zipfian distributions.
const zipfTheta = 0.99

// zipf draws ranks below n, rank r with a probability in proportion to 1/(r+1)^theta. It is the algorithm of Gray et
// al., "Quickly generating billion-record synthetic databases", SIGMOD 1994, as YCSB uses it: a uniform number is turned
// into a rank by a formula that is exact for the first two ranks and close for the others. Not safe for concurrent use.
type zipf struct {
	n          uint64
	theta      float64
	zeta       float64 // the sum of 1/i^theta for i from 1 to n
	two        float64 // the same for n = 2
	alpha, eta float64
}

// newZipf makes a distribution over n ranks; n is at least 1, theta between 0 and 1.
func newZipf(n uint64, theta float64) *zipf {
	return newZipfOf(n, theta, zeta(n, theta))
}

// newZipfOf is newZipf for a zeta that is known.
func newZipfOf(n uint64, theta, zeta float64) *zipf {
	z := &zipf{n: n, theta: theta, zeta: zeta, two: 1 + math.Pow(0.5, theta), alpha: 1 / (1 - theta)}
	z.tune()
	return z
}

// tune computes what depends on n.
func (z *zipf) tune() {
	if z.n <= 2 {
		z.eta = 0 // ranks 0 and 1 are drawn without it
		return
	}
	z.eta = (1 - math.Pow(2/float64(z.n), 1-z.theta)) / (1 - z.two/z.zeta)
}

// grow raises the number of ranks. It costs one power for each rank that is new.
func (z *zipf) grow(n uint64) {
	if n <= z.n {
		return
	}
	for i := z.n + 1; i <= n; i++ {
		z.zeta += math.Pow(float64(i), -z.theta)
	}
	z.n = n
	z.tune()
}

// draw returns a rank below n.
func (z *zipf) draw(rng *rand.Rand) uint64 {
	u := rng.Float64()
	uz := u * z.zeta
	switch {
	case uz < 1 || z.n == 1:
		return 0
	case uz < z.two || z.n == 2:
		return 1
	}
	rank := uint64(float64(z.n) * math.Pow(z.eta*u-z.eta+1, z.alpha))
	return min(rank, z.n-1)
}

// zetaTerms is how many terms of a zeta sum are added up one by one.
const zetaTerms = 1_000_000

// zeta is the sum of 1/i^theta for i from 1 to n. What is beyond a million terms is taken from the Euler-Maclaurin
// formula, whose error is then below what a float64 can tell.
func zeta(n uint64, theta float64) float64 {
	head := min(n, zetaTerms)
	sum := 0.0
	for i := head; i > 0; i-- { // the small ones first, for the sake of precision
		sum += math.Pow(float64(i), -theta)
	}
	if n == head {
		return sum
	}
	a, b := float64(head), float64(n)
	integral := (math.Pow(b, 1-theta) - math.Pow(a, 1-theta)) / (1 - theta)
	ends := (math.Pow(b, -theta) - math.Pow(a, -theta)) / 2
	slopes := theta / 12 * (math.Pow(a, -theta-1) - math.Pow(b, -theta-1))
	return sum + integral + ends + slopes
}

// scatter hashes a number as YCSB does, with 64 bits of FNV over its bytes, so that popular items are not neighbours.
func scatter(i uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], i)
	h := fnv.New64a()
	_, _ = h.Write(b[:]) // never fails
	return h.Sum64()
}
