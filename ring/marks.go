package ring

// marks is a table of epoch numbers by partition and N, MaxReplicas for each partition. Nil is all
// zeros. Tables are never written once an epoch has them, so epochs share them.
type marks []uint64

func (m marks) at(p, n int) uint64 { return m.cell(p*MaxReplicas + min(max(n, 1), MaxReplicas) - 1) }

func (m marks) cell(i int) uint64 {
	if m == nil {
		return 0
	}
	return m[i]
}

// clone returns a copy of a table for this many partitions that may be written.
func (m marks) clone(partitions int) marks {
	c := make(marks, partitions*MaxReplicas)
	copy(c, m)
	return c
}

// split gives each of the parts that a partition is cut into what the whole has.
func (m marks) split(parts int) marks {
	if m == nil || parts == 1 {
		return m
	}
	s := make(marks, 0, len(m)*parts)
	for ; len(m) > 0; m = m[MaxReplicas:] {
		for range parts {
			s = append(s, m[:MaxReplicas]...)
		}
	}
	return s
}

// join undoes split. Of parts that differ it keeps the latest epoch: what has changed in one part
// has changed in the whole.
func (m marks) join(parts int) marks {
	if m == nil || parts == 1 {
		return m
	}
	j := make(marks, len(m)/parts)
	for i, v := range m {
		whole := &j[i/MaxReplicas/parts*MaxReplicas+i%MaxReplicas]
		*whole = max(*whole, v)
	}
	return j
}

// differ is the first of this many cells in which two tables differ, or -1.
func (m marks) differ(o marks, cells int) int {
	for i := range cells {
		if m.cell(i) != o.cell(i) {
			return i
		}
	}
	return -1
}
