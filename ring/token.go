package ring

import (
	"encoding/binary"
	"fmt"

	"github.com/spaolacci/murmur3"
)

// Token is a position on the ring. The ring closes: the position after the highest is 0.
type Token uint64

// shortKey is the longest partition key that TokenOf hashes without allocating.
const shortKey = 248

// TokenOf is the token of every item of one bucket and partition key: the first half of
// murmur3-128 (x64, seed 0) over the bucket id, 8 bytes big-endian, followed by the key. It is part
// of the format on disk and can't be changed.
func TokenOf(bucket uint64, partitionKey []byte) Token {
	var short [8 + shortKey]byte
	b := short[:0]
	if len(partitionKey) > shortKey {
		b = make([]byte, 0, 8+len(partitionKey))
	}
	b = binary.BigEndian.AppendUint64(b, bucket)
	b = append(b, partitionKey...)
	h1, _ := murmur3.Sum128(b)
	return Token(h1)
}

// String is the token in sixteen hexadecimal digits.
func (t Token) String() string { return fmt.Sprintf("%016x", uint64(t)) }
