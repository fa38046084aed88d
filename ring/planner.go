package ring

import "slices"

// hole marks a cell that has no owner yet.
const hole = -1

// planner fills a grid: a row for each partition, a column for each position of the owner lists. A
// cell holds a member index or hole.
//
// The quotas say how often each node appears in each column. Where there are at least as many zones
// as columns, or only one, they can always be met exactly: a grid is then a proper colouring, with
// one colour for each partition, of the edges of a bipartite multigraph between columns and zones
// (or nodes), and König's theorem gives one with as many colours as the largest degree, which is
// the number of partitions. chain.go is the step of the theorem's proof. In between the two the
// same steps meet them nearly always.
type planner struct {
	members    []Member
	zoneOf     []int // by member
	zoneSize   []int // by zone: its members
	partitions int
	replicas   int
	round      []int // by column: which round of distinct zones it is in, from 0

	moving   bool  // whether there is a previous layout
	previous []int // as cells: the previous layout in indexes of the new members, hole where gone
	before   []int // as need: how often a node was in a column of previous
	cells    []int // partitions rows of replicas
	need     []int // column*members + node: how often the node is yet to be put there, or < 0
}

func newPlanner(members []Member, in PlanInput) *planner {
	pl := &planner{
		members:    members,
		zoneOf:     make([]int, len(members)),
		partitions: in.Partitions,
		replicas:   in.Replicas,
		previous:   slices.Repeat([]int{hole}, in.Partitions*in.Replicas),
		before:     make([]int, in.Replicas*len(members)),
		cells:      slices.Repeat([]int{hole}, in.Partitions*in.Replicas),
	}
	zones := zoneNames(members)
	pl.zoneSize = make([]int, len(zones))
	for i, m := range members {
		pl.zoneOf[i], _ = slices.BinarySearch(zones, m.Zone)
		pl.zoneSize[pl.zoneOf[i]]++
	}
	pl.round = rounds(pl.zoneSize, in.Replicas)
	if in.Previous != nil {
		pl.moving = true
		pl.learn(in.Previous)
	}
	pl.need = pl.quotas()
	return pl
}

// rounds says for each position of a list which round it is in: round r has a place for each zone
// of more than r nodes.
func rounds(zoneSize []int, positions int) []int {
	round := make([]int, 0, positions)
	for r := 0; len(round) < positions; r++ {
		for _, size := range zoneSize {
			if size > r && len(round) < positions {
				round = append(round, r)
			}
		}
	}
	return round
}

// learn translates the previous layout. Positions beyond the new list's length are forgotten.
func (pl *planner) learn(prev *Layout) {
	index := make([]int, len(prev.members))
	for i, m := range prev.members {
		at, ok := slices.BinarySearchFunc(pl.members, m.ID, func(m Member, id NodeID) int { return m.ID.Compare(id) })
		if index[i] = at; !ok {
			index[i] = hole
		}
	}
	for p := range pl.partitions {
		for m, o := range prev.row(p)[:min(prev.replicas, pl.replicas)] {
			if i := index[o]; i != hole {
				pl.previous[p*pl.replicas+m] = i
				pl.before[m*len(pl.members)+i]++
			}
		}
	}
}

func (pl *planner) row(p int) []int { return pl.cells[p*pl.replicas : (p+1)*pl.replicas] }

func (pl *planner) needOf(m, node int) *int { return &pl.need[m*len(pl.members)+node] }

// put makes node the owner at a position, in place of whoever is there. Either may be hole.
func (pl *planner) put(p, m, node int) {
	cell := &pl.row(p)[m]
	if *cell != hole {
		*pl.needOf(m, *cell)++
	}
	if *cell = node; node != hole {
		*pl.needOf(m, node)--
	}
}

// clash reports whether node a in column x and node b in column y can't be in one row.
func (pl *planner) clash(x, a, y, b int) bool {
	if a == hole || b == hole {
		return false
	}
	return a == b || pl.round[x] == pl.round[y] && pl.zoneOf[a] == pl.zoneOf[b]
}

// fits reports whether node may take column m of row p, from whoever is there.
func (pl *planner) fits(p, m, node int) bool {
	for x, other := range pl.row(p) {
		if x != m && pl.clash(m, node, x, other) {
			return false
		}
	}
	return true
}

// keep takes over what the previous layout has, as far as zones, which may have changed, allow.
func (pl *planner) keep() {
	for p := range pl.partitions {
		for m := range pl.replicas {
			if node := pl.previous[p*pl.replicas+m]; node != hole && pl.fits(p, m, node) {
				pl.put(p, m, node)
			}
		}
	}
}

// rowCost is what it takes to make row p like this: the number of new owners, each of whom has to
// be sent the partition, in all prefixes of the row together. A hole counts as a new owner.
func (pl *planner) rowCost(p int, row []int) int {
	if !pl.moving {
		return 0
	}
	cost := 0
	for m, node := range row {
		was := pl.replicas
		if node != hole {
			was = pl.wasAt(p, node)
		}
		cost += max(0, was-m)
	}
	return cost
}

// wasAt is the column of row p that node had in the previous layout, or replicas where it had none.
func (pl *planner) wasAt(p, node int) int {
	for m, other := range pl.previous[p*pl.replicas : (p+1)*pl.replicas] {
		if other == node {
			return m
		}
	}
	return pl.replicas
}
