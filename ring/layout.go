package ring

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// Bounds of a layout, for the planner and for what is decoded.
const (
	// MaxReplicas is the longest owner list, and so the largest N of a bucket.
	MaxReplicas = 7
	// MaxPartitions is the largest number of partitions.
	MaxPartitions = 1 << 16
	// MaxMembers is the largest number of nodes.
	MaxMembers = 4096
	// MaxZoneBytes is the longest name of a zone.
	MaxZoneBytes = 255
)

// Member is one node of a layout.
type Member struct {
	ID NodeID
	// Zone is what fails together: a rack, a room, a cloud's zone. Members without one are all in
	// the zone "".
	Zone string
	// Weight is the node's share of the ring relative to the others', at least 1.
	Weight uint32
}

// Layout is one version of the ring: its members and, for each partition, the ordered list of its
// owners. Plan and DecodeEpoch make layouts. They are immutable and safe for concurrent use.
//
// Methods that take a partition p panic when it is not in [0, Partitions()), as an index of a slice
// does: partitions come from PartitionOf or from a loop, never from outside.
type Layout struct {
	version  uint64
	members  []Member // ascending by ID
	zoneOf   []uint16 // by member: index of its zone among the sorted names
	zoneSize []int    // by zone: its members
	replicas int      // length of each owner list
	shift    uint     // bits of a token below its partition
	owners   []uint16 // replicas member indexes for each partition, in order
	ids      []NodeID // owners again, as ids, for callers

	// heads caches, by partition, the start of its preference list that requests need. It is filled
	// as partitions are asked for: two that fill one entry at once store the same list.
	heads []atomic.Pointer[[]NodeID]
}

// newLayout builds the derived tables. It keeps members and owners, which the caller has checked:
// members ascending by id, len(owners) = partitions*replicas, each row distinct member indexes.
func newLayout(version uint64, members []Member, partitions, replicas int, owners []uint16) *Layout {
	l := &Layout{
		version:  version,
		members:  members,
		replicas: replicas,
		shift:    uint(64 - bits.TrailingZeros(uint(partitions))),
		owners:   owners,
		ids:      make([]NodeID, len(owners)),
		heads:    make([]atomic.Pointer[[]NodeID], partitions),
	}
	zones := zoneNames(members)
	l.zoneSize = make([]int, len(zones))
	l.zoneOf = make([]uint16, len(members))
	for i, m := range members {
		z, _ := slices.BinarySearch(zones, m.Zone)
		l.zoneOf[i] = uint16(z)
		l.zoneSize[z]++
	}
	for i, o := range owners {
		l.ids[i] = members[o].ID
	}
	return l
}

// zoneNames returns the distinct zones of members, sorted.
func zoneNames(members []Member) []string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.Zone
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Version is the layout's number, as given to the planner.
func (l *Layout) Version() uint64 { return l.version }

// Partitions is Q, the number of equal arcs of the ring: a power of two.
func (l *Layout) Partitions() int { return len(l.heads) }

// Replicas is the length of every owner list: the largest N that the layout tells apart.
func (l *Layout) Replicas() int { return l.replicas }

// Members returns the nodes, ascending by id. The slice is the layout's own: read only.
func (l *Layout) Members() []Member { return l.members }

// Member returns the member with this id, if it is one.
func (l *Layout) Member(id NodeID) (Member, bool) {
	if i, ok := l.index(id); ok {
		return l.members[i], true
	}
	return Member{}, false
}

func (l *Layout) index(id NodeID) (int, bool) {
	return slices.BinarySearchFunc(l.members, id, func(m Member, id NodeID) int { return m.ID.Compare(id) })
}

// PartitionOf is the partition that a token lies in.
func (l *Layout) PartitionOf(t Token) int { return int(t >> l.shift) }

// PartitionRange is the first and the last token of a partition, both inclusive.
func (l *Layout) PartitionRange(p int) (first, last Token) {
	_ = &l.heads[p]
	first = Token(p) << l.shift
	return first, first | (1<<l.shift - 1)
}

// Owners returns the first n owners of a partition, in order. n is clamped to [0, Replicas()]. The
// slice is the layout's own: read only.
func (l *Layout) Owners(p, n int) []NodeID {
	_ = &l.heads[p]
	n = min(max(n, 0), l.replicas)
	start := p * l.replicas
	return l.ids[start : start+n : start+n]
}

// IsOwner reports whether id is among the first n owners of a partition.
func (l *Layout) IsOwner(p, n int, id NodeID) bool {
	return slices.Contains(l.Owners(p, n), id)
}

// Share counts the partitions that have id among their first n owners, and says what part of all
// such ownerships that is, from 0 to 1.
func (l *Layout) Share(id NodeID, n int) (partitions int, share float64) {
	for p := range l.heads {
		if l.IsOwner(p, n, id) {
			partitions++
		}
	}
	all := len(l.heads) * min(max(n, 0), l.replicas)
	return partitions, float64(partitions) / float64(max(all, 1))
}

// Equal reports whether two layouts are the same: version, members, partitions and owners in their
// order.
func (l *Layout) Equal(o *Layout) bool {
	return l == o || l.version == o.version && l.replicas == o.replicas && l.shift == o.shift &&
		slices.Equal(l.members, o.members) && slices.Equal(l.owners, o.owners)
}

// row is a partition's owner list as member indexes.
func (l *Layout) row(p int) []uint16 { return l.owners[p*l.replicas : (p+1)*l.replicas] }
