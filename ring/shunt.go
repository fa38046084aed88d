package ring

// shunt puts node into column m where no trade could: it takes the cell of another node, which
// takes that of a third, and so on to one that fits a hole. It finds the shortest such path. Only
// rows with several nodes of a zone need it. It returns the rows that still have holes, and whether
// it could.
func (pl *planner) shunt(m, node int, holes []int) ([]int, bool) {
	from := make([]step, len(pl.members))
	for i := range from {
		from[i].row = hole
	}
	reached := 1
	for queue := []int{node}; len(queue) > 0; queue = queue[1:] {
		next := queue[0]
		for i, p := range holes {
			if pl.fitsHead(p, m, next) {
				pl.pull(m, node, next, p, from)
				holes[i] = holes[len(holes)-1]
				return holes[:len(holes)-1], true
			}
		}
		// In a small cluster a few rows lead to all nodes: the rest need not be looked at.
		for p := 0; p < pl.partitions && reached < len(pl.members); p++ {
			there := pl.row(p)[m]
			if there != hole && there != node && from[there].row == hole && pl.fitsHead(p, m, next) {
				from[there] = step{row: p, by: next}
				queue = append(queue, there)
				reached++
			}
		}
	}
	return holes, false
}

// step says of a node on a path of shunt in which row it gives up its cell, and to whom.
type step struct{ row, by int }

// pull moves the nodes of a path: last into row p, and each one before it into the cell of the
// next.
func (pl *planner) pull(m, node, last, p int, from []step) {
	pl.enter(p, m, last)
	for last != node {
		s := from[last]
		pl.enter(s.row, m, s.by)
		last = s.by
	}
}

// fitsHead is fits for the columns up to m alone.
func (pl *planner) fitsHead(p, m, node int) bool {
	for x, other := range pl.row(p)[:m] {
		if pl.clash(m, node, x, other) {
			return false
		}
	}
	return true
}

// enter makes node the owner at column m of row p and takes out what clashes with it in later
// columns.
func (pl *planner) enter(p, m, node int) {
	var after [MaxReplicas]int
	row := after[:pl.replicas]
	copy(row, pl.row(p))
	row[m] = node
	pl.clear(row, m)
	pl.setRow(p, row)
}
