package ring

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// The encoding of an epoch. It is what nodes decide on, persist and send, and what clients route
// by, so one epoch has exactly one encoding: numbers take their fewest bytes, names and ids ascend.
//
//	epoch  = format | kind | number | layout | [layout] | marks | marks | [marks]
//	layout = version | log2 partitions | replicas | zones | members | owners
//	zones  = count, then each: length | bytes              (ascending, each used by a member)
//	members= count, then each: id | zone index | weight    (ascending by id)
//	owners = for each partition replicas member indexes, 1 byte each up to 256 members, else 2
//	marks  = runs of (length | epoch number) that cover MaxReplicas numbers of each partition of
//	         the finer layout; neighbouring runs differ
//
// format, kind, log2 partitions and replicas are one byte, ids 16, indexes of owners big-endian;
// every other number is an unsigned varint. A joint epoch has the second layout, of as
// many partitions or more, and the third table. The tables are changed, origin and next origin, in this order.
const (
	epochFormat = 1
	kindStable  = 0
	kindJoint   = 1
)

// AppendEpoch appends the binary form of e to dst. DecodeEpoch reads it.
func AppendEpoch(dst []byte, e *Epoch) []byte {
	kind := byte(kindStable)
	if e.Joint() {
		kind = kindJoint
	}
	dst = append(dst, epochFormat, kind)
	dst = binary.AppendUvarint(dst, e.Number)
	dst = appendLayout(dst, e.Base)
	if e.Joint() {
		dst = appendLayout(dst, e.Next)
	}
	cells := e.Partitions() * MaxReplicas
	dst = appendMarks(dst, e.changed, cells)
	dst = appendMarks(dst, e.origin, cells)
	if e.Joint() {
		dst = appendMarks(dst, e.nextOrigin, cells)
	}
	return dst
}

func appendLayout(dst []byte, l *Layout) []byte {
	dst = binary.AppendUvarint(dst, l.version)
	dst = append(dst, byte(bits.TrailingZeros(uint(l.Partitions()))), byte(l.replicas))
	zones := zoneNames(l.members)
	dst = binary.AppendUvarint(dst, uint64(len(zones)))
	for _, z := range zones {
		dst = binary.AppendUvarint(dst, uint64(len(z)))
		dst = append(dst, z...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(l.members)))
	for i, m := range l.members {
		dst = append(dst, m.ID[:]...)
		dst = binary.AppendUvarint(dst, uint64(l.zoneOf[i]))
		dst = binary.AppendUvarint(dst, uint64(m.Weight))
	}
	dst = slices.Grow(dst, len(l.owners)*indexWidth(len(l.members)))
	for _, o := range l.owners {
		if indexWidth(len(l.members)) == 1 {
			dst = append(dst, byte(o))
		} else {
			dst = binary.BigEndian.AppendUint16(dst, o)
		}
	}
	return dst
}

// indexWidth is the number of bytes of a member index.
func indexWidth(members int) int {
	if members <= 1<<8 {
		return 1
	}
	return 2
}

func appendMarks(dst []byte, m marks, cells int) []byte {
	if m == nil {
		dst = binary.AppendUvarint(dst, uint64(cells))
		return binary.AppendUvarint(dst, 0)
	}
	for start := 0; start < cells; {
		end := start + 1
		for end < cells && m[end] == m[start] {
			end++
		}
		dst = binary.AppendUvarint(dst, uint64(end-start))
		dst = binary.AppendUvarint(dst, m[start])
		start = end
	}
	return dst
}
