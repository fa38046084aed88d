package ring

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// DecodeEpoch reads what AppendEpoch wrote and nothing else: bytes behind it, a longer form of the
// same number, an unknown format, an impossible layout are a *DecodeError. It allocates no more
// than a small multiple of len(b), save for the tables of the last changes (at most 4 MiB each, and
// only as large as the owner lists that b holds demand). The epoch does not keep b.
func DecodeEpoch(b []byte) (*Epoch, error) {
	d := decoder{b: b}
	if f := d.byte("format"); f != epochFormat && d.err == nil {
		d.off = 0
		d.fail("format %d, but this program knows format %d only: use one that is as new as the writer", f, epochFormat)
	}
	kind := d.byte("kind")
	if kind > kindJoint {
		d.fail("kind %d, want %d (stable) or %d (joint)", kind, kindStable, kindJoint)
	}
	e := &Epoch{Number: d.uvarint("epoch number", math.MaxUint64)}
	e.Base = d.layout()
	if kind == kindJoint {
		e.Next = d.layout()
		if d.err == nil && e.Next.Partitions() < e.Base.Partitions() {
			d.fail("a move from %d to %d partitions, but they never get fewer", e.Base.Partitions(), e.Next.Partitions())
		}
	}
	if d.err == nil {
		d.tables(e)
	}
	if d.err == nil && d.off != len(b) {
		d.fail("%d bytes behind the epoch", len(b)-d.off)
	}
	if d.err != nil {
		return nil, d.err
	}
	return e, nil
}

// decoder reads from the front of b. After its first error it reads zeros and keeps that error.
type decoder struct {
	b   []byte
	off int
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = &DecodeError{Offset: d.off, Reason: fmt.Sprintf(format, args...)}
	}
}

// bytes returns the next n bytes, which are b's own, or nil.
func (d *decoder) bytes(what string, n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.b)-d.off {
		d.fail("%s of %d bytes, but %d are left", what, n, len(d.b)-d.off)
		return nil
	}
	b := d.b[d.off : d.off+n]
	d.off += n
	return b
}

func (d *decoder) byte(what string) byte {
	if b := d.bytes(what, 1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads a number of at most bound, in its fewest bytes.
func (d *decoder) uvarint(what string, bound uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b[d.off:])
	switch {
	case n <= 0:
		d.fail("%s: no number", what)
	case n > 1 && d.b[d.off+n-1] == 0:
		d.fail("%s: a number in more bytes than it needs", what)
	case v > bound:
		d.fail("%s: %d, at most %d", what, v, bound)
	default:
		d.off += n
		return v
	}
	return 0
}

func (d *decoder) layout() *Layout {
	version := d.uvarint("layout version", math.MaxUint64)
	log2 := d.byte("partitions")
	if int(log2) > bits.TrailingZeros(MaxPartitions) {
		d.fail("2^%d partitions, at most %d", log2, MaxPartitions)
	}
	replicas := int(d.byte("replicas"))
	zones := d.zones()
	members := d.members(zones)
	if replicas < 1 || replicas > min(MaxReplicas, len(members)) {
		d.fail("owner lists of %d for %d members, want 1 to %d", replicas, len(members), MaxReplicas)
	}
	if d.err != nil {
		return nil
	}
	owners := d.owners(1<<log2, replicas, len(members))
	if d.err != nil {
		return nil
	}
	return newLayout(version, members, 1<<log2, replicas, owners)
}

func (d *decoder) zones() []string {
	n := int(d.uvarint("number of zones", MaxMembers))
	var zones []string
	for i := 0; i < n && d.err == nil; i++ {
		size := int(d.uvarint("length of a zone's name", MaxZoneBytes))
		zone := string(d.bytes("name of a zone", size))
		if i > 0 && strings.Compare(zones[i-1], zone) >= 0 {
			d.fail("zone %q behind %q, want them ascending", zone, zones[i-1])
		}
		zones = append(zones, zone)
	}
	return zones
}

func (d *decoder) members(zones []string) []Member {
	n := int(d.uvarint("number of members", MaxMembers))
	used := make([]bool, len(zones))
	var members []Member
	for i := 0; i < n && d.err == nil; i++ {
		var m Member
		copy(m.ID[:], d.bytes("id of a member", len(m.ID)))
		zone := d.uvarint("zone of a member", uint64(max(len(zones), 1)-1))
		m.Weight = uint32(d.uvarint("weight of a member", math.MaxUint32))
		switch {
		case d.err != nil:
		case len(zones) == 0:
			d.fail("a member, but no zones")
		case m.ID.IsZero() || i > 0 && members[i-1].ID.Compare(m.ID) >= 0:
			d.fail("member %v is out of order", m.ID)
		case m.Weight == 0:
			d.fail("member %v has weight 0", m.ID)
		default:
			m.Zone, used[zone] = zones[zone], true
			members = append(members, m)
		}
	}
	for z, u := range used {
		if !u {
			d.fail("zone %q has no member", zones[z])
		}
	}
	return members
}

func (d *decoder) owners(partitions, replicas, members int) []uint16 {
	width := indexWidth(members)
	start := d.off
	raw := d.bytes("owners", partitions*replicas*width)
	if d.err != nil {
		return nil
	}
	owners := make([]uint16, partitions*replicas)
	for i := range owners {
		if width == 1 {
			owners[i] = uint16(raw[i])
		} else {
			owners[i] = binary.BigEndian.Uint16(raw[2*i:])
		}
		if int(owners[i]) >= members {
			d.off = start + i*width
			d.fail("owner %d of %d members", owners[i], members)
			return nil
		}
		for j := i - i%replicas; j < i; j++ {
			if owners[j] == owners[i] {
				d.off = start + i*width
				d.fail("member %d owns partition %d twice", owners[i], i/replicas)
				return nil
			}
		}
	}
	return owners
}
