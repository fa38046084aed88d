package bench

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// Distribution says which items are asked for.
type Distribution string

// Distributions.
const (
	// Zipfian asks for few items often and many rarely; which ones are popular is scattered over all of them.
	Zipfian Distribution = "zipfian"
	// Uniform asks for all items alike.
	Uniform Distribution = "uniform"
	// Latest asks for what was inserted last, zipfian from there back.
	Latest Distribution = "latest"
)

// ParseDistribution reads a distribution by its name.
func ParseDistribution(s string) (Distribution, error) {
	switch d := Distribution(s); d {
	case Zipfian, Uniform, Latest:
		return d, nil
	}
	return "", fmt.Errorf("distribution %q: want %s, %s or %s", s, Zipfian, Uniform, Latest)
}

// zipfSpace is the number of ranks that scattered zipfian draws come from, whatever the number of items: YCSB's.
// So the most popular item gets 1 of 26 draws, and the shape stays the same as items are added.
const zipfSpace = 10_000_000_000

// zipfSpaceZeta belongs to zipfSpace; adding it up takes a while, and every caller needs it.
var zipfSpaceZeta = sync.OnceValue(func() float64 { return zeta(zipfSpace, zipfTheta) })

// chooser draws items. It belongs to one caller.
type chooser func(rng *rand.Rand) uint64

// newChooser draws from the items that were loaded; Latest from all that were inserted, too.
func (d Distribution) newChooser(items *Items) chooser {
	n := items.loaded
	switch d {
	case Uniform:
		return func(rng *rand.Rand) uint64 { return rng.Uint64N(n) }
	case Latest:
		z := newZipf(n, zipfTheta)
		return func(rng *rand.Rand) uint64 {
			z.grow(items.Stored())
			return z.n - 1 - z.draw(rng)
		}
	}
	z := newZipfOf(zipfSpace, zipfTheta, zipfSpaceZeta())
	return func(rng *rand.Rand) uint64 { return scatter(z.draw(rng)) % n }
}
