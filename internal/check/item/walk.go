package item

import (
	"slices"
	"time"

	"github.com/starling-db/starling/internal/history"
)

// Missing returns those of the wanted writes that are neither among the given ones nor may be covered by them.
// It walks back no further than it must: for writes of about the same time that is a few steps.
func (it *Item) Missing(from, wanted []int) []int {
	if len(wanted) > few {
		return it.missingOfMany(from, wanted)
	}
	if len(wanted) <= fewer {
		return slices.DeleteFunc(slices.Clone(wanted), func(p int) bool { return it.mayCover(from, p) })
	}
	it.stamp++
	left := slices.DeleteFunc(slices.Clone(wanted), func(p int) bool { return slices.Contains(from, p) })
	stack := slices.Clone(from)
	for len(stack) > 0 && len(left) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if it.stamps[p] == it.stamp {
			continue
		}
		it.stamps[p] = it.stamp
		limit := it.limit(p)
		left = slices.DeleteFunc(left, func(q int) bool { return q == p || it.Writes[q].Op.Start <= limit })
		if len(left) == 0 {
			break
		}
		oldest := slices.Min(left)
		for _, q := range it.Writes[p].Saw {
			// What lies before the oldest of the wanted can cover it only as a delete that read while it was made.
			if q >= oldest || it.coversTo[q] >= it.Writes[oldest].Op.Start {
				stack = append(stack, q)
			}
		}
	}
	return left
}

const (
	// few is how many wanted writes are looked for in one walk.
	few = 64
	// fewer is how many are looked for one by one, remembering what did not lead to them: a sibling that stays is looked
	// for by every read.
	fewer = 4
)

// mayCover says that the target is among the given writes or may be covered by them.
func (it *Item) mayCover(from []int, target int) bool {
	if slices.Contains(from, target) {
		return true
	}
	it.stamp++
	var came []pair
	stack := slices.Clone(from)
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		at := pair{p, target}
		switch {
		case p == target || it.Writes[target].Op.Start <= it.limit(p):
			return true
		case it.stamps[p] == it.stamp || it.astray[at]:
			continue
		}
		it.stamps[p] = it.stamp
		came = append(came, at)
		for _, q := range it.Writes[p].Saw {
			// What lies before the target can cover it only as a delete that read while it was made.
			if q >= target || it.coversTo[q] >= it.Writes[target].Op.Start {
				stack = append(stack, q)
			}
		}
	}
	for _, c := range came {
		it.astray[c] = true
	}
	return false
}

// missingOfMany walks everything.
func (it *Item) missingOfMany(from, wanted []int) []int {
	m := it.NewImplied()
	for _, p := range from {
		m.Add(p)
	}
	return slices.DeleteFunc(slices.Clone(wanted), m.Has)
}

// Overlap finds one of the given writes that another of them certainly covers. What it has found out about pairs it
// remembers: siblings stay for many reads.
func (it *Item) Overlap(given []int) (p int, found bool) {
	for _, target := range given {
		var came []pair
		for _, p := range given {
			if p != target {
				came, found = it.leads(p, target, came)
			}
			if found {
				return target, true
			}
		}
		for _, c := range came {
			it.apart[c] = true
		}
	}
	return 0, false
}

// pair is a write, and one that it does not cover.
type pair struct{ write, target int }

// leads says that a write certainly covers the target, and adds where it came by.
func (it *Item) leads(from, target int, came []pair) ([]pair, bool) {
	it.stamp++
	stack := []int{from}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		at := pair{p, target}
		switch {
		case p == target || it.readBy(p, target):
			return came, true
		case p < target || it.stamps[p] == it.stamp || it.apart[at]:
			continue
		}
		it.stamps[p] = it.stamp
		came = append(came, at)
		stack = append(stack, it.Writes[p].Saw...)
	}
	return came, false
}

// readBy says that the server certainly read write q, or a successor, before it made p, a delete without a context.
func (it *Item) readBy(p, q int) bool {
	return it.reads(p) && it.Acknowledged(q, it.Bucket.N/2+1) && Before(it.Writes[q].Op, it.Writes[p].Op)
}

// reads says that the server read at a strict quorum before it made a write.
func (it *Item) reads(p int) bool { return it.Writes[p].Op.CoversAll && it.Writes[p].Op.Strict }

