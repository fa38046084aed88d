package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// history is a sequence of epochs as moves make them, one step at a time: marks of each epoch
// follow from those of the epoch before.
type history []*Epoch

func (h history) last() *Epoch { return h[len(h)-1] }

// follow appends an epoch on base and next whose marks start as those of the epoch before.
func (h *history) follow(base, next *Layout) *Epoch {
	last := h.last()
	e := &Epoch{Number: last.Number + 1, Base: base, Next: next}
	cells := base.Partitions() * MaxReplicas
	e.changed, e.origin = make(marks, cells), make(marks, cells)
	if next != nil {
		e.nextOrigin = make(marks, cells)
	}
	for p := range base.Partitions() {
		for n := 1; n <= MaxReplicas; n++ {
			e.changed[p*MaxReplicas+n-1] = last.Changed(p, n)
			e.origin[p*MaxReplicas+n-1] = last.Origin(p, n)
		}
	}
	*h = append(*h, e)
	return e
}

func (h *history) begin(next *Layout) {
	e := h.follow(h.last().Base, next)
	for p := range next.Partitions() {
		for n := 1; n <= MaxReplicas; n++ {
			i := p*MaxReplicas + n - 1
			e.nextOrigin[i] = e.origin[i]
			if !sameOwners(e.Base, next, p, n) {
				e.changed[i], e.nextOrigin[i] = e.Number, e.Number
			}
		}
	}
}

func (h *history) end(commit bool) {
	joint := h.last()
	base := joint.Base
	if commit {
		base = joint.Next
	}
	e := h.follow(base, nil)
	for i := range e.changed {
		if joint.origin[i] != joint.nextOrigin[i] {
			e.changed[i] = e.Number
		}
		if commit {
			e.origin[i] = joint.nextOrigin[i]
		}
	}
}

// sameOwners compares owner sets, whatever their order.
func sameOwners(a, b *Layout, p, n int) bool {
	x, y := slices.Clone(a.Owners(p, n)), slices.Clone(b.Owners(p, n))
	slices.SortFunc(x, NodeID.Compare)
	slices.SortFunc(y, NodeID.Compare)
	return slices.Equal(x, y)
}

// randomHistory makes epochs of moves among layouts of one set of nodes, begun, committed and
// aborted at random.
func randomHistory(r *rand.Rand, epochs int) history {
	members := testMembers(r, 7, 2)
	layout := func() *Layout {
		l, err := Plan(PlanInput{Members: members[:2+r.IntN(6)], Partitions: 4, Replicas: 1 + r.IntN(2)})
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
		return newLayout(1, l.members, 4, l.replicas, owners)
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

// active returns what requests at an epoch deal with: the owner sets of both layouts, in a form to
// compare.
func active(e *Epoch, p, n int) [2]string {
	form := func(l *Layout) string {
		owners := slices.Clone(l.Owners(p, n))
		slices.SortFunc(owners, NodeID.Compare)
		s := ""
		for _, id := range owners {
			s += id.String()
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
							if active(h[i], p, n) != active(h[i-1], p, n) {
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
					set := active(e, p, n)
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
