package bench

import (
	"encoding/binary"
	"math/rand/v2"
)

// valueSpread is how much more random bytes there are than one value needs.
const valueSpread = 1 << 20

// Values are values of one size: pieces of one block of random bytes, which do not compress, so that drawing one costs
// nothing beside the operation that stores it. They are safe for concurrent use.
type Values struct {
	block []byte
	size  int
}

// NewValues prepares values of size bytes; size is not negative.
func NewValues(size int, seed uint64) *Values {
	rng := rand.NewPCG(seed, valueStream)
	block := make([]byte, 0, size+valueSpread+8)
	for len(block) < size+valueSpread {
		block = binary.LittleEndian.AppendUint64(block, rng.Uint64())
	}
	return &Values{block: block[:size+valueSpread], size: size}
}

func (v *Values) draw(rng *rand.Rand) []byte {
	at := rng.IntN(valueSpread)
	return v.block[at : at+v.size : at+v.size]
}

// At returns the value that an item is loaded with. It is only lent, as Op.Value.
func (v *Values) At(item uint64) []byte {
	at := scatter(item) % valueSpread
	return v.block[at : at+uint64(v.size) : at+uint64(v.size)]
}

// Streams of random numbers that follow from one seed. Callers have those from 0 on.
const (
	valueStream = 1 << 63
	pauseStream = 1<<63 + 1
)
