package ring

import (
	"testing"
)

var worldQuorums = []Quorums{{3, 2, 2}, {2, 1, 2}, {2, 2, 1}, {3, 1, 3}, {3, 3, 1}, {1, 1, 1}, {5, 3, 3}, {3, 2, 3}, {3, 3, 3}}

// TestMovesLoseNothing: whatever moves, begins again or is cut, and however late nodes learn of it.
func TestMovesLoseNothing(t *testing.T) {
	commits, reads := 0, 0
	for seed := range uint64(300) {
		w := newWorld(seed, worldQuorums[seed%uint64(len(worldQuorums))], broken{})
		w.thin = true
		if w.run(2000); w.violation != "" {
			t.Fatalf("seed %d, %+v: %s", seed, w.q, w.violation)
		}
		commits += w.commits
		reads += w.reads
	}
	t.Logf("%d commits, %d reads", commits, reads)
	if commits < 1000 || reads < 5000 {
		t.Fatalf("%d commits and %d reads: the worlds have become too tame", commits, reads)
	}
}

// TestEveryMoveRuleIsNeeded: with any rule taken away a promise is broken before long. For two of
// them it is not a quorum that suffers but the copies beyond it.
func TestEveryMoveRuleIsNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		off  broken
		thin bool
		from uint64 // a seed that is known to show it, or the first
	}{
		"no fence":                            {off: broken{fence: true}},
		"owner sets compared, not changed":    {off: broken{changed: true}, from: 2334},
		"pulls are not fenced":                {off: broken{pullFence: true}},
		"only the old layout is read":         {off: broken{readOld: true}, from: 92},
		"only the new layout is read":         {off: broken{readNew: true}},
		"one source is enough":                {off: broken{oneSource: true}},
		"sources for what is acknowledged":    {off: broken{forAcked: true}},
		"owners that stay do not pull":        {off: broken{stayersSkip: true}},
		"commit without the old owners":       {off: broken{commitUnfenced: true}, from: 547},
		"commit with nobody complete":         {off: broken{commitIncomplete: true}},
		"an origin is used again":             {off: broken{reuseName: true}},
		"drop before all owners are complete": {off: broken{dropEarly: true}, thin: true},
		"sources of two layouts add up":       {off: broken{keepSources: true}, thin: true, from: 450},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := c.from; seed < c.from+3000; seed++ {
				w := newWorld(seed, worldQuorums[seed%uint64(len(worldQuorums))], c.off)
				w.thin = c.thin
				if w.run(2000); w.violation != "" {
					t.Logf("seed %d, %+v: %s", seed, w.q, w.violation)
					return
				}
			}
			t.Error("nothing is broken without it")
		})
	}
}
