package ring

import (
	"fmt"
	"slices"
)

// WarningKind is what a Warning is about.
type WarningKind uint8

const (
	// FewMembers: N is greater than the owner lists are long.
	FewMembers WarningKind = iota
	// FewZones: N copies do not fit in as many zones.
	FewZones
	// Crowded: an owner list is in fewer zones than it might be.
	Crowded
	// UnmetWeight: a node gets much less than its weight asks for.
	UnmetWeight
	// AllOwnersChange: no owner of a partition stays, so every one of its copies is sent.
	AllOwnersChange
)

// String is a name to look for in output.
func (k WarningKind) String() string {
	switch k {
	case FewMembers:
		return "few-members"
	case FewZones:
		return "few-zones"
	case Crowded:
		return "crowded"
	case UnmetWeight:
		return "unmet-weight"
	case AllOwnersChange:
		return "all-owners-change"
	}
	return "unknown"
}

// Warning is one thing about a move that an operator may not want.
type Warning struct {
	Kind WarningKind
	N    int
	// Node is whom it is about, if it is about one.
	Node NodeID
	// Text says it in a line, with figures and what would help.
	Text string
}

// unmet is the part of what its weight asks for that a node may lack without a warning; one
// partition may always be lacking.
const unmet = 0.1

// warnings says what is to be said of a joint epoch's move at one N.
func (e *Epoch) warnings(v PreviewN) (all []Warning) {
	warn := func(kind WarningKind, node NodeID, format string, args ...any) {
		all = append(all, Warning{Kind: kind, N: v.N, Node: node, Text: fmt.Sprintf(format, args...)})
	}
	if next := e.Next; v.N > next.replicas {
		warn(FewMembers, NodeID{}, "N=%d, but owner lists have %d nodes: the cluster has %d, writes that wait for more than %d fail",
			v.N, next.replicas, len(next.members), next.replicas)
	}
	if zones := len(e.Next.zoneSize); v.N > zones {
		warn(FewZones, NodeID{}, "N=%d, but there are nodes in %d zones: the loss of one zone takes more than one copy", v.N, zones)
	}
	if z := v.Zones; z.Zones < z.Want {
		warn(Crowded, NodeID{}, "the first %d owners of partition %d are in %d zones, where %d are possible", z.Prefix, z.Partition, z.Zones, z.Want)
	}
	for _, c := range v.Nodes {
		if lacks := c.Wanted - float64(c.After); lacks >= 1 && lacks > unmet*c.Wanted {
			warn(UnmetWeight, c.ID, "node %v gets %d partitions of the %.0f that its weight asks for: no node can have a partition twice, no zone more than its turn",
				c.ID, c.After, c.Wanted)
		}
	}
	if first, count := v.renewed(); count > 0 {
		warn(AllOwnersChange, NodeID{}, "all owners of %d partitions change, of partition %d first: move in smaller steps to keep some where they are", count, first)
	}
	return all
}

// renewed counts the partitions that keep none of their owners, and says which is the first.
func (v PreviewN) renewed() (first, count int) {
	for _, m := range v.Moves {
		if slices.ContainsFunc(m.Pullers, func(id NodeID) bool { return slices.Contains(m.Sources, id) }) {
			continue
		}
		if count++; count == 1 {
			first = m.Partition
		}
	}
	return first, count
}
