package ring

import (
	"slices"
)

// Preview is what a move would do, for an operator to look at before it begins and for whoever is
// to carry it out. Partitions are those of the epoch that would begin.
type Preview struct {
	// Partitions is how many there would be.
	Partitions int
	// ByN is the move as buckets of each N see it, ascending.
	ByN []PreviewN
	// Warnings say what an operator may not want, by N and then by kind.
	Warnings []Warning
}

// PreviewN is what a move would do to buckets of one N.
type PreviewN struct {
	N int
	// Nodes are the members of both layouts, ascending by id.
	Nodes []NodeChange
	// Moves are the partitions whose owner sets change, ascending.
	Moves []PartitionMove
	// Zones is how the new layout spreads copies.
	Zones ZoneSpread
}

// NodeChange is what a move would do to one node.
type NodeChange struct {
	ID NodeID
	// Before and After count the partitions that it owns, ShareBefore and ShareAfter say what part
	// of all ownerships that is.
	Before, After           int
	ShareBefore, ShareAfter float64
	// Wanted is the number of partitions that its weight asks for, 0 of a node that leaves.
	Wanted float64
	// Pull counts the partitions that it would have to pull. Of those New are new to it; it owns the
	// others already and reads them from others to be sure that it lacks nothing.
	Pull, New int
}

// PartitionMove is one partition that would move.
type PartitionMove struct {
	Partition int
	// Sources are its owners now, Pullers those afterwards, in order: each puller reads so many of
	// the sources as Epoch.Pull says. The slices are the layouts' own.
	Sources, Pullers []NodeID
}

// ZoneSpread is the prefix of an owner list that does worst by zones, of all lists and of all
// prefixes up to N.
type ZoneSpread struct {
	// Partition and Prefix name it. Where nothing falls short they are the first partition and N.
	Partition, Prefix int
	// Zones is how many distinct zones it covers, Want how many it might.
	Zones, Want int
}

// Preview says what moving to next would do to buckets with these N, which are clamped to
// [1, MaxReplicas], in any order. It refuses what Begin refuses.
func (e *Epoch) Preview(next *Layout, ns []int) (*Preview, error) {
	j, err := e.Begin(next)
	if err != nil {
		return nil, err
	}
	v := &Preview{Partitions: j.Partitions()}
	var asked [MaxReplicas + 1]bool
	for _, n := range ns {
		asked[min(max(n, 1), MaxReplicas)] = true
	}
	for n, is := range asked {
		if is {
			by := PreviewN{N: n, Nodes: j.nodes(n), Moves: j.moves(n), Zones: next.spread(n)}
			v.ByN = append(v.ByN, by)
			v.Warnings = append(v.Warnings, j.warnings(by)...)
		}
	}
	return v, nil
}

func (e *Epoch) nodes(n int) []NodeChange {
	nodes := make([]NodeChange, 0, len(e.Next.members)+1)
	total := uint64(0)
	for _, m := range e.Next.members {
		total += uint64(m.Weight)
		nodes = append(nodes, NodeChange{ID: m.ID})
	}
	for _, m := range e.Base.members {
		if _, stays := e.Next.index(m.ID); !stays {
			nodes = append(nodes, NodeChange{ID: m.ID})
		}
	}
	slices.SortFunc(nodes, func(a, b NodeChange) int { return a.ID.Compare(b.ID) })
	e.count(nodes, n)
	before := float64(max(1, e.Partitions()*len(e.Owners(0, n))))
	after := float64(max(1, e.Partitions()*len(e.NextOwners(0, n))))
	for i := range nodes {
		nodes[i].ShareBefore, nodes[i].ShareAfter = float64(nodes[i].Before)/before, float64(nodes[i].After)/after
		if m, ok := e.Next.Member(nodes[i].ID); ok {
			nodes[i].Wanted = after * float64(m.Weight) / float64(total)
		}
	}
	return nodes
}

// count fills in how many partitions each node has and gets. Nodes are all members, ascending.
func (e *Epoch) count(nodes []NodeChange, n int) {
	place := func(l *Layout) []int {
		at := make([]int, len(l.members))
		for i, m := range l.members {
			at[i], _ = slices.BinarySearchFunc(nodes, m.ID, func(c NodeChange, id NodeID) int { return c.ID.Compare(id) })
		}
		return at
	}
	inBase, inNext := place(e.Base), place(e.Next)
	take := min(n, e.Next.replicas)
	for p := range e.Partitions() {
		old := e.Base.row(e.inBase(p))[:min(n, e.Base.replicas)]
		for _, o := range old {
			nodes[inBase[o]].Before++
		}
		for _, o := range e.Next.row(p)[:take] {
			node := &nodes[inNext[o]]
			node.After++
			if !e.Moves(p, n) {
				continue
			}
			node.Pull++
			if !slices.ContainsFunc(old, func(b uint16) bool { return inBase[b] == inNext[o] }) {
				node.New++
			}
		}
	}
}

func (e *Epoch) moves(n int) (moves []PartitionMove) {
	for p := range e.Partitions() {
		if e.Moves(p, n) {
			moves = append(moves, PartitionMove{Partition: p, Sources: e.Owners(p, n), Pullers: e.NextOwners(p, n)})
		}
	}
	return moves
}

// spread finds the prefix of at most n owners that misses most zones.
func (l *Layout) spread(n int) ZoneSpread {
	n = min(n, l.replicas)
	worst := ZoneSpread{Prefix: n, Zones: min(n, len(l.zoneSize)), Want: min(n, len(l.zoneSize))}
	seen := make([]int, len(l.zoneSize)) // by zone: the last partition, from 1, that had it
	for p := range l.Partitions() {
		zones := 0
		for i, o := range l.row(p)[:n] {
			if z := l.zoneOf[o]; seen[z] != p+1 {
				seen[z] = p + 1
				zones++
			}
			want := min(i+1, len(l.zoneSize))
			if want-zones > worst.Want-worst.Zones {
				worst = ZoneSpread{Partition: p, Prefix: i + 1, Zones: zones, Want: want}
			}
		}
	}
	return worst
}
