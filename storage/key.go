package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Bounds of keys, in bytes.
const (
	MaxPartitionKey = 64 << 10
	MaxSortKey      = 64 << 10
)

// First bytes of keys.
const (
	claimPrefix = 'f'
	itemPrefix  = 'd'
	hintPrefix  = 'h'
	metaPrefix  = 'm'
	markPrefix  = 's'
	treePrefix  = 't'
	movePrefix  = 'v'
	// Of damage: bytes that were set aside, and which items are damaged.
	quarantinePrefix = 'q'
	damagedPrefix    = 'x'
)

// NodeID is a node's random id.
type NodeID = [16]byte

// Key is an item's place. Token must be the one that the ring derives from Bucket and Partition; the store
// takes it as given, since items are kept in its order.
type Key struct {
	Bucket, Token   uint64
	Partition, Sort []byte
}

// Check returns a *KeyError if a part of k is too long, or the partition key empty.
func (k Key) Check() error {
	if n := len(k.Partition); n < 1 || n > MaxPartitionKey {
		return &KeyError{Part: "partition key", Size: n, Min: 1, Max: MaxPartitionKey}
	}
	if n := len(k.Sort); n > MaxSortKey {
		return &KeyError{Part: "sort key", Size: n, Max: MaxSortKey}
	}
	return nil
}

// AppendKey appends k as stored: 'd', bucket, token (both big-endian), and the partition and the sort key in
// an escape that keeps their order. Comparing two encoded keys compares (bucket, token, partition, sort).
func AppendKey(dst []byte, k Key) []byte {
	dst = append(dst, itemPrefix)
	dst = binary.BigEndian.AppendUint64(dst, k.Bucket)
	return AppendRangeKey(dst, k)
}

// DecodeKey is the reverse of AppendKey. It refuses bytes that AppendKey can't have made. The key's parts
// may share b's memory.
func DecodeKey(b []byte) (Key, error) {
	if len(b) < 9 || b[0] != itemPrefix {
		return Key{}, errors.New("storage: not an item's key")
	}
	return DecodeRangeKey(binary.BigEndian.Uint64(b[1:]), b[9:])
}

// AppendRangeKey appends the part of k's stored form behind the bucket: what bounds and keys of ranges are
// made of, on the wire too.
func AppendRangeKey(dst []byte, k Key) []byte {
	dst = binary.BigEndian.AppendUint64(dst, k.Token)
	dst = appendEscaped(dst, k.Partition)
	return appendEscaped(dst, k.Sort)
}

// DecodeRangeKey is the reverse of AppendRangeKey, for a key of the given bucket. The key's parts may share
// b's memory.
func DecodeRangeKey(bucket uint64, b []byte) (Key, error) {
	if len(b) < 8 {
		return Key{}, fmt.Errorf("storage: range key of %d bytes is too short", len(b))
	}
	k := Key{Bucket: bucket, Token: binary.BigEndian.Uint64(b)}
	var err error
	rest := b[8:]
	if k.Partition, rest, err = decodeEscaped(rest, MaxPartitionKey); err != nil {
		return Key{}, fmt.Errorf("storage: partition key: %w", err)
	}
	if k.Sort, rest, err = decodeEscaped(rest, MaxSortKey); err != nil {
		return Key{}, fmt.Errorf("storage: sort key: %w", err)
	}
	if len(rest) > 0 {
		return Key{}, fmt.Errorf("storage: %d bytes behind the range key", len(rest))
	}
	return k, k.Check()
}

// PartitionBounds returns the bounds of a token range for Range: first and last are inclusive. A nil end is
// the end of the bucket.
func PartitionBounds(first, last uint64) (start, end []byte) {
	start = binary.BigEndian.AppendUint64(nil, first)
	if last < math.MaxUint64 {
		end = binary.BigEndian.AppendUint64(nil, last+1)
	}
	return start, end
}

// QueryBounds returns the bounds of one partition key's items for Range. from and to are the first and the
// last sort key, both inclusive; nil is unbounded.
func QueryBounds(token uint64, partition []byte, from, to *[]byte) (start, end []byte) {
	prefix := appendEscaped(binary.BigEndian.AppendUint64(nil, token), partition)
	start = bytes.Clone(prefix)
	if from != nil {
		start = appendEscaped(start, *from)
	}
	if to != nil {
		// The key itself is the last one in: its successor is the first one out.
		return start, append(appendEscaped(prefix, *to), 0)
	}
	// The prefix ends with the terminator's second byte, so adding one gives the least string above all that
	// start with it.
	prefix[len(prefix)-1]++
	return start, prefix
}

// The escape: a zero byte becomes 00 FF and the end of the string is 00 01. So a string that is another's
// beginning sorts before it, whatever follows, and no terminator can be mistaken for content.
const (
	escape     = 0x00
	escapedNul = 0xFF
	terminator = 0x01
)

func appendEscaped(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, escape)
		if i < 0 {
			dst = append(dst, s...)
			return append(dst, escape, terminator)
		}
		dst = append(dst, s[:i]...)
		dst = append(dst, escape, escapedNul)
		s = s[i+1:]
	}
}

// decodeEscaped returns the string at the start of b and what follows it. A string without zero bytes shares
// b's memory.
func decodeEscaped(b []byte, limit int) (s, rest []byte, err error) {
	var copied []byte
	for start := 0; ; {
		i := bytes.IndexByte(b[start:], escape)
		if i < 0 || start+i+1 >= len(b) {
			return nil, nil, errors.New("no end")
		}
		i += start
		if len(copied)+i-start > limit {
			return nil, nil, fmt.Errorf("longer than %d bytes", limit)
		}
		switch b[i+1] {
		case terminator:
			if copied == nil {
				return b[:i:i], b[i+2:], nil
			}
			return append(copied, b[start:i]...), b[i+2:], nil
		case escapedNul:
			copied = append(copied, b[start:i]...)
			copied = append(copied, 0)
			start = i + 2
		default:
			return nil, nil, fmt.Errorf("escape followed by %#x", b[i+1])
		}
	}
}
