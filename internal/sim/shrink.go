package sim

import (
	"fmt"
	"slices"
)

// Repeat says how often a plan has failed in how many runs. The plan of a seed is always the same, the order in which
// goroutines run is not.
type Repeat struct {
	Runs, Failed int
}

func (r Repeat) String() string { return fmt.Sprintf("%d of %d runs", r.Failed, r.Runs) }

// Repeatedly runs a plan several times.
func Repeatedly(p *Plan, times int, run func(*Plan) *Result) (r Repeat) {
	for range times {
		r.Runs++
		if len(run(p).Violations) > 0 {
			r.Failed++
		}
	}
	return r
}

// Shrink looks for fewer faults with which a plan still fails: it leaves out halves, then quarters and so on (delta
// debugging, Zeller and Hildebrandt 2002). Each schedule gets a few tries, as a plan need not fail each time, and there
// are at most budget runs in all. It returns the smallest plan that failed.
func Shrink(p *Plan, tries, budget int, run func(*Plan) *Result) *Plan {
	fails := func(faults []Fault) bool {
		shorter := *p
		shorter.Faults = faults
		for range tries {
			if budget == 0 {
				return false
			}
			budget--
			if len(run(&shorter).Violations) > 0 {
				return true
			}
		}
		return false
	}
	least := p.Faults
	for parts := 2; len(least) > 0 && budget > 0; {
		size := (len(least) + parts - 1) / parts
		smaller := false
		for from := 0; from < len(least); from += size {
			rest := slices.Concat(least[:from], least[min(from+size, len(least)):])
			if fails(rest) {
				least, smaller = rest, true
				break
			}
		}
		switch {
		case smaller:
			parts = max(parts-1, 2)
		case size == 1:
			budget = 0
		default:
			parts = min(2*parts, len(least))
		}
	}
	out := *p
	out.Faults = least
	return &out
}

// Only keeps the faults of these numbers, as FaultNumbers names them.
func (p *Plan) Only(numbers []int) {
	var kept []Fault
	for _, n := range numbers {
		if n >= 0 && n < len(p.Faults) {
			kept = append(kept, p.Faults[n])
		}
	}
	p.Faults = kept
}

// FaultNumbers are the places in the seed's own plan of the faults that are left in this one.
func (p *Plan) FaultNumbers() []int {
	var out []int
	whole := NewPlan(p.Seed).Faults
	for _, f := range p.Faults {
		out = append(out, slices.IndexFunc(whole, func(w Fault) bool { return w.String() == f.String() }))
	}
	return out
}
