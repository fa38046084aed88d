package model

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

var (
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds to run; 0: as many as the test wants")
	stepsFlag = flag.Int("steps", 150, "at most how many steps a run has")
	ruleFlag  = flag.String("rule", "", "the one rule to take away in TestWeakened; empty: each in turn")
)

// search runs seeds until one finds a violation, and returns it.
func search(r Rules, from, seeds uint64, steps int) (seed uint64, res Result, all Stats) {
	for seed = from; seed < from+seeds; seed++ {
		res = Run(r, seed, steps)
		all.add(res.Stats)
		if res.Problem != "" {
			return seed, res, all
		}
	}
	return seed, Result{}, all
}

func seedsOr(n uint64) uint64 {
	if *seedsFlag > 0 {
		return *seedsFlag
	}
	return n
}

func explain(r Rules, seed uint64, steps int) string {
	return strings.Join(Explain(r, seed, steps), "\n")
}

// TestSafe runs the model with all rules. The counts show that the runs did what they are about.
func TestSafe(t *testing.T) {
	t.Parallel()
	seed, res, all := search(AllRules(), 0, seedsOr(10_000), *stepsFlag)
	if res.Problem != "" {
		t.Fatalf("seed %d: %s\n%s", seed, res.Problem, explain(AllRules(), seed, *stepsFlag))
	}
	t.Logf("%d seeds: %+v", seedsOr(10_000), all)
	for name, n := range map[string]int{
		"acknowledged writes": all.Acked, "rounds": all.Rounds, "void rounds": all.Voided, "purged tombstones": all.Tombstones,
		"purged pasts": all.Pasts, "rebuilt owners": all.Rebuilt, "refused writes": all.Refused, "unnoticed put-backs": all.Unnoticed, "lost items": all.LostItems,
	} {
		if n == 0 {
			t.Errorf("no %s: the model proves nothing about them", name)
		}
	}
}

// weakenings says for each rule that is caught from which seed on to look, and how many seeds to try. The
// seeds are only there to save time: any range will do that is long enough.
var weakenings = []struct {
	rule     string
	from, of uint64
}{
	{"FreshActors", 29_200, 100},
	{"ActorDiesWithHint", 3500, 500},
	{"RememberRequestIDs", 0, 200},
	{"MintWindow", 12_400, 100},
	{"StandInCounts", 0, 200},
	{"WholeStates", 0, 200},
	{"HandoffExact", 0, 2000},
	{"FallbackClaimsNothing", 59_300, 100},
	{"ClaimsInMerges", 0, 200},
	{"FloorFromData", 0, 2000},
	{"FloorAfterData", 0, 1000},
	{"RefuseBelowFloor", 0, 1000},
	{"NoticePutBack", 0, 1000},
	{"RebuildingUnread", 0, 1000},
	{"RebuildFromAll", 12_900, 100},
	{"AllAttest", 0, 2000},
	{"HintsBlockAttest", 0, 200},
	{"AttestLifts", 0, 200},
	{"AttestRefuses", 35_800, 100},
	{"LowestFloorPurges", 0, 3000},
	{"AnyFloorAttests", 0, 2000},
	{"ExchangeAfterAttest", 51_400, 100},
	{"AllPairs", 67_400, 100},
	{"WholeExchange", 0, 2000},
	{"RaiseByParticipant", 35_200, 100},
	{"StartHearsAll", 0, 3000},
	{"StartLifts", 0, 3000},
	{"PurgeByWatermark", 0, 200},
	{"PurgeBelowPrevious", 8000, 100},
	{"PurgeWholePast", 0, 200},
	{"FloorRefutes", 0, 200},
}

// told are the rules whose weakening random steps come upon too seldom: story_test.go has them.
var told = []string{"RebuildingDenies", "VoidOnRestart", "PurgeMargin", "AttestSurvives"}

// redundant are the rules that the others make up for.
var redundant = map[string]string{
	"RebuildingAbstains": `a round ends only after every pair of owners was exchanged whole, since the last attestation
and by the processes that attested. That is just what ends an owner's rebuilding: when the round ends it rebuilds no
more. And the purge level does not rise in such a round, for the lowest floor attested with is 0. The rule is still
good to have: it spares rounds that wait, and without AllPairs or LowestFloorPurges it is needed.`,
	"RebuildAtOneLevel": `no round ends while an owner rebuilds, and the purge levels of those that ended before it has heard of
when it started. The product hears only from those that it can reach then, so it looks again at the end.`,
}

// TestWeakened takes the rules away one at a time.
func TestWeakened(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, k := range weakenings {
		known[k.rule] = true
		if *ruleFlag != "" && *ruleFlag != k.rule {
			continue
		}
		t.Run(k.rule, func(t *testing.T) {
			t.Parallel()
			r, err := Without(k.rule)
			if err != nil {
				t.Fatal(err)
			}
			seed, res, _ := search(r, k.from, seedsOr(k.of), *stepsFlag)
			if res.Problem == "" {
				t.Fatalf("nothing went wrong in %d seeds from %d on", seedsOr(k.of), k.from)
			}
			t.Logf("seed %d: %s", seed, res.Problem)
			if *ruleFlag != "" {
				t.Log(explain(r, seed, *stepsFlag))
			}
		})
	}
	for _, name := range RuleNames() {
		if !known[name] && redundant[name] == "" && !slices.Contains(told, name) {
			t.Errorf("rule %s is neither tried nor told nor said to be redundant", name)
		}
	}
}
