package causal

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// The encoding, in the order of bytes; integers are big-endian, counts and lengths unsigned varints
// in their shortest form:
//
//	state   = format(1) floor(varint) [purge level below floor(varint)] count(varint) version*
//	version = flags(1) dot(16) [request id(16)] [expiry(8)] [past] [length(varint) value]
//	past    = count(varint) dot(16)* count(varint) request id(16)*
//	dot     = actor(8) hlc(8)
//
// Format 1 has no purge level, which is zero; format 2 has one above zero, as the distance to the floor.
// Each state has exactly one encoding, and what is not one is refused: two replicas that hold
// the same bytes hold the same state, and damage shows.

const (
	formatState   = 1
	formatPurged  = 2
	dotSize       = 16
	requestIDSize = 16
	hlcSize       = 8
	// minVersionSize is a tombstone's without id, expiry and past.
	minVersionSize = 1 + dotSize
)

// MaxVersions is how many versions a state may have to be decoded. Limits on siblings must stay far
// below it: coordinators apply them each to its own copy, and a merge of several refuses nothing.
const MaxVersions = 4096

const (
	flagTombstone = 1 << iota
	flagRequestID
	flagExpires
	flagPast
	flagsKnown = 1<<iota - 1
)

func (v *Version) flags() byte {
	var f byte
	if v.Tombstone {
		f |= flagTombstone
	}
	if !v.RequestID.IsZero() {
		f |= flagRequestID
	}
	if v.ExpiresAt != 0 {
		f |= flagExpires
	}
	if !v.Past.IsZero() {
		f |= flagPast
	}
	return f
}

// Size returns the length of the past's encoding in bytes.
func (p Past) Size() int {
	return uvarintSize(uint64(len(p.vector))) + dotSize*len(p.vector) +
		uvarintSize(uint64(len(p.replaced))) + requestIDSize*len(p.replaced)
}

// Size returns the length of the state's encoding in bytes.
func (s State) Size() int {
	n := 1 + uvarintSize(uint64(s.Floor)) + uvarintSize(uint64(len(s.Versions)))
	if s.PurgeLevel != 0 {
		n += uvarintSize(uint64(s.Floor - s.PurgeLevel))
	}
	for i := range s.Versions {
		n += s.Versions[i].size()
	}
	return n
}

func (v *Version) size() int {
	n := minVersionSize
	if !v.RequestID.IsZero() {
		n += requestIDSize
	}
	if v.ExpiresAt != 0 {
		n += hlcSize
	}
	if !v.Past.IsZero() {
		n += v.Past.Size()
	}
	if !v.Tombstone {
		n += uvarintSize(uint64(len(v.Value))) + len(v.Value)
	}
	return n
}

// uvarintSize returns the bytes of a varint: seven bits each, at least one.
func uvarintSize(x uint64) int { return (bits.Len64(x|1) + 6) / 7 }

// AppendPast appends the encoding of p to dst. It delimits itself.
func AppendPast(dst []byte, p Past) []byte {
	dst = slices.Grow(dst, p.Size())
	dst = binary.AppendUvarint(dst, uint64(len(p.vector)))
	for _, d := range p.vector {
		dst = appendDot(dst, d)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.replaced)))
	for i := range p.replaced {
		dst = append(dst, p.replaced[i][:]...)
	}
	return dst
}

// AppendState appends the encoding of s, which must be canonical, to dst.
func AppendState(dst []byte, s State) []byte {
	dst = slices.Grow(dst, s.Size())
	if s.PurgeLevel == 0 {
		dst = binary.AppendUvarint(append(dst, formatState), uint64(s.Floor))
	} else {
		dst = binary.AppendUvarint(append(dst, formatPurged), uint64(s.Floor))
		dst = binary.AppendUvarint(dst, uint64(s.Floor-s.PurgeLevel))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Versions)))
	for i := range s.Versions {
		dst = appendVersion(dst, &s.Versions[i])
	}
	return dst
}

func appendVersion(dst []byte, v *Version) []byte {
	dst = append(dst, v.flags())
	dst = appendDot(dst, v.Dot)
	if !v.RequestID.IsZero() {
		dst = append(dst, v.RequestID[:]...)
	}
	if v.ExpiresAt != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.ExpiresAt))
	}
	if !v.Past.IsZero() {
		dst = AppendPast(dst, v.Past)
	}
	if !v.Tombstone {
		dst = binary.AppendUvarint(dst, uint64(len(v.Value)))
		dst = append(dst, v.Value...)
	}
	return dst
}

func appendDot(dst []byte, d Dot) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(d.Actor))
	return binary.BigEndian.AppendUint64(dst, uint64(d.HLC))
}
