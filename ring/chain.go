package ring

import "math/bits"

// tradeEffort bounds how many trades are compared for one node, by the number of partitions: there
// are about as many nodes to place by trades as partitions, so the work stays within seconds at any
// size.
const tradeEffort = 1 << 20

// exchange puts node into one of the rows that have a hole in column m, if need be by trading cells
// between that row and another, column by column, which leaves every node's count in every column
// as it is. Columns beyond m give way: what clashes there is taken out, to be placed when its
// column is filled. Of the trades that it looks at it takes the one that moves least. It returns
// the rows that still have holes, and whether it could.
func (pl *planner) exchange(m, node int, holes []int) ([]int, bool) {
	effort := tradeEffort / pl.partitions
	partners := pl.partners(m, node, effort)
	var best *trade
	filled := 0
	start := int(scatter(uint64(m), uint64(node), uint64(len(holes))) % uint64(len(holes)))
	for i := 0; i < len(holes) && effort > 0; i++ {
		at := (start + i) % len(holes)
		p := holes[at]
		// The row as its own partner comes first: that is no trade at all.
		for j := -1; j < len(partners) && effort > 0; j++ {
			q := p
			if j >= 0 {
				q = partners[j]
			}
			if t, ok := pl.trade(p, q, m, node); ok && (best == nil || t.cost < best.cost) {
				best, filled = &t, at
			}
			if effort--; best != nil && best.cost <= 0 {
				effort = 0
			}
		}
	}
	if best == nil {
		return holes, false
	}
	pl.apply(best)
	holes[filled] = holes[len(holes)-1]
	return holes[:len(holes)-1], true
}

// partners lists up to most rows that are without node's item up to column m: without its zone where
// others of the round come before m, without node itself in any case.
func (pl *planner) partners(m, node, most int) []int {
	var rows []int
	first := m == 0 || pl.round[m-1] != pl.round[m]
	start := int(scatter(uint64(m), uint64(node)) % uint64(pl.partitions))
	for i := 0; i < pl.partitions && len(rows) < most; i++ {
		q := (start + i) % pl.partitions
		there := pl.row(q)[m]
		if there != node && (first || !pl.clash(m, node, m, there)) && pl.fitsHead(q, m, node) {
			rows = append(rows, q)
		}
	}
	return rows
}

// trade is two rows as they are to become, and by how much more then moves.
type trade struct {
	p, q int
	rowP [MaxReplicas]int
	rowQ [MaxReplicas]int
	cost int
}

// trade puts node in the hole at column m of row p and follows the alternating chain that starts
// there: what clashes with a cell that came into its row goes over to the other row. It fails when
// the chain comes back to column m, or to a cell that came over itself. While each row may hold an
// item (a zone, or a node) once only and q is without node's, the chain is the path of König's
// proof and can't fail. A row that is its own partner must take node without more ado.
func (pl *planner) trade(p, q, m, node int) (t trade, ok bool) {
	t.p, t.q = p, q
	a, b := t.rowP[:pl.replicas], t.rowQ[:pl.replicas]
	copy(a, pl.row(p))
	copy(b, pl.row(q))
	a[m] = node
	moved := uint(1) << m
	for todo := moved; todo != 0; {
		x := bits.TrailingZeros(todo)
		todo &^= 1 << x
		for y := range m + 1 {
			if y == x || !pl.clash(x, a[x], y, a[y]) && (x == m || !pl.clash(x, b[x], y, b[y])) {
				continue
			}
			if p == q || moved>>y&1 != 0 {
				return trade{}, false
			}
			a[y], b[y] = b[y], a[y]
			moved |= 1 << y
			todo |= 1 << y
		}
	}
	pl.clear(a, m)
	t.cost = pl.rowCost(p, a) - pl.rowCost(p, pl.row(p))
	if p != q {
		pl.clear(b, m)
		t.cost += pl.rowCost(q, b) - pl.rowCost(q, pl.row(q))
	}
	return t, true
}

// clear makes holes of the cells beyond column m that clash with one up to it.
func (pl *planner) clear(row []int, m int) {
	for y := m + 1; y < len(row); y++ {
		for x := range m + 1 {
			if pl.clash(x, row[x], y, row[y]) {
				row[y] = hole
			}
		}
	}
}

func (pl *planner) apply(t *trade) {
	pl.setRow(t.p, t.rowP[:pl.replicas])
	if t.p != t.q {
		pl.setRow(t.q, t.rowQ[:pl.replicas])
	}
}

func (pl *planner) setRow(p int, row []int) {
	for m, node := range row {
		pl.put(p, m, node)
	}
}
