package ring

// slide looks for rows in which column m can be put right by moving nodes within the row: they
// become new owners of some prefixes at most, never of the whole row. Only owners that are too
// often where they are move or leave. The best kinds of move come first: two nodes change places; a
// needed node comes in and the one that it takes the place of steps back, for one further down to
// leave; a node steps forward and leaves a hole.
func (pl *planner) slide(m int) {
	if !pl.moving {
		return
	}
	needy := pl.needy(m)
	stepBack := func(p, m, x int) bool { return pl.stepBack(p, m, x, needy) }
	for _, move := range []func(p, m, x int) bool{pl.swap, stepBack, pl.stepForward} {
		for p := range pl.partitions {
			for x := m + 1; x < pl.replicas && pl.free(p, m); x++ {
				if move(p, m, x) {
					break
				}
			}
		}
	}
}

// spare reports whether node is in column m more often than it should be.
func (pl *planner) spare(m, node int) bool { return node != hole && *pl.needOf(m, node) < 0 }

// wanted reports whether node is in column m less often than it should be.
func (pl *planner) wanted(m, node int) bool { return node != hole && *pl.needOf(m, node) > 0 }

func (pl *planner) swap(p, m, x int) bool {
	first, later := pl.row(p)[m], pl.row(p)[x]
	if !pl.wanted(m, later) || !pl.spare(x, later) || !pl.wanted(x, first) {
		return false
	}
	return pl.replace(p, m, later, x, first)
}

func (pl *planner) stepBack(p, m, x int, needy []int) bool {
	first, later := pl.row(p)[m], pl.row(p)[x]
	if !pl.wanted(x, first) || !pl.spare(x, later) {
		return false
	}
	for _, node := range needy {
		if pl.wanted(m, node) && !pl.in(p, node) && pl.replace(p, m, node, x, first) {
			return true
		}
	}
	return false
}

func (pl *planner) stepForward(p, m, x int) bool {
	later := pl.row(p)[x]
	return pl.wanted(m, later) && pl.spare(x, later) && pl.replace(p, m, later, x, hole)
}

// replace puts nodes a and b into columns x and y of row p, if they fit there together.
func (pl *planner) replace(p, x, a, y, b int) bool {
	row := pl.row(p)
	wasX, wasY := row[x], row[y]
	row[x], row[y] = a, b
	fits := pl.fits(p, x, a) && pl.fits(p, y, b)
	row[x], row[y] = wasX, wasY
	if fits {
		pl.put(p, x, a)
		pl.put(p, y, b)
	}
	return fits
}
