package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

var (
	seeds  = flag.Int("seeds", defaultSeeds, "how many seeds TestSeeds runs")
	first  = flag.Uint64("first", 1, "the first seed")
	faults = flag.String("faults", "", "comma-separated numbers of the only faults to keep of a seed's plan; \"none\" for none")
	live   = flag.Bool("live", false, "write the trace to the standard error as it grows")
	traces = flag.String("traces", "", "directory for the traces of all seeds; those that fail leave one in any case")
	shrink = flag.Int("shrink", 30, "how many runs may be spent on shrinking the schedule of a seed that fails")
	repair = flag.Bool("repair", true, "let owners compare what they hold, in those seeds whose plan says so; what a planted bug left undone would be mended")
	until  = flag.Bool("until", false, "stop at the first seed that fails and say which it is, for bugs that are planted")
)

// TestSeeds runs whole clusters under faults, one for each seed, and prints what all of them together went through.
func TestSeeds(t *testing.T) {
	if *live {
		Live = os.Stderr
	}
	if *until {
		untilCaught(t)
		return
	}
	var mu sync.Mutex
	var all Stats
	t.Run("seed", func(t *testing.T) {
		for i := range *seeds {
			seed := *first + uint64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				r := simulate(t, plan(t, seed))
				mu.Lock()
				all.Add(r.Stats)
				mu.Unlock()
				report(t, r)
			})
		}
	})
	t.Logf("%v", all)
	if all.Runs >= 200 {
		checkCoverage(t, all)
	}
}

// checkCoverage holds a long run against what it is meant to go through.
func checkCoverage(t *testing.T, s Stats) {
	if share := float64(s.Faulted) / float64(s.Ops); share < 0.2 {
		t.Errorf("%.0f %% of the operations overlap a fault: at least 20 %% should", 100*share)
	}
	for _, o := range outcomes {
		if s.Outcomes[o] < 100 {
			t.Errorf("%d operations are %s: at least 100 should be", s.Outcomes[o], o)
		}
	}
	for _, kind := range kinds {
		if s.Faults[kind] == 0 {
			t.Errorf("no fault of the kind %s", kind)
		}
	}
}

// plan is the plan of a seed, with the faults that the flags leave in it.
func plan(t *testing.T, seed uint64) *Plan {
	p := NewPlan(seed)
	if !*repair {
		p.WithoutRepair()
	}
	switch *faults {
	case "":
	case "none":
		p.Faults = nil
	default:
		var numbers []int
		for text := range strings.SplitSeq(*faults, ",") {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("-faults: %v", err)
			}
			numbers = append(numbers, n)
		}
		p.Only(numbers)
	}
	return p
}

// simulate runs a plan in a bubble of its own.
func simulate(t *testing.T, p *Plan) (r *Result) {
	synctest.Test(t, func(*testing.T) { r = Run(p) })
	return r
}

// report fails the test if the run has found anything, and looks for the least that it takes.
func report(t *testing.T, r *Result) {
	seed := r.Plan.Seed
	if *traces != "" || len(r.Violations) > 0 {
		name := filepath.Join(traceDir(t), fmt.Sprintf("seed-%d.trace", seed))
		if err := os.WriteFile(name, []byte(r.Trace()), 0o600); err != nil {
			t.Error(err)
		}
		t.Logf("the trace of seed %d is in %s", seed, name)
	}
	if len(r.Violations) == 0 {
		return
	}
	for i, v := range r.Violations {
		if i == 20 {
			t.Errorf("and %d more", len(r.Violations)-i)
			break
		}
		t.Errorf("%v", v)
	}
	again := func(p *Plan) *Result { return simulate(t, p) }
	command := fmt.Sprintf("go test -run TestSeeds ./internal/sim -args -seeds 1 -first %d", seed)
	if !*repair {
		command += " -repair=false"
	}
	if *faults == "" && *shrink > 0 {
		t.Logf("seed %d fails in %v of its plan", seed, Repeatedly(r.Plan, 5, again))
		least := Shrink(r.Plan, 3, *shrink, again)
		t.Logf("it takes %d of the %d faults:", len(least.Faults), len(r.Plan.Faults))
		for _, f := range least.Faults {
			t.Logf("  %v", f)
		}
		command += " -faults " + numbersText(least.FaultNumbers())
	}
	t.Logf("to repeat it: %s", command)
}

func numbersText(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ","), "[]")
}

// traceDir is where traces go: one that stays when the test is over.
func traceDir(t *testing.T) string {
	dir := *traces
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "starling-sim")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// untilCaught runs seed after seed, two at a time, until one finds something. It says which is the first of those.
func untilCaught(t *testing.T) {
	var mu sync.Mutex
	next := *first
	var caught *Result
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				over := caught != nil || seed >= *first+uint64(*seeds)
				mu.Unlock()
				if over {
					return
				}
				r := simulate(t, plan(t, seed))
				mu.Lock()
				if len(r.Violations) > 0 && (caught == nil || seed < caught.Plan.Seed) {
					caught = r
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if caught == nil {
		fmt.Printf("not caught: seeds %d to %d\n", *first, *first+uint64(*seeds)-1)
		return
	}
	fmt.Printf("caught: seed %d: %v\n", caught.Plan.Seed, caught.Violations[0])
}
