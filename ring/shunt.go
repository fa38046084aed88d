package ring

// shunt puts node into column m where no trade could: it takes the cell of another node, which takes that of a third, and
// so on to one that fits a hole. It finds the shortest such path, and reports whether there is one. Only
// rows with several nodes of a zone need it.
func (pl *planner) shunt(m, node int) bool {
	type step struct{ row, by int }
	from := make(map[int]step) // by displaced node: where it was, and who takes that cell
	for queue := []int{node}; len(queue) > 0; queue = queue[1:] {
		next := queue[0]
		for p := range pl.partitions {
			there := pl.row(p)[m]
			if _, seen := from[there]; seen || there == node || !pl.fitsHead(p, m, next) {
				continue
			}
			if there != hole {
				from[there] = step{row: p, by: next}
				queue = append(queue, there)
				continue
			}
			pl.enter(p, m, next)
			for next != node {
				s := from[next]
				pl.enter(s.row, m, s.by)
				next = s.by
			}
			return true
		}
	}
	return false
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

// enter makes node the owner at column m of row p and takes out what clashes with it in later columns.
func (pl *planner) enter(p, m, node int) {
	var after [MaxReplicas]int
	row := after[:pl.replicas]
	copy(row, pl.row(p))
	row[m] = node
	pl.clear(row, m)
	pl.setRow(p, row)
}
