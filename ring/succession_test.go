package ring

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSuccessionAgainstOracle: the tables that each epoch derives from the one before are those of
// somebody who remembers everything.
func TestSuccessionAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(71, 1))
	split, aborted := 0, 0
	for range 40 {
		o := newOracle(newOperator(r).run(16))
		for i, e := range o.h {
			if i > 0 && e.Partitions() != o.h[i-1].Partitions() {
				split++
			}
			if i > 1 && !e.Joint() && e.Base == o.h[i-2].Base {
				aborted++
			}
			for c := range oracleCells {
				checkCell(t, o, i, c)
			}
		}
	}
	if split < 15 || aborted < 15 {
		t.Fatalf("%d changes of granularity and %d aborts: the histories have become too tame", split, aborted)
	}
}

func checkCell(t *testing.T, o *oracle, i, c int) {
	t.Helper()
	e := o.h[i]
	p := e.PartitionOf(cellToken(c))
	first, last := e.PartitionRange(p)
	for n := 1; n <= MaxReplicas; n++ {
		want := uint64(0)
		for k := c &^ (oracleCells/e.Partitions() - 1); k < oracleCells && cellToken(k) >= first && cellToken(k) <= last; k++ {
			want = max(want, o.changed(i, k, n))
		}
		if got := e.Changed(p, n); got != want {
			t.Fatalf("epoch %d, partition %d of %d, N=%d: changed at %d, want %d", i, p, e.Partitions(), n, got, want)
		}
		if got, want := e.Origin(p, n), o.origin(i, c, n, 0); got != want {
			t.Fatalf("epoch %d, partition %d of %d, N=%d: origin %d, want %d", i, p, e.Partitions(), n, got, want)
		}
		if got, want := e.NextOrigin(p, n), o.origin(i, c, n, 1); got != want {
			t.Fatalf("epoch %d, partition %d of %d, N=%d: next origin %d, want %d", i, p, e.Partitions(), n, got, want)
		}
		sets := o.sets[i][c][n-1]
		if got := e.Moves(p, n); got != (sets[0] != sets[1]) {
			t.Fatalf("epoch %d, partition %d of %d, N=%d: moves is %v", i, p, e.Partitions(), n, got)
		}
		base := e.Base
		if !slices.Equal(e.Owners(p, n), base.Owners(base.PartitionOf(cellToken(c)), n)) ||
			!slices.Equal(e.NextOwners(p, n), e.finest().Owners(p, n)) {
			t.Fatalf("epoch %d, partition %d of %d, N=%d: other owners than the layouts'", i, p, e.Partitions(), n)
		}
	}
}

// TestFenceRangeAgainstOracle: a request about a partition that has been cut since is stale when
// the owners of any part have changed.
func TestFenceRangeAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(72, 1))
	for range 15 {
		o := newOracle(newOperator(r).run(12))
		for at, e := range o.h {
			for request, planned := range o.h {
				p := r.IntN(planned.Partitions())
				first, last := planned.PartitionRange(p)
				for n := 1; n <= MaxReplicas; n++ {
					want := Serve
					// Where the replica's partitions are the coarser, those beside the range count too.
					lo, _ := e.PartitionRange(e.PartitionOf(first))
					_, hi := e.PartitionRange(e.PartitionOf(last))
					for c := range oracleCells {
						if cellToken(c) >= lo && cellToken(c) <= hi && o.changed(at, c, n) > uint64(request) {
							want = Stale
						}
					}
					if request > at {
						want = Learn
					}
					if got := e.FenceRange(uint64(request), first, last, n); got != want {
						t.Fatalf("range of partition %d planned at %d, replica at %d, N=%d: %v, want %v", p, request, at, n, got, want)
					}
				}
			}
		}
	}
}

// TestFollows: an epoch follows another, also when both were decoded, and only the very next one does.
func TestFollows(t *testing.T) {
	r := rand.New(rand.NewPCG(73, 1))
	for range 30 {
		h := newOperator(r).run(10)
		for i, e := range h {
			decoded, err := DecodeEpoch(AppendEpoch(nil, e))
			if err != nil {
				t.Fatal(err)
			}
			for k, next := range h {
				if i%2 == 0 {
					if next, err = DecodeEpoch(AppendEpoch(nil, next)); err != nil {
						t.Fatal(err)
					}
				}
				err := decoded.Follows(next)
				if k == i+1 && err != nil {
					t.Fatalf("epoch %d does not follow %d: %v", k, i, err)
				}
				if k != i+1 && !errors.Is(err, ErrSuccession) {
					t.Fatalf("epoch %d follows %d: %v", k, i, err)
				}
			}
		}
	}
}

