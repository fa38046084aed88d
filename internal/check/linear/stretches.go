package linear

import (
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

// byContext cuts an item with siblings into stretches. Ranks are places.
func byContext(it *item.Item, r int) (out []*stretch) {
	seen := map[int]bool{}
	for p := range it.Writes {
		for _, q := range it.Writes[p].Saw {
			seen[q] = true
		}
	}
	tombstone := func(p int) bool { return it.Writes[p].Op.Kind == history.Delete }
	current := &stretch{r: r, initial: empty, tombstone: tombstone}
	from := time.Duration(-1)
	finish := func(to time.Duration) {
		if current == nil {
			return
		}
		current.reads(it, from, to)
		current.tighten()
		out, current = append(out, current), nil
	}
	covered := it.NewMarker()
	var apart []int // which no other has seen
	for p := range it.Writes {
		w := &it.Writes[p]
		// Tombstones alone don't show, so of a delete nobody knows that it never took effect.
		if !w.Effective() && !seen[p] && !tombstone(p) {
			continue
		}
		covered.Add(p)
		apart = slices.DeleteFunc(apart, func(q int) bool { _, ok := covered.By(q); return ok })
		ordered := len(apart) == 0
		apart = append(apart, p)
		switch {
		case !ordered:
			finish(w.Op.Start)
		case current != nil:
			current.write(it, p, p, w.Op.Start, it.Acknowledged(p, r))
		case it.Acknowledged(p, r):
			current, from = &stretch{r: r, initial: p, tombstone: tombstone}, w.Op.End
		}
	}
	finish(never)
	return out
}

func (s *stretch) write(it *item.Item, p, rank int, start time.Duration, acknowledged bool) {
	st := step{write: true, rank: rank, start: start, end: never, op: it.Writes[p].Op}
	if acknowledged {
		st.end = st.op.End
	}
	s.steps = append(s.steps, st)
}

// reads adds the reads between two times.
func (s *stretch) reads(it *item.Item, from, to time.Duration) {
	for _, op := range it.Reads {
		if !op.Strict || op.Quorum != s.r || op.Start <= from || op.End >= to {
			continue
		}
		places := it.Places(op.Versions)
		if len(places) != len(op.Versions) {
			continue // package phantom complains
		}
		st := step{rank: empty, mixed: len(places) > 1, start: op.Start, end: op.End, op: op}
		if len(places) > 0 {
			st.rank = slices.Max(places)
		}
		s.steps = append(s.steps, st)
	}
}

// byDot takes an item where the last write wins whole. Ranks are those of all dots that anybody was told.
func byDot(it *item.Item, r int) *stretch {
	var dots []causal.Dot
	for p := range it.Writes {
		dots = append(dots, it.Writes[p].Dots...)
	}
	slices.SortFunc(dots, causal.Dot.Compare)
	dots = slices.Compact(dots)
	rank := func(d causal.Dot) (int, bool) { return slices.BinarySearchFunc(dots, d, causal.Dot.Compare) }
	tombstones := make([]bool, len(dots))
	s := &stretch{r: r, initial: empty, tombstone: func(rank int) bool { return tombstones[rank] }}
	// From then on a tombstone may be there of which nobody knows the dot: reads that show nothing say nothing.
	hidden := never
	for p := range it.Writes {
		w := &it.Writes[p]
		for _, d := range w.Dots {
			at, _ := rank(d)
			tombstones[at] = w.Op.Kind == history.Delete
			s.write(it, p, at, w.Op.Start, d == w.Op.Dot && it.Acknowledged(p, r))
		}
		if w.Op.Kind == history.Delete && (len(w.Dots) == 0 || it.MayHaveTwin(p)) {
			hidden = min(hidden, w.Op.Start)
		}
	}
	for _, op := range it.Reads {
		if !op.Strict || op.Quorum != r || len(op.Versions) == 0 && op.End >= hidden {
			continue
		}
		st := step{rank: empty, mixed: len(op.Versions) > 1, start: op.Start, end: op.End, op: op}
		if len(op.Versions) > 0 {
			at, known := rank(op.Versions[0].Dot)
			if !known {
				continue // package phantom complains
			}
			st.rank = at
		}
		s.steps = append(s.steps, st)
	}
	s.tighten()
	return s
}
