package ring

// exchange puts node into a hole of column m by trading cells between two rows, column by column, which
// leaves every node's count in every column as it is. It reports whether it could. Of the trades that would do
// it takes one that moves least.
func (pl *planner) exchange(m, node int) bool {
	best, least := trade{}, -1
	for p := range pl.partitions {
		if pl.row(p)[m] != hole {
			continue
		}
		start := int(scatter(uint64(m), uint64(node), uint64(p)) % uint64(pl.partitions))
		for i := range pl.partitions {
			q := (start + i) % pl.partitions
			if q == p || !pl.fits(q, m, node) {
				continue
			}
			t, ok := pl.trade(p, q, m, node)
			if !ok {
				continue
			}
			if c := pl.tradeCost(t); least < 0 || c < least {
				best, least = t, c
			}
			if least <= 0 {
				break
			}
		}
	}
	if least < 0 {
		return false
	}
	pl.apply(best)
	return true
}

// trade is an exchange of the cells in columns, a bit each, between rows p and q, after which node can have
// column m of row p.
type trade struct {
	p, q, m, node int
	columns       uint
}

// trade follows the alternating chain that starts with node in the hole at column m of row p: whatever clashes with what
// came into its row goes to the other row. It fails when the chain comes back to column m or to a cell
// that has moved already. When each row may hold an item (a zone, or a node) once only and q is without
// node's, the chain is the path of König's proof and can't fail.
func (pl *planner) trade(p, q, m, node int) (trade, bool) {
	t := trade{p: p, q: q, m: m, node: node}
	rowP, rowQ := pl.row(p), pl.row(q)
	type arrival struct{ row, column, node int }
	arrivals := make([]arrival, 1, 2*MaxReplicas)
	arrivals[0] = arrival{p, m, node}
	for len(arrivals) > 0 {
		a := arrivals[len(arrivals)-1]
		arrivals = arrivals[:len(arrivals)-1]
		for x := range pl.replicas {
			if x == a.column {
				continue
			}
			inP, inQ := rowP[x], rowQ[x]
			moved := t.columns>>x&1 != 0
			if moved {
				inP, inQ = inQ, inP
			}
			if x == m {
				inP, moved = node, true
			}
			there := inP
			if a.row == q {
				there = inQ
			}
			if !pl.clash(a.column, a.node, x, there) {
				continue
			}
			if moved {
				return trade{}, false
			}
			t.columns |= 1 << x
			arrivals = append(arrivals, arrival{p, x, inQ}, arrival{q, x, inP})
		}
	}
	return t, true
}

// tradeCost is how much more moves with a trade than without it, node's own move included.
func (pl *planner) tradeCost(t trade) int {
	cost := pl.cost(t.p, t.m, t.node)
	rowP, rowQ := pl.row(t.p), pl.row(t.q)
	for x := range pl.replicas {
		if t.columns>>x&1 != 0 {
			cost += pl.cost(t.p, x, rowQ[x]) + pl.cost(t.q, x, rowP[x])
			cost -= pl.cost(t.p, x, rowP[x]) + pl.cost(t.q, x, rowQ[x])
		}
	}
	return cost
}

func (pl *planner) apply(t trade) {
	rowP, rowQ := pl.row(t.p), pl.row(t.q)
	for x := range pl.replicas {
		if t.columns>>x&1 != 0 {
			rowP[x], rowQ[x] = rowQ[x], rowP[x]
		}
	}
	pl.put(t.p, t.m, t.node)
}
