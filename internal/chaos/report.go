package chaos

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/starling-db/starling/internal/history"
)

// slowAfter is how long an operation may take before it counts as slow.
const slowAfter = time.Second

// touch is what became of the operations that overlapped something.
type touch struct {
	overlapped, refused, unknown, slow int
	slowest                            time.Duration
}

func (t *touch) add(op *history.Op) {
	t.overlapped++
	switch op.Outcome {
	case history.Refused:
		t.refused++
	case history.Unknown:
		t.unknown++
	}
	took := op.End - op.Start
	if took > slowAfter {
		t.slow++
	}
	t.slowest = max(t.slowest, took)
}

// markFaulted notes on each operation whether it overlapped a fault.
func markFaulted(ops []history.Op, faults []Injected) {
	for i := range ops {
		ops[i].Faulted = slices.ContainsFunc(faults, func(f Injected) bool { return overlaps(&ops[i], f) })
	}
}

func overlaps(op *history.Op, f Injected) bool { return op.Start <= f.until() && op.End >= f.Began }

// touched tells what each fault touched.
func touched(ops []history.Op, faults []Injected) []touch {
	all := make([]touch, len(faults))
	for i := range ops {
		for k, f := range faults {
			if overlaps(&ops[i], f) {
				all[k].add(&ops[i])
			}
		}
	}
	return all
}

// writeReport writes what was injected, what it touched, and how the operations went.
func writeReport(w io.Writer, ops []history.Op, faults []Injected) error {
	faults = slices.Clone(faults)
	slices.SortFunc(faults, func(a, b Injected) int { return cmp.Compare(a.Began, b.Began) })
	all := touched(ops, faults)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(format string, args ...any) { _, _ = fmt.Fprintf(table, format, args...) } // Flush tells of errors

	row("\nfault at\tlasted\tready after\toperations\trefused\tunknown\tslow\tslowest\t  what\n")
	for i, f := range faults {
		note := ""
		if f.Note != "" {
			note = " (" + f.Note + ")"
		}
		after := "-"
		if f.Ready > 0 {
			after = seconds(f.Ready - f.Healed)
		}
		row("%s\t%s\t%s\t%s\t  %v%s\n", seconds(f.Began), seconds(f.Healed-f.Began), after, all[i], f.Event, note)
	}

	row("\nkind\tfaults\toperations\trefused\tunknown\tslow\tslowest\t\n")
	byKind := make(map[Kind]touch)
	count := make(map[Kind]int)
	var kinds []Kind
	for i, f := range faults {
		if count[f.Kind]++; count[f.Kind] == 1 {
			kinds = append(kinds, f.Kind)
		}
		t := byKind[f.Kind]
		t.join(all[i])
		byKind[f.Kind] = t
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		row("%s\t%d\t%s\t\n", k, count[k], byKind[k])
	}
	row("(faults overlap: an operation counts for each; slow is above %v)\n", slowAfter)

	row("\noperation\tdone\trefused\tunknown\tunder faults\tp50\tp99\tslowest\t\n")
	for _, kind := range []history.Kind{history.Put, history.Delete, history.Read} {
		row("%s\n", countsOf(kind, ops))
	}
	return table.Flush()
}

func (t *touch) join(o touch) {
	t.overlapped += o.overlapped
	t.refused += o.refused
	t.unknown += o.unknown
	t.slow += o.slow
	t.slowest = max(t.slowest, o.slowest)
}

func (t touch) String() string {
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%s", t.overlapped, t.refused, t.unknown, t.slow, seconds(t.slowest))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// countsOf is the row of one kind of operations. Times are of those that were done.
func countsOf(kind history.Kind, ops []history.Op) string {
	var took []time.Duration
	count := make(map[history.Outcome]int)
	faulted := 0
	for i := range ops {
		op := &ops[i]
		if op.Kind != kind {
			continue
		}
		count[op.Outcome]++
		if op.Faulted {
			faulted++
		}
		if op.Outcome == history.Done {
			took = append(took, op.End-op.Start)
		}
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		if len(took) == 0 {
			return 0
		}
		return took[min(int(share*float64(len(took))), len(took)-1)].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%v\t%v\t%v\t", kind, count[history.Done], count[history.Refused], count[history.Unknown],
		faulted, at(0.5), at(0.99), at(1))
}
