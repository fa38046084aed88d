package history

import (
	"fmt"
	"strings"
)

// Summary counts what a run consisted of.
type Summary struct {
	Ops     int
	Faulted int // operations during which a fault was in force
	Counts  map[Kind]map[Outcome]int
	Items   int
	// Acknowledged are writes that are done, those into memory included.
	Acknowledged int
}

// Summarize counts the operations of a run.
func Summarize(run *Run) Summary {
	s := Summary{Ops: len(run.Ops), Counts: map[Kind]map[Outcome]int{Put: {}, Delete: {}, Read: {}}}
	items := map[Key]bool{}
	for i := range run.Ops {
		op := &run.Ops[i]
		items[op.Key] = true
		s.Counts[op.Kind][op.Outcome]++
		if op.Faulted {
			s.Faulted++
		}
		if op.Kind != Read && op.Outcome == Done {
			s.Acknowledged++
		}
	}
	s.Items = len(items)
	return s
}

// FaultedShare is the part of the operations, from 0 to 1, that a fault overlapped.
func (s Summary) FaultedShare() float64 {
	if s.Ops == 0 {
		return 0
	}
	return float64(s.Faulted) / float64(s.Ops)
}

// Outcome counts the operations that ended so.
func (s Summary) Outcome(o Outcome) (n int) {
	for _, counts := range s.Counts {
		n += counts[o]
	}
	return n
}

// String tells it in a few lines.
func (s Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations on %d items, %.1f %% of them during a fault; %d writes acknowledged\n",
		s.Ops, s.Items, 100*s.FaultedShare(), s.Acknowledged)
	for _, k := range []Kind{Put, Delete, Read} {
		c := s.Counts[k]
		fmt.Fprintf(&b, "  %-6s %8d done %8d refused %8d unknown\n", k, c[Done], c[Refused], c[Unknown])
	}
	return b.String()
}
