package ring

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Token is a position on the ring. The ring closes: the position after the highest is 0.
type Token uint64

// String is the token in sixteen hexadecimal digits.
func (t Token) String() string { return fmt.Sprintf("%016x", uint64(t)) }

// Constants of murmur3-128 for 64-bit machines, by Austin Appleby, who put it in the public domain.
const (
	murmurC1 = 0x87c37b91114253d5
	murmurC2 = 0x4cf5ad432745937f
)

// TokenOf is the token of every item of one bucket and partition key: the first half of murmur3-128
// (x64, seed 0) over the bucket id, 8 bytes big-endian, followed by the key. It is part of the
// format on disk and can't be changed.
//
// It is written out here because the library that the tests compare it with reads words in the
// machine's byte order and lets its input escape to the heap: this runs for every request.
func TokenOf(bucket uint64, partitionKey []byte) Token {
	var h1, h2 uint64
	// k1 and k2 are a block of 16 bytes. The bucket id is the first half of the first block.
	k1, k2 := bits.ReverseBytes64(bucket), uint64(0)
	rest := partitionKey
	for {
		if len(rest) < 8 {
			k2 = shortWord(rest)
			break
		}
		k2, rest = binary.LittleEndian.Uint64(rest), rest[8:]
		h1 ^= mixFirst(k1)
		h1 = (bits.RotateLeft64(h1, 27)+h2)*5 + 0x52dce729
		h2 ^= mixSecond(k2)
		h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + 0x38495ab5
		if len(rest) < 8 {
			k1, k2 = shortWord(rest), 0
			break
		}
		k1, rest = binary.LittleEndian.Uint64(rest), rest[8:]
	}
	// The last block is short, if only by nothing; the words it lacks are 0 and mix to 0.
	size := uint64(8 + len(partitionKey))
	h1 ^= mixFirst(k1) ^ size
	h2 ^= mixSecond(k2) ^ size
	h1 += h2
	h2 += h1
	return Token(finish(h1) + finish(h2))
}

func mixFirst(k uint64) uint64 { return bits.RotateLeft64(k*murmurC1, 31) * murmurC2 }

func mixSecond(k uint64) uint64 { return bits.RotateLeft64(k*murmurC2, 33) * murmurC1 }

// shortWord reads fewer than 8 bytes as a little-endian number.
func shortWord(b []byte) uint64 {
	var k uint64
	for i, c := range b {
		k |= uint64(c) << (8 * i)
	}
	return k
}

// finish spreads every bit of h over all others.
func finish(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
