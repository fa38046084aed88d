package item_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

// oracle answers by looking at all pairs and triples.
type oracle struct {
	it *item.Item
	// may[a][b]: a may cover b; must[a][b]: it certainly does.
	may, must relation
}

type relation [][]bool

func newRelation(n int, holds func(a, b int) bool) relation {
	r := make(relation, n)
	for a := range r {
		r[a] = make([]bool, n)
		for b := range r[a] {
			r[a][b] = holds(a, b)
		}
	}
	return r
}

// closed is the transitive closure.
func (r relation) closed() relation {
	for k := range r {
		for a := range r {
			for b := range r {
				r[a][b] = r[a][b] || r[a][k] && r[k][b]
			}
		}
	}
	return r
}

func (r relation) then(o relation) relation {
	return newRelation(len(r), func(a, b int) bool {
		for k := range r {
			if r[a][k] && o[k][b] {
				return true
			}
		}
		return false
	})
}

func newOracle(it *item.Item) *oracle {
	n := len(it.Writes)
	op := func(p int) *history.Op { return it.Writes[p].Op }
	saw := func(a, b int) bool { return slices.Contains(op(a).Saw, op(b).Write) }
	context := newRelation(n, func(a, b int) bool { return a == b || saw(a, b) }).closed()
	// A delete without a context covers what was begun before it was over; what it covers through another such delete
	// was begun before that as well.
	unseen := newRelation(n, func(a, b int) bool {
		return a == b || op(a).CoversAll && (op(a).Outcome == history.Unknown || op(b).Start <= op(a).End)
	})
	return &oracle{
		it: it, may: context.then(unseen).then(context),
		must: newRelation(n, func(a, b int) bool {
			return saw(a, b) || op(a).CoversAll && op(b).Outcome == history.Done && op(b).End < op(a).Start
		}).closed(),
	}
}

func (o *oracle) missing(from, wanted []int) (out []int) {
	for _, p := range wanted {
		if !slices.ContainsFunc(from, func(q int) bool { return o.may[q][p] }) {
			out = append(out, p)
		}
	}
	return out
}

func pick(rng *rand.Rand, n, most int) []int {
	all := rng.Perm(n)[:min(n, 1+rng.IntN(most))]
	slices.Sort(all)
	return all
}

func TestAgainstOracle(t *testing.T) {
	questions, yes := 0, 0
	for seed := range uint64(12) {
		for _, it := range item.All(story.Random(seed, history.Siblings, 300)) {
			if len(it.Writes) == 0 {
				continue
			}
			o := newOracle(it)
			rng := rand.New(rand.NewPCG(seed, 2))
			for range 200 {
				from, wanted := pick(rng, len(it.Writes), 3), pick(rng, len(it.Writes), 5)
				got, want := it.Missing(from, wanted), o.missing(from, wanted)
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %v: Missing(%v, %v) = %v, want %v", seed, it.Key, from, wanted, got, want)
				}
				questions++
				if len(got) > 0 {
					yes++
				}
				p, found := it.Overlap(from)
				wantFound := slices.ContainsFunc(from, func(a int) bool {
					return slices.ContainsFunc(from, func(b int) bool { return o.must[a][b] })
				})
				// What a delete read, it covers with its past: the walk stops at what it read itself.
				if found && !slices.ContainsFunc(from, func(a int) bool { return o.must[a][p] }) {
					t.Fatalf("seed %d, %v: Overlap(%v) = %d", seed, it.Key, from, p)
				}
				if !found && wantFound && !slices.ContainsFunc(it.Writes, func(w item.Write) bool { return w.Op.CoversAll }) {
					t.Fatalf("seed %d, %v: Overlap(%v) finds nothing", seed, it.Key, from)
				}
			}
			all := make([]int, len(it.Writes))
			for p := range all {
				all[p] = p
			}
			from := pick(rng, len(all), 3)
			if got, want := it.Missing(from, all), o.missing(from, all); !slices.Equal(got, want) {
				t.Fatalf("seed %d, %v: Missing(%v, all) = %v, want %v", seed, it.Key, from, got, want)
			}
			marked(t, it, o, rng)
		}
	}
	if yes < questions/10 || yes > questions*9/10 {
		t.Errorf("%d of %d questions had an answer: too one-sided", yes, questions)
	}
}

// marked compares what a Marker covers with the oracle.
func marked(t *testing.T, it *item.Item, o *oracle, rng *rand.Rand) {
	t.Helper()
	m, added := it.NewMarker(), pick(rng, len(it.Writes), 4)
	for _, p := range added {
		m.Add(p)
	}
	for p := range it.Writes {
		_, covered := m.By(p)
		if want := slices.ContainsFunc(added, func(a int) bool { return o.must[a][p] }); covered != want {
			t.Fatalf("%v: write %d, after %v were added: covered %t, want %t", it.Key, p, added, covered, want)
		}
	}
}
