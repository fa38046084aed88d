// Package merkle tells in which parts of a range of items two replicas differ, by exchanging a few sums. It is pure: no I/O,
// no clock, no goroutines.
//
// A tree divides a range into a fixed number of leaves. A leaf's sum is the sum of a hash of each item in it, so it does not
// depend on the order in which items came, and a change of one item changes it by a difference that is known without
// looking at the others. The sum of an inner node is that of the leaves below it: trees of any height can be compared at any
// depth, and only leaves need be kept. Bellare and Micciancio (*A New Paradigm for Collision-Free Hashing*, EUROCRYPT 1997)
// treat such sums; they withstand chance here, which is what replicas that miss writes are up against, not somebody who
// chooses what is hashed.
package merkle

import (
	"encoding/binary"
	"errors"

	"github.com/spaolacci/murmur3"
)

// Sum is a sum of hashes of items, in two halves that don't carry into each other. The zero Sum is that of no items.
type Sum struct{ A, B uint64 }

// SumSize is the length of a Sum's encoding.
const SumSize = 16

// Of returns the sum of one item: key tells items apart, digest an item's states. Keys of one tree are prefix-free, or
// their digests all have one length.
func Of(key, digest []byte) Sum {
	a, b := murmur3.Sum128(append(append(make([]byte, 0, 256), key...), digest...))
	return Sum{a, b}
}

// Add returns s + o.
func (s Sum) Add(o Sum) Sum { return Sum{s.A + o.A, s.B + o.B} }

// Sub returns s - o.
func (s Sum) Sub(o Sum) Sum { return Sum{s.A - o.A, s.B - o.B} }

// AppendSums appends the encodings of sums: 16 bytes each, big-endian.
func AppendSums(dst []byte, sums ...Sum) []byte {
	for _, s := range sums {
		dst = binary.BigEndian.AppendUint64(dst, s.A)
		dst = binary.BigEndian.AppendUint64(dst, s.B)
	}
	return dst
}

// ErrLength says that what was to be sums is not a whole number of them.
var ErrLength = errors.New("merkle: the length is no multiple of that of a sum")

// DecodeSums is the reverse of AppendSums. It fails with ErrLength.
func DecodeSums(b []byte) ([]Sum, error) {
	if len(b)%SumSize != 0 {
		return nil, ErrLength
	}
	sums := make([]Sum, len(b)/SumSize)
	for i := range sums {
		sums[i] = Sum{binary.BigEndian.Uint64(b[i*SumSize:]), binary.BigEndian.Uint64(b[i*SumSize+8:])}
	}
	return sums, nil
}
