package ring

// hand gives column m's free cells, and those whose owner is there too often, to the nodes that
// need to be there, one cell to each in turn, so that no node is left with the awkward rest. It
// moves nothing else, and leaves a node unsatisfied where that is not enough.
func (pl *planner) hand(m int) {
	open := pl.openCells(m)
	lost := pl.lostRows()
	needy := pl.needy(m)
	for turn := uint64(0); len(needy) > 0; turn++ {
		still := needy[:0]
		for _, node := range needy {
			p, ok := pl.openRow(m, node, lost[node], &open, turn)
			if !ok {
				continue
			}
			pl.put(p, m, node)
			if *pl.needOf(m, node) > 0 {
				still = append(still, node)
			}
		}
		needy = still
	}
}

// free reports whether column m of row p may be handed to another node.
func (pl *planner) free(p, m int) bool {
	node := pl.row(p)[m]
	return node == hole || *pl.needOf(m, node) < 0
}

func (pl *planner) openCells(m int) []int {
	var open []int
	for p := range pl.partitions {
		if pl.free(p, m) {
			open = append(open, p)
		}
	}
	return open
}

// needy lists the nodes that are to be put in column m.
func (pl *planner) needy(m int) []int {
	var needy []int
	for node := range pl.members {
		if *pl.needOf(m, node) > 0 {
			needy = append(needy, node)
		}
	}
	return needy
}

// lostRows lists by node the rows that it owned and is in no longer: to put it back there moves
// least.
func (pl *planner) lostRows() [][]int {
	lost := make([][]int, len(pl.members))
	for i, node := range pl.previous {
		if p := i / pl.replicas; node != hole && !pl.in(p, node) {
			lost[node] = append(lost[node], p)
		}
	}
	return lost
}

func (pl *planner) in(p, node int) bool {
	for _, other := range pl.row(p) {
		if other == node {
			return true
		}
	}
	return false
}

// openRow finds a row whose column m node can be handed: one that it was in, else any of open. It
// begins at a place that looks random, so that the partners of a node are spread over all others
// and a node that fails leaves its load to many. Rows that are open no longer are cut out of the
// list.
func (pl *planner) openRow(m, node int, lost []int, open *[]int, turn uint64) (p int, ok bool) {
	for _, p := range lost {
		if pl.free(p, m) && pl.fits(p, m, node) {
			return p, true
		}
	}
	rows := *open
	if len(rows) == 0 {
		return 0, false
	}
	at := int(scatter(uint64(m), uint64(node), turn) % uint64(len(rows)))
	for tried := 0; tried < len(rows); {
		if at >= len(rows) {
			at = 0
		}
		p := rows[at]
		switch {
		case !pl.free(p, m):
			rows[at] = rows[len(rows)-1]
			rows = rows[:len(rows)-1]
			*open = rows
		case pl.fits(p, m, node):
			return p, true
		default:
			at++
			tried++
		}
	}
	return 0, false
}

// scatter mixes numbers to one that looks random.
func scatter(numbers ...uint64) uint64 {
	var h uint64
	for _, n := range numbers {
		h = finish(h + n + 0x9e3779b97f4a7c15)
	}
	return h
}

// release frees cells of column m whose owners are there too often: what hand could not give away
// directly.
func (pl *planner) release(m int) {
	for p := range pl.partitions {
		if node := pl.row(p)[m]; node != hole && *pl.needOf(m, node) < 0 {
			pl.put(p, m, hole)
		}
	}
}

// fill gives column m its owners: first what needs no trade, then the rest. More may be needed than
// there are holes, when the column before could not be met exactly: what is left is then made up
// for later.
func (pl *planner) fill(m int) {
	pl.slide(m)
	pl.hand(m)
	pl.release(m)
	holes := pl.openCells(m)
	for _, node := range pl.needy(m) {
		for placed := true; placed && len(holes) > 0 && *pl.needOf(m, node) > 0; {
			if holes, placed = pl.exchange(m, node, holes); !placed {
				holes, placed = pl.shunt(m, node, holes)
			}
		}
	}
	pl.settle(m)
}

// settle fills the holes that no exchange could fill as the quotas say with any node that fits. The
// next column makes up for it, where there is one.
func (pl *planner) settle(m int) {
	for p := range pl.partitions {
		if pl.row(p)[m] != hole {
			continue
		}
		best := hole
		for node := range pl.members {
			if pl.fits(p, m, node) && (best == hole || pl.lacks(m, node) > pl.lacks(m, best)) {
				best = node
			}
		}
		pl.put(p, m, best)
	}
	if m+1 == pl.replicas {
		return
	}
	for node := range pl.members {
		rest := pl.needOf(m, node)
		*pl.needOf(m+1, node) += *rest
		*rest = 0
	}
}

// lacks is how many cells a node is short of in column m and the next.
func (pl *planner) lacks(m, node int) int {
	n := *pl.needOf(m, node)
	if m+1 < pl.replicas {
		n += *pl.needOf(m+1, node)
	}
	return n
}
