package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// history is a sequence of epochs from the first on.
type history []*Epoch

func (h history) last() *Epoch { return h[len(h)-1] }

// end commits or aborts the move under way.
func (h *history) end(commit bool) {
	e, err := h.last().Abort()
	if commit {
		e, err = h.last().Commit()
	}
	if err != nil {
		panic(err) // the history is ours
	}
	*h = append(*h, e)
}

func (h *history) begin(next *Layout) {
	e, err := h.last().Begin(next)
	if err != nil {
		panic(err) // the layout is ours
	}
	*h = append(*h, e)
}

// randomHistory makes epochs of moves among layouts of one set of nodes, begun, committed and
// aborted at random.
func randomHistory(r *rand.Rand, epochs int) history {
	members := testMembers(r, 7, 2)
	version := uint64(0)
	layout := func() *Layout {
		version++
		l, err := Plan(PlanInput{Members: members[:2+r.IntN(6)], Partitions: 4, Replicas: 1 + r.IntN(2), Version: version})
		if err != nil {
			panic(err) // the input is ours
		}
		if r.IntN(2) == 0 {
			return l
		}
		owners := slices.Clone(l.owners)
		for range 2 {
			p := r.IntN(4)
			slices.Reverse(owners[p*l.replicas : (p+1)*l.replicas]) // the same set at the list's full length
		}
		return newLayout(version, l.members, 4, l.replicas, owners)
	}
	h := history{Genesis(layout())}
	for len(h) < epochs {
		if h.last().Joint() {
			h.end(r.IntN(2) == 0)
		} else {
			h.begin(layout())
		}
	}
	return h
}

// active returns what requests at an epoch deal with: the owner sets of both layouts at a token, in
// a form to compare.
func active(e *Epoch, at Token, n int) [2]string {
	form := func(l *Layout) string {
		owners := slices.Clone(l.Owners(l.PartitionOf(at), n))
		slices.SortFunc(owners, NodeID.Compare)
		s := ""
		for _, id := range owners {
			s += string(id[:])
		}
		return s
	}
	sets := [2]string{form(e.Base), form(e.Base)}
	if e.Joint() {
		sets[1] = form(e.Next)
	}
	return sets
}

// TestFenceAgainstOracle compares verdicts with a replica that remembers every epoch's owner sets.
func TestFenceAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 1))
	for range 40 {
		h := randomHistory(r, 10)
		for at, e := range h {
			for request := range uint64(len(h) + 2) {
				for p := range 4 {
					for n := 1; n <= MaxReplicas; n++ {
						want := Serve
						for i := int(request) + 1; i <= at; i++ {
							if active(h[i], Token(p)<<62, n) != active(h[i-1], Token(p)<<62, n) {
								want = Stale
							}
						}
						if request > uint64(at) {
							want = Learn
						}
						if got := e.Fence(request, p, n); got != want {
							t.Fatalf("partition %d, N=%d, replica at %d, request at %d: %v, want %v", p, n, at, request, got, want)
						}
					}
				}
			}
		}
	}
}

// TestOriginsNameOwnerSets: one origin is one owner set, and one that came back has another origin.
func TestOriginsNameOwnerSets(t *testing.T) {
	r := rand.New(rand.NewPCG(42, 1))
	for range 40 {
		h := randomHistory(r, 10)
		for p := range 4 {
			for n := 1; n <= MaxReplicas; n++ {
				sets := make(map[uint64]string)
				for i, e := range h {
					set := active(e, Token(p)<<62, n)
					for k, origin := range []uint64{e.Origin(p, n), e.NextOrigin(p, n)} {
						if known, ok := sets[origin]; ok && known != set[k] {
							t.Fatalf("epoch %d: origin %d names two owner sets", i, origin)
						}
						sets[origin] = set[k]
					}
					if (e.Origin(p, n) == e.NextOrigin(p, n)) != (set[0] == set[1]) {
						t.Fatalf("epoch %d: origins %d and %d of sets %v", i, e.Origin(p, n), e.NextOrigin(p, n), set)
					}
				}
			}
		}
	}
}

func TestGenesis(t *testing.T) {
	l := mustPlan(t, PlanInput{Members: testMembers(rand.New(rand.NewPCG(43, 1)), 5, 1), Partitions: 8, Replicas: 5})
	e := Genesis(l)
	if e.Number != 0 || e.Joint() || e.Base != l {
		t.Errorf("got %+v", e)
	}
	for n := -1; n <= MaxReplicas+1; n++ {
		if e.Changed(7, n) != 0 || e.Origin(7, n) != 0 || e.NextOrigin(7, n) != 0 {
			t.Errorf("N=%d: something changed before the first epoch", n)
		}
		if got := e.Fence(0, 7, n); got != Serve {
			t.Errorf("N=%d: %v", n, got)
		}
		if got := e.Fence(1, 7, n); got != Learn {
			t.Errorf("N=%d: %v", n, got)
		}
	}
}

func TestVerdictString(t *testing.T) {
	for v, want := range map[Verdict]string{Serve: "serve", Learn: "learn", Stale: "stale", 3: "unknown"} {
		if got := v.String(); got != want {
			t.Errorf("%d: %q, want %q", v, got, want)
		}
	}
}
