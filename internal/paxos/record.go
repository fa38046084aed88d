package paxos

import (
	"encoding/binary"
	"fmt"
	"math"
)

// MaxValueBytes bounds a value. The largest epoch that can be is a joint one of 65,536 partitions and 4,096 members in which
// no two neighbouring marks are equal: 10 MB when the epochs' numbers have reached 2^34.
const MaxValueBytes = 12 << 20

// Record is what an acceptor must not forget of the instance that is open: it speaks of no other. The zero value has
// promised and accepted nothing.
type Record struct {
	// Instance is what it speaks of.
	Instance uint64
	// Promised is the highest ballot that was promised or accepted; lower ones are refused.
	Promised Ballot
	// Accepted is the highest ballot that was accepted, at most Promised, and Value what was accepted at it. Zero
	// and nil if none was.
	Accepted Ballot
	Value    []byte
}

// The encoding of a record:
//
//	record = format | instance | promised | accepted | [length | value]
//	ballot = counter | [id (16)]
//
// The format is a byte, every number an unsigned varint in its fewest bytes. A counter of 0 is no ballot, and no id
// follows; without an accepted ballot there is no value. So one record has exactly one encoding.
const recordFormat = 1

// AppendRecord appends the binary form of a record that an Acceptor returned. DecodeRecord reads it.
func AppendRecord(dst []byte, r Record) []byte {
	dst = append(dst, recordFormat)
	dst = binary.AppendUvarint(dst, r.Instance)
	dst = appendBallot(dst, r.Promised)
	dst = appendBallot(dst, r.Accepted)
	if !r.Accepted.IsZero() {
		dst = binary.AppendUvarint(dst, uint64(len(r.Value)))
		dst = append(dst, r.Value...)
	}
	return dst
}

func appendBallot(dst []byte, b Ballot) []byte {
	dst = binary.AppendUvarint(dst, b.Counter)
	if b.Counter > 0 {
		dst = append(dst, b.Node[:]...)
	}
	return dst
}

// DecodeRecord reads what AppendRecord wrote and nothing else: anything that no acceptor writes is a *RecordError. The
// value is b's own bytes.
func DecodeRecord(b []byte) (Record, error) {
	d := decoder{b: b}
	if f := d.take("format", 1); d.err == nil && f[0] != recordFormat {
		d.off = 0
		d.fail("format %d, but this program knows format %d only: use one that is as new as the writer", f[0], recordFormat)
	}
	r := Record{Instance: d.number("instance", 1, math.MaxUint64)}
	r.Promised = d.ballot("promised ballot", 1)
	at := d.off
	r.Accepted = d.ballot("accepted ballot", 0)
	if d.err == nil && r.Accepted.Compare(r.Promised) > 0 {
		d.off = at
		d.fail("ballot %v accepted above the promised %v", r.Accepted, r.Promised)
	}
	if !r.Accepted.IsZero() {
		size := d.number("length of the value", 1, MaxValueBytes)
		r.Value = d.take("value", int(size))
	}
	if d.err == nil && d.off != len(b) {
		d.fail("%d bytes behind the record", len(b)-d.off)
	}
	if d.err != nil {
		return Record{}, d.err
	}
	return r, nil
}

// decoder reads from the front of b. After its first error it reads zeros and keeps that error.
type decoder struct {
	b   []byte
	off int
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = &RecordError{Offset: d.off, Reason: fmt.Sprintf(format, args...)}
	}
}

// take returns the next n bytes, or nil.
func (d *decoder) take(what string, n int) []byte {
	if d.err != nil {
		return nil
	}
	if left := len(d.b) - d.off; n > left {
		d.fail("%s of %d bytes, but %d are left", what, n, left)
		return nil
	}
	d.off += n
	return d.b[d.off-n : d.off : d.off]
}

// number reads one within bounds, in its fewest bytes.
func (d *decoder) number(what string, least, most uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.off:])
	switch {
	case n <= 0:
		d.fail("%s: no number", what)
	case n > 1 && d.b[d.off+n-1] == 0:
		d.fail("%s: a number in more bytes than it needs", what)
	case v < least || v > most:
		d.fail("%s: %d, want %d to %d", what, v, least, most)
	default:
		d.off += n
		return v
	}
	return 0
}

// ballot reads one whose counter is at least so high; a counter of 0 is no ballot.
func (d *decoder) ballot(what string, least uint64) Ballot {
	var b Ballot
	if b.Counter = d.number(what, least, maxCounter); b.Counter == 0 {
		return Ballot{}
	}
	at := d.off
	copy(b.Node[:], d.take("node of the "+what, len(b.Node)))
	if d.err == nil && b.Node.IsZero() {
		d.off = at
		d.fail("%s of no node", what)
	}
	return b
}