// Marker collects which writes are certainly covered by those that were added, and by which first. All additions
// together take as long as the item has writes and contexts.
type Marker struct {
	it *Item
	by []int // place of the coverer, -1
	// read is how many of the item's acknowledged writes, by End, deletes without a context have certainly read.
	read int
}

// NewMarker starts with nothing covered.
func (it *Item) NewMarker() *Marker {
	m := &Marker{it: it, by: make([]int, len(it.Writes))}
	for p := range m.by {
		m.by[p] = -1
	}
	return m
}

// By gives the write that was added first of those that cover p.
func (m *Marker) By(p int) (by int, covered bool) { return m.by[p], m.by[p] >= 0 }

// Add covers what a write covers, itself not included.
func (m *Marker) Add(e int) {
	stack := m.cover(nil, e, e)
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = m.cover(stack[:len(stack)-1], p, e)
	}
}

// cover marks what p covers directly, and pushes what is new.
func (m *Marker) cover(stack []int, p, e int) []int {
	mark := func(q int) {
		if m.by[q] < 0 {
			m.by[q] = e
			stack = append(stack, q)
		}
	}
	for _, q := range m.it.Writes[p].Saw {
		mark(q)
	}
	if m.it.reads(p) {
		for ; m.read < len(m.it.quorum) && m.it.readBy(p, m.it.quorum[m.read]); m.read++ {
			mark(m.it.quorum[m.read])
		}
	}
	return stack
}

// Implied collects what must be there, or may be replaced, wherever the writes that were added are there or may be
// replaced. All additions together take as long as the item has writes and contexts.
type Implied struct {
	it      *Item
	added   []bool
	covered []bool        // by the context of one that was added, or of one that it covers
	latest  time.Duration // deletes without a context may have read what was begun up to then
}

// NewImplied starts with nothing.
func (it *Item) NewImplied() *Implied {
	return &Implied{it: it, added: make([]bool, len(it.Writes)), covered: make([]bool, len(it.Writes)), latest: -1}
}

// Has says that p was added or is implied by a write that was.
func (m *Implied) Has(p int) bool {
	return m.added[p] || m.covered[p] || m.it.Writes[p].Op.Start <= m.latest
}

// ByOther says that another write that was added implies p.
func (m *Implied) ByOther(p int) bool {
	return m.covered[p] || m.it.Writes[p].Op.Start <= m.latest && m.it.limit(p) < m.latest
}

// Add adds a write, and all that it may cover.
func (m *Implied) Add(p int) {
	m.added[p] = true
	stack := []int{p}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		m.latest = max(m.latest, m.it.limit(p))
		for _, q := range m.it.Writes[p].Saw {
			if !m.covered[q] {
				m.covered[q] = true
				stack = append(stack, q)
			}
		}
	}
}

// Hidden tells, for each write, from when on a read that shows nothing may hide it: the earliest start of a delete that
// it is, or that may cover it. Reads show a tombstone beside a value only.
type Hidden struct {
	it   *Item
	from []*history.Op // nil: never
}

// NewHidden looks at all deletes.
func (it *Item) NewHidden() *Hidden {
	h := &Hidden{it: it, from: make([]*history.Op, len(it.Writes))}
	next := 0 // all before it that no delete hides yet are hidden by none without a context
	for d := range it.Writes {
		op := it.Writes[d].Op
		if op.Kind != history.Delete {
			continue
		}
		h.hide(d, op)
		for limit := it.limit(d); next < len(it.Writes) && it.Writes[next].Op.Start <= limit; next++ {
			h.hide(next, op)
		}
	}
	return h
}

// hide marks a write and what it covers by context. What a delete among these covers unseen it has marked itself.
func (h *Hidden) hide(p int, by *history.Op) {
	stack := []int{p}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if h.from[p] == nil {
			h.from[p] = by
			stack = append(stack, h.it.Writes[p].Saw...)
		}
	}
}

// At says that a read which ended then, and showed nothing, may have hidden the write.
func (h *Hidden) At(p int, read *history.Op) bool {
	return h.from[p] != nil && (read == nil || h.from[p].Start <= read.End)
}
