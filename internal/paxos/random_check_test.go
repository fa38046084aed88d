package paxos

import (
	"reflect"
	"slices"
	"testing"
)

// do is a whole run: trouble, then calm, and then one proposer alone must decide, in the instance that it knows and at
// once in the next, whatever trouble has left behind.
func (w *run) do() {
	for range runSteps {
		if w.step(); w.problem != "" {
			return
		}
	}
	w.calm()
	alone := w.rng.IntN(runProposers)
	for i := range w.nodes {
		if i != alone {
			w.nodes[i].p = nil
		}
		w.teach(i, alone)
	}
	w.calm()
	for range 2 {
		before := w.nodes[alone].known
		for attempt := 0; w.nodes[alone].known == before && w.problem == ""; attempt++ {
			if attempt == 3 { // one that is taught about, one that learns of ballots, and one to decide
				w.fail("node %d is alone and does not decide instance %d", alone, before+1)
			}
			w.propose(alone)
			w.calm()
		}
	}
	for i := range w.nodes {
		if n := &w.nodes[i]; w.problem == "" && n.known != w.nodes[alone].known {
			w.fail("node %d knows of %d instances, node %d of %d", i, n.known, alone, w.nodes[alone].known)
		}
	}
}

// TestRandom: 100,000 steps and more. The counts show that the runs did what they are about.
func TestRandom(t *testing.T) {
	t.Parallel()
	var sum runStats
	instances := 0
	for seed := range *seedsFlag {
		w := newRun(t, allRules(), seed)
		if w.do(); w.problem != "" {
			t.Fatalf("seed %d: %s", seed, w.problem)
		}
		instances += len(w.chosen)
		for v, i := reflect.ValueOf(&sum).Elem(), 0; i < v.NumField(); i++ {
			v.Field(i).SetInt(v.Field(i).Int() + reflect.ValueOf(w.stats).Field(i).Int())
		}
	}
	t.Logf("%d steps, %d instances: %+v", *seedsFlag*runSteps, instances, sum)
	for v, i := reflect.ValueOf(sum), 0; i < v.NumField(); i++ {
		if v.Field(i).Int() == 0 && *seedsFlag >= enough {
			t.Errorf("no %s: the runs prove nothing about it", v.Type().Field(i).Name)
		}
	}
}

// rare are the rules that random runs break too seldom: they are left to TestExhaustiveWeakened.
var rare = []string{"PromiseDurable", "OwnBallotOnce", "SelfFirst"}

// TestRandomWeakened takes the other rules away one at a time.
func TestRandomWeakened(t *testing.T) {
	for _, name := range ruleNames() {
		if slices.Contains(rare, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(500) {
				w := newRun(t, without(name), seed)
				if w.do(); w.problem != "" {
					t.Logf("seed %d: %s", seed, w.problem)
					return
				}
			}
			t.Error("nothing went wrong")
		})
	}
}