// TestFollowsRefusesForgery: any other number in a table, layout or kind is found.
func TestFollowsRefusesForgery(t *testing.T) {
	r := rand.New(rand.NewPCG(74, 1))
	for range 30 {
		h := newOperator(r).run(8)
		for i, next := range h[1:] {
			e := h[i]
			forge := map[string]func(f *Epoch){
				"changed":    func(f *Epoch) { spoil(r, &f.changed, f.Partitions()) },
				"origin":     func(f *Epoch) { spoil(r, &f.origin, f.Partitions()) },
				"number":     func(f *Epoch) { f.Number++ },
				"old number": func(f *Epoch) { f.Number-- },
				"base":       func(f *Epoch) { f.Base = spoilLayout(r, f.Base) },
				"base number": func(f *Epoch) {
					f.Base = newLayout(f.Base.version+100, f.Base.members, f.Base.Partitions(), f.Base.replicas, f.Base.owners)
				},
			}
			if next.Joint() {
				forge["next origin"] = func(f *Epoch) { spoil(r, &f.nextOrigin, f.Partitions()) }
				forge["kind"] = func(f *Epoch) { f.Next = nil }
				forge["old version"] = func(f *Epoch) {
					f.Next = newLayout(f.Base.version, f.Next.members, f.Next.Partitions(), f.Next.replicas, f.Next.owners)
				}
			} else {
				forge["kind"] = func(f *Epoch) { f.Next = h[i].Next }
			}
			for name, f := range forge {
				forged := *next
				f(&forged)
				if err := e.Follows(&forged); !errors.Is(err, ErrSuccession) {
					t.Fatalf("epoch %d with a forged %s: %v", next.Number, name, err)
				}
			}
		}
	}
}

func spoil(r *rand.Rand, m *marks, partitions int) {
	*m = m.clone(partitions)
	(*m)[r.IntN(len(*m))]++
}

// spoilLayout puts another member in one place, or where there is none turns a weight.
func spoilLayout(r *rand.Rand, l *Layout) *Layout {
	members, owners := slices.Clone(l.members), slices.Clone(l.owners)
	if len(members) == l.replicas {
		members[r.IntN(len(members))].Weight++
	} else {
		row := owners[:l.replicas]
		i := uint16(0)
		for slices.Contains(row, i) {
			i++
		}
		row[r.IntN(len(row))] = i
	}
	return newLayout(l.version, members, l.Partitions(), l.replicas, owners)
}

// TestAbortedMoveComesBackUnderAnotherName: what was pulled for a move that was given up counts for
// nothing when the same move is tried again.
func TestAbortedMoveComesBackUnderAnotherName(t *testing.T) {
	r := rand.New(rand.NewPCG(75, 1))
	members := testMembers(r, 4, 1)
	v := mustPlan(t, PlanInput{Members: members[:3], Partitions: 1, Replicas: 3})
	w := mustPlan(t, PlanInput{Members: members[1:], Partitions: 1, Replicas: 3, Previous: v, Version: 1})
	h := history{Genesis(v)}
	for i, step := range []struct{ changed, origin, next uint64 }{{1, 0, 1}, {2, 0, 0}, {3, 0, 3}, {4, 3, 3}} {
		if !h.last().Joint() {
			h.begin(w)
		} else {
			h.end(i == 3)
		}
		e := h.last()
		if e.Changed(0, 3) != step.changed || e.Origin(0, 3) != step.origin || e.NextOrigin(0, 3) != step.next {
			t.Errorf("epoch %d: changed %d, origin %d, next %d, want %+v", e.Number, e.Changed(0, 3), e.Origin(0, 3), e.NextOrigin(0, 3), step)
		}
	}
}

func TestSuccessionRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(76, 1))
	members := testMembers(r, 3, 1)
	plan := func(partitions int, version uint64) *Layout {
		return mustPlan(t, PlanInput{Members: members, Partitions: partitions, Replicas: 2, Version: version})
	}
	stable := Genesis(plan(4, 5))
	joint, err := stable.Begin(plan(4, 6))
	if err != nil {
		t.Fatal(err)
	}
	begin := func(e *Epoch, l *Layout) func() (*Epoch, error) { return func() (*Epoch, error) { return e.Begin(l) } }
	last := &Epoch{Number: math.MaxUint64, Base: stable.Base}
	lastJoint := &Epoch{Number: math.MaxUint64, Base: joint.Base, Next: joint.Next}
	for name, f := range map[string]func() (*Epoch, error){
		"begin while joint":       begin(joint, plan(4, 7)),
		"begin nothing":           begin(stable, nil),
		"begin the same version":  begin(stable, plan(4, 5)),
		"begin an old version":    begin(stable, plan(4, 4)),
		"begin with fewer":        begin(stable, plan(2, 6)),
		"begin at the last":       begin(last, plan(4, 6)),
		"commit nothing":          stable.Commit,
		"abort nothing":           stable.Abort,
		"commit the last":         lastJoint.Commit,
		"abort the last":          lastJoint.Abort,
		"begin past the last":     begin(lastJoint, plan(4, 7)),
		"begin the layout itself": begin(stable, stable.Base),
	} {
		var se *SuccessionError
		if e, err := f(); e != nil || !errors.Is(err, ErrSuccession) || !errors.As(err, &se) || se.Reason == "" {
			t.Errorf("%s: %v, %v, want a SuccessionError", name, e, err)
		}
	}
	if err := last.Follows(Genesis(stable.Base)); !errors.Is(err, ErrSuccession) {
		t.Errorf("epoch 0 follows the last: %v", err)
	}
}

func TestSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(77, 1))
	for range 50 {
		l := mustPlan(t, randomInput(r))
		parts := 2 << r.IntN(3)
		s, err := Split(l, l.Partitions()*parts, l.Version())
		if err != nil {
			t.Fatal(err)
		}
		for p := range s.Partitions() {
			first, last := s.PartitionRange(p)
			if l.PartitionOf(first) != p/parts || l.PartitionOf(last) != p/parts || !slices.Equal(s.Owners(p, MaxReplicas), l.Owners(p/parts, MaxReplicas)) {
				t.Fatalf("part %d of %d has other owners than the whole", p, s.Partitions())
			}
		}
		for p := range s.Partitions() {
			checkRounds(t, s, s.Owners(p, s.Replicas()))
		}
	}
	l := mustPlan(t, PlanInput{Members: testMembers(r, 2, 1), Partitions: 8, Replicas: 1})
	for _, partitions := range []int{-8, 0, 4, 8, 12, 24, 2 * MaxPartitions} {
		var pe *PlanError
		if s, err := Split(l, partitions, 1); s != nil || !errors.As(err, &pe) || pe.Field != "Partitions" {
			t.Errorf("8 partitions split into %d: %v", partitions, err)
		}
	}
}

// TestSplitMovesNothing: the fence lets requests from before pass, and no owner has anything to pull.
func TestSplitMovesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(78, 1))
	h := randomHistory(r, 9) // ends stable
	before := h.last()
	s, err := Split(before.Base, 4*before.Base.Partitions(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	h.begin(s)
	h.end(true)
	for _, e := range h[len(h)-2:] {
		for p := range e.Partitions() {
			for n := 1; n <= MaxReplicas; n++ {
				if e.Moves(p, n) || e.Changed(p, n) != before.Changed(p/4, n) || e.Origin(p, n) != before.Origin(p/4, n) ||
					e.Fence(before.Number, p, n) != Serve {
					t.Fatalf("epoch %d: part %d moves at N=%d", e.Number, p, n)
				}
			}
		}
	}
}

// TestEncodingOfSplits: joint epochs of two granularities survive the wire.
func TestEncodingOfSplits(t *testing.T) {
	r := rand.New(rand.NewPCG(79, 1))
	for range 20 {
		for _, e := range newOperator(r).run(12) {
			b := AppendEpoch(nil, e)
			got, err := DecodeEpoch(b)
			if err != nil {
				t.Fatal(err)
			}
			cells := e.Partitions() * MaxReplicas
			if got.Partitions() != e.Partitions() || !got.Base.Equal(e.Base) || got.Joint() != e.Joint() || got.Joint() && !got.Next.Equal(e.Next) ||
				got.changed.differ(e.changed, cells) >= 0 || got.origin.differ(e.origin, cells) >= 0 || got.nextOrigin.differ(e.nextOrigin, cells) >= 0 {
				t.Fatalf("epoch %d is another one", e.Number)
			}
			if !bytes.Equal(AppendEpoch(nil, got), b) {
				t.Fatalf("epoch %d has two encodings", e.Number)
			}
		}
	}
	fewer := &Epoch{Base: mustPlan(t, PlanInput{Members: testMembers(r, 1, 1), Partitions: 4, Replicas: 1})}
	fewer.Next = mustPlan(t, PlanInput{Members: testMembers(r, 1, 1), Partitions: 2, Replicas: 1})
	if _, err := DecodeEpoch(AppendEpoch(nil, fewer)); !errors.Is(err, ErrEncoding) {
		t.Errorf("a move to fewer partitions: %v", err)
	}
}
