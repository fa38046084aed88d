package model

import (
	"math/rand/v2"
	"strings"
)

// Result is what came of a run: the violation, empty if there was none, and what happened.
type Result struct {
	Problem string
	Stats   Stats
}

// Run runs the model with one seed for up to maxSteps steps and heals it.
func Run(r Rules, seed uint64, maxSteps int) Result {
	m, steps := plan(seed, maxSteps)
	return run(r, m, steps, nil)
}

func plan(seed uint64, maxSteps int) (mode, []step) {
	rng := rand.New(rand.NewPCG(seed, 7))
	m := newMode(rng)
	return m, newSteps(rng, 10+rng.IntN(maxSteps))
}

func run(r Rules, m mode, steps []step, trace func(string)) Result {
	w := newWorld(r, m)
	w.trace = trace
	for _, s := range steps {
		if w.step(s); w.problem != "" {
			return Result{w.problem, w.stats}
		}
	}
	w.heal()
	return Result{w.problem, w.stats}
}

// Explain runs a failing seed again, leaves out all steps that the failure does not need, and returns
// what happens in those that are left.
func Explain(r Rules, seed uint64, maxSteps int) []string {
	m, steps := plan(seed, maxSteps)
	steps = shrink(r, m, steps)
	var lines []string
	run(r, m, steps, func(s string) { lines = append(lines, s) })
	return lines
}

// shrink leaves out halves, quarters and so on down to single steps for as long as the same kind of
// violation stays.
func shrink(r Rules, m mode, steps []step) []step {
	kind := kindOf(run(r, m, steps, nil).Problem)
	if kind == "" {
		return steps
	}
	for again := true; again; {
		again = false
		for size := max(1, len(steps)/2); size >= 1; size /= 2 {
			for i := 0; i+size <= len(steps); {
				less := append(append([]step(nil), steps[:i]...), steps[i+size:]...)
				if kindOf(run(r, m, less, nil).Problem) == kind {
					steps, again = less, true
				} else {
					i++
				}
			}
		}
	}
	return steps
}

func kindOf(problem string) string {
	kind, _, _ := strings.Cut(problem, ":")
	return kind
}
