package causal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrMalformed says that bytes are not the encoding of a state or a past. The error is a *DecodeError.
var ErrMalformed = errors.New("causal: malformed encoding")

// DecodeError says where decoding stopped, and why.
type DecodeError struct {
	What    string // "state" or "past"
	Offset  int    // in bytes, from the start of what was decoded
	Problem string
}

// Error names the place and the problem.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("%v: %s at byte %d: %s", ErrMalformed, e.What, e.Offset, e.Problem)
}

// Is matches ErrMalformed.
func (e *DecodeError) Is(target error) bool { return target == ErrMalformed }

// DecodePast reads a past from the front of b and returns what follows it. It allocates at most as
// much as b is long, and keeps nothing of b.
func DecodePast(b []byte) (p Past, rest []byte, err error) {
	d := decoder{what: "past", b: b}
	p = d.past()
	if d.err != nil {
		return Past{}, nil, d.err
	}
	return p, d.b[d.pos:], nil
}

// DecodeState reads a state that fills b. Values are not copied: they alias b, which must not change
// as long as the state or anything merged from it is in use. Anything that AppendState doesn't produce
// from a canonical state is refused, and so are more than MaxVersions versions.
func DecodeState(b []byte) (State, error) {
	d := decoder{what: "state", b: b}
	format := d.byte()
	if d.err == nil && format != formatState && format != formatPurged {
		d.pos = 0
		d.fail(fmt.Sprintf("format %d is not known, only %d and %d", format, formatState, formatPurged))
	}
	s := State{Floor: HLC(d.uvarint())}
	if format == formatPurged {
		below := HLC(d.uvarint())
		if d.err == nil && below >= s.Floor {
			d.fail("a purge level that is not above zero")
		}
		s.PurgeLevel = s.Floor - below
	}
	s.Versions = d.versions()
	if d.err == nil && d.pos != len(b) {
		d.fail("bytes left over")
	}
	if d.err != nil {
		return State{}, d.err
	}
	return s, nil
}

// decoder reads b from pos on. After its first failure it returns zeros only.
type decoder struct {
	what string
	b    []byte
	pos  int
	err  error
}

func (d *decoder) fail(problem string) {
	if d.err == nil {
		d.err = &DecodeError{What: d.what, Offset: d.pos, Problem: problem}
	}
}

// take returns the next n bytes as a view that can't be appended to.
func (d *decoder) take(n int) []byte {
	if d.err == nil && n > len(d.b)-d.pos {
		d.fail("cut short")
	}
	if d.err != nil {
		return nil
	}
	v := d.b[d.pos : d.pos+n : d.pos+n]
	d.pos += n
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	x, n := binary.Uvarint(d.b[d.pos:])
	switch {
	case n == 0:
		d.fail("cut short")
		return 0
	case n < 0:
		d.fail("varint above 64 bits")
		return 0
	case n != uvarintSize(x):
		d.fail("varint longer than needed")
		return 0
	}
	d.pos += n
	return x
}

// count reads how many things of at least size bytes follow; more than there is room for fails, so
// that the caller may allocate.
func (d *decoder) count(size int) int {
	start := d.pos
	n := d.uvarint()
	if n > uint64((len(d.b)-d.pos)/size) {
		d.pos = start
		d.fail(fmt.Sprintf("a count of %d in %d bytes", n, len(d.b)-d.pos))
		return 0
	}
	return int(n)
}

func (d *decoder) dot() Dot {
	return Dot{Actor: Actor(d.uint64()), HLC: HLC(d.uint64())}
}

func (d *decoder) requestID() (r RequestID) {
	copy(r[:], d.take(requestIDSize))
	return r
}

// past takes each list whole, for count has made sure that it is there.
func (d *decoder) past() Past {
	return Past{vector: d.vector(), replaced: d.replaced()}
}

func (d *decoder) vector() []Dot {
	n := d.count(dotSize)
	if n == 0 {
		return nil
	}
	raw, vector := d.take(n*dotSize), make([]Dot, n)
	for i := range vector {
		dot := Dot{
			Actor: Actor(binary.BigEndian.Uint64(raw[i*dotSize:])),
			HLC:   HLC(binary.BigEndian.Uint64(raw[i*dotSize+8:])),
		}
		if dot.HLC == 0 {
			d.fail("a dot without HLC in a vector")
			return nil
		}
		if i > 0 && dot.Actor <= vector[i-1].Actor {
			d.fail("a vector out of order")
			return nil
		}
		vector[i] = dot
	}
	return vector
}

func (d *decoder) replaced() []RequestID {
	n := d.count(requestIDSize)
	if n == 0 {
		return nil
	}
	raw, ids := d.take(n*requestIDSize), make([]RequestID, n)
	var before RequestID
	for i := range ids {
		ids[i] = RequestID(raw[i*requestIDSize : (i+1)*requestIDSize])
		if ids[i].Compare(before) <= 0 {
			d.fail("replaced request ids out of order")
			return nil
		}
		before = ids[i]
	}
	return ids
}

func (d *decoder) versions() []Version {
	n := d.count(minVersionSize)
	if n > MaxVersions {
		d.fail(fmt.Sprintf("%d versions, at most %d are allowed", n, MaxVersions))
	}
	if n == 0 || d.err != nil {
		return nil
	}
	vs := make([]Version, n)
	for i := range vs {
		d.version(&vs[i])
		if d.err == nil && i > 0 && vs[i].Dot.Compare(vs[i-1].Dot) <= 0 {
			d.fail("versions out of order")
		}
		if d.err != nil {
			return nil
		}
	}
	if !concurrent(vs) {
		d.fail("a version that another one replaces")
	}
	return vs
}

func (d *decoder) version(v *Version) {
	flags := d.byte()
	if flags&^flagsKnown != 0 {
		d.fail(fmt.Sprintf("unknown flags %#x", flags))
	}
	v.Dot = d.dot()
	if d.err == nil && v.Dot.HLC == 0 {
		d.fail("a dot without HLC")
	}
	v.Tombstone = flags&flagTombstone != 0
	if flags&flagRequestID != 0 {
		v.RequestID = d.requestID()
	}
	if flags&flagExpires != 0 {
		v.ExpiresAt = HLC(d.uint64())
	}
	if flags&flagPast != 0 {
		v.Past = d.past()
	}
	if d.err == nil && v.flags() != flags {
		d.fail("a flag for something that is zero")
	}
	if !v.Tombstone {
		v.Value = d.take(d.count(1))
	}
}

// concurrent reports whether no version replaces another, or itself. Looking each version up in the join
// of all pasts takes n log n where comparing pairs would let a hostile sender burn n² time.
func concurrent(vs []Version) bool {
	seen := joinPasts(vs, false)
	for i := range vs {
		if seen.Covers(vs[i].Dot) || seen.Names(vs[i].RequestID) {
			return false
		}
	}
	if len(vs) == 1 {
		return true
	}
	ids := make([]RequestID, 0, len(vs))
	for i := range vs {
		if id := vs[i].RequestID; !id.IsZero() {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, RequestID.Compare)
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			return false
		}
	}
	return true
}
