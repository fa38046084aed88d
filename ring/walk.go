package ring

// walk makes the first size nodes of a partition's preference list.
func (l *Layout) walk(p, size int) []NodeID {
	w := newWalker(l, size)
	for _, m := range l.row(p) {
		w.met[m] = true
		w.take(m)
	}
	w.nextRound()
	for i := 1; i < len(l.heads) && len(w.list) < size; i++ {
		for _, m := range l.row((p + i) % len(l.heads)) {
			w.meet(m)
		}
	}
	// Members that own nothing are on no owner list: they come last, by id.
	for m := 0; m < len(l.members) && len(w.list) < size; m++ {
		w.meet(uint16(m))
	}
	return w.list[:size]
}

// walker puts nodes, in the order in which it meets them, into rounds in which every zone that has
// an unused node takes part once. A node whose zone has had its turn waits for the next round.
type walker struct {
	layout  *Layout
	met     []bool // by member
	used    []int  // by zone: its nodes on the list
	round   int    // the least used of the zones that have unused nodes
	open    int    // zones that have unused nodes and are used no more than round
	waiting []uint16
	list    []NodeID
}

func newWalker(l *Layout, size int) *walker {
	return &walker{
		layout: l,
		met:    make([]bool, len(l.members)),
		used:   make([]int, len(l.zoneSize)),
		list:   make([]NodeID, 0, max(size, l.replicas)),
	}
}

// meet lists a node that was not met before, or lets it wait.
func (w *walker) meet(m uint16) {
	if w.met[m] {
		return
	}
	w.met[m] = true
	if w.used[w.layout.zoneOf[m]] > w.round {
		w.waiting = append(w.waiting, m)
		return
	}
	w.take(m)
	for w.open == 0 && w.nextRound() {
		w.admit()
	}
}

// take lists a node and counts its zone's turn.
func (w *walker) take(m uint16) {
	z := w.layout.zoneOf[m]
	if w.used[z] == w.round {
		w.open--
	}
	w.used[z]++
	w.list = append(w.list, w.layout.members[m].ID)
}

// nextRound finds the zones whose turn it is, and reports whether there are any. It counts afresh,
// so it holds too after an owner list that was not planned in rounds.
func (w *walker) nextRound() bool {
	w.open = 0
	for z, used := range w.used {
		switch {
		case used == w.layout.zoneSize[z]:
		case w.open == 0 || used < w.round:
			w.round, w.open = used, 1
		case used == w.round:
			w.open++
		}
	}
	return w.open > 0
}

// admit lists the nodes that waited for the round that has begun, in the order in which they were
// met.
func (w *walker) admit() {
	still := w.waiting[:0]
	for _, m := range w.waiting {
		if w.used[w.layout.zoneOf[m]] > w.round {
			still = append(still, m)
			continue
		}
		w.take(m)
	}
	w.waiting = still
}
