package ring

// comparison compares the owner sets of two layouts, for all N at once.
type comparison struct {
	a, b  *Layout
	index []int // by member of a: its index in b, or one that b does not have
	odd   []int // scratch: those met on one list only
}

func compareLayouts(a, b *Layout) *comparison {
	d := &comparison{a: a, b: b, index: make([]int, len(a.members)), odd: make([]int, 0, 2*MaxReplicas)}
	for i, m := range a.members {
		at, ok := b.index(m.ID)
		if d.index[i] = at; !ok {
			d.index[i] = len(b.members) + i
		}
	}
	return d
}

// at says by N-1 whether partition pa of a and pb of b have different sets of first N owners. The
// order within a set means nothing: quorums have none.
func (d *comparison) at(pa, pb int) (differs [MaxReplicas]bool) {
	a, b := d.a.row(pa), d.b.row(pb)
	d.odd = d.odd[:0]
	for i := range MaxReplicas {
		if i < len(a) {
			d.toggle(d.index[a[i]])
		}
		if i < len(b) {
			d.toggle(int(b[i]))
		}
		differs[i] = len(d.odd) > 0
	}
	return differs
}

// toggle adds a member, or takes it away when the other list has brought it already.
func (d *comparison) toggle(member int) {
	for i, other := range d.odd {
		if other == member {
			d.odd[i] = d.odd[len(d.odd)-1]
			d.odd = d.odd[:len(d.odd)-1]
			return
		}
	}
	d.odd = append(d.odd, member)
}
