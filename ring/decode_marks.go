package ring

// tables reads the tables of an epoch and checks that none of them looks into the future: an owner
// set came in no later than it last changed, and nothing changed after the epoch itself.
func (d *decoder) tables(e *Epoch) {
	cells := e.Partitions() * MaxReplicas
	e.changed = d.marks("changed", cells, e.Number)
	e.origin = d.marks("origin", cells, e.Number)
	if e.Joint() {
		e.nextOrigin = d.marks("next origin", cells, e.Number)
	}
	if d.err != nil || e.changed == nil && e.origin == nil && e.nextOrigin == nil {
		return
	}
	for p := range e.Partitions() {
		for n := 1; n <= MaxReplicas; n++ {
			if e.origin.at(p, n) > e.changed.at(p, n) || e.nextOrigin.at(p, n) > e.changed.at(p, n) {
				d.fail("owners of partition %d at N=%d came in later than they changed", p, n)
				return
			}
		}
	}
}

// marks reads a table of this many epoch numbers, each at most bound. A table of zeros is nil.
func (d *decoder) marks(what string, cells int, bound uint64) marks {
	var table marks
	for len(table) < cells {
		run := d.uvarint(what, uint64(cells-len(table)))
		value := d.uvarint(what, bound)
		switch {
		case d.err != nil:
			return nil
		case run == 0:
			d.fail("%s: a run of no cells", what)
			return nil
		case len(table) > 0 && table[len(table)-1] == value:
			d.fail("%s: two runs of epoch %d side by side", what, value)
			return nil
		case int(run) == cells && value == 0:
			return nil
		case table == nil:
			table = make(marks, 0, cells)
		}
		for range run {
			table = append(table, value)
		}
	}
	return table
}
