package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// half is the first or the second half of all tokens.
func half(second bool, n int, origin uint64) Move {
	if second {
		return Move{First: 1 << 63, Last: math.MaxUint64, N: n, Origin: origin}
	}
	return Move{Last: 1<<63 - 1, N: n, Origin: origin}
}

// What is known of moves survives a crash, and completing one forgets how it came about, and of no other.
func TestMovesAreDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	ctx := context.Background()
	a, b := half(false, 3, 5), half(true, 3, 5)
	of := Pulled{Move: a, Source: node(1), Epoch: 6, Floor: 7, Level: 8, Cursor: []byte("some key"), Done: true}
	other := Pulled{Move: b, Source: node(2), Epoch: 6}
	for _, p := range []Pulled{of, other} {
		if err := s.SetPulled(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	after := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	got, err := after.PulledOf(a)
	if err != nil || len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(of) {
		t.Fatalf("got %+v, %v, want %+v", got, err, of)
	}
	if moves, err := after.PulledMoves(); err != nil || !slices.Equal(moves, []Move{a, b}) {
		t.Fatalf("moves %+v, %v", moves, err)
	}
	if err := s.SetComplete(ctx, Complete{a, 2}); err != nil {
		t.Fatal(err)
	}
	after = open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	marks, err := after.Completes()
	if err != nil || !slices.Equal(marks, []Complete{{a, 2}}) {
		t.Fatalf("complete %+v, %v", marks, err)
	}
	if moves, err := after.PulledMoves(); err != nil || !slices.Equal(moves, []Move{b}) {
		t.Fatalf("moves %+v, %v", moves, err)
	}
	if err := s.ForgetMoves(ctx, a, b); err != nil {
		t.Fatal(err)
	}
	marks, err = s.Completes()
	moves, merr := s.PulledMoves()
	if err := errors.Join(err, merr); err != nil || len(marks)+len(moves) > 0 {
		t.Fatalf("%v and %v are left, %v", marks, moves, err)
	}
}

// What can't be read of a move counts for nothing, and what can't be a move is refused.
func TestMovesThatCannotBe(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx := context.Background()
	m := half(false, 3, 5)
	if err := errors.Join(s.SetComplete(ctx, Complete{m, 2}), s.SetPulled(ctx, Pulled{Move: half(true, 3, 5), Source: node(1)})); err != nil {
		t.Fatal(err)
	}
	s.raw(t, moveKey(completeKind, m), []byte("no record"))
	s.raw(t, append(moveKey(pulledKind, half(true, 3, 5)), 1, 2), []byte("no record"))
	if marks, err := s.Completes(); err != nil || len(marks) != 0 {
		t.Errorf("a corrupt mark counts: %v, %v", marks, err)
	}
	if list, err := s.PulledOf(half(true, 3, 5)); err != nil || len(list) != 1 {
		t.Errorf("one of two records can be read, got %v, %v", list, err)
	}
	for _, m := range []Move{
		{First: 1, Last: 1<<63 - 1, N: 3}, {Last: 1 << 63, N: 3}, {First: 1 << 63, Last: 1<<63 - 1, N: 3}, {Last: math.MaxUint64},
	} {
		if s.SetComplete(ctx, Complete{m, 1}) == nil || s.SetPulled(ctx, Pulled{Move: m}) == nil {
			t.Errorf("%+v was taken", m)
		}
	}
}

// A range goes with its leaves, and nothing else: not other buckets, not other tokens, not what is owed to somebody or damaged.
func TestDropRange(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx := context.Background()
	var inside, outside []Key
	for i := range 600 {
		k := key(fmt.Sprint("p", i), "s")
		s.put(t, k, s.write("v"))
		if k.Token < 1<<63 {
			inside = append(inside, k)
		} else {
			outside = append(outside, k)
		}
	}
	other := bucketKey(8, "p0", "s")
	s.put(t, other, s.write("v"))
	owing, broken := inside[0], inside[1]
	if err := errors.Join(s.Owe(ctx, owing, node(9), 3), s.Damage(ctx, broken)); err != nil {
		t.Fatal(err)
	}
	free := func(int) error { return nil }
	if _, err := s.DropRange(ctx, []uint64{7}, 0, LeafCount/2-1, func() bool { return false }, free); !errors.Is(err, ErrKept) {
		t.Fatalf("got %v, want ErrKept", err)
	}
	if got, err := s.Get(ctx, inside[2]); err != nil || len(got.Versions) == 0 {
		t.Fatalf("something was dropped that was to be kept: %v", err)
	}
	done, err := s.DropRange(ctx, []uint64{7}, 0, LeafCount/2-1, func() bool { return true }, free)
	if err != nil || done.Items != len(inside)-2 || done.Kept != 2 || done.Bytes == 0 {
		t.Fatalf("dropped %+v of %d, %v", done, len(inside), err)
	}
	for _, k := range inside[2:] {
		if got, err := s.Get(ctx, k); err != nil || len(got.Versions) > 0 {
			t.Fatalf("an item is still there: %v", err)
		}
	}
	for _, k := range append(outside, owing, other) {
		if got, err := s.Get(ctx, k); err != nil || len(got.Versions) != 1 {
			t.Fatalf("an item is gone that was to stay: %v", err)
		}
	}
	if hints := s.HintStats(); len(hints) != 1 || hints[0].Items != 1 {
		t.Errorf("hints %+v", hints)
	}
	found, err := s.Recount(ctx, LeafRange{Bucket: 7, Last: LeafCount - 1}, free)
	if err != nil || found.Wrong > 1 { // that of the damaged item, which nobody has set aside yet
		t.Errorf("leaves do not fit what is left: %+v, %v", found, err)
	}
	if got, err := s.Buckets(); err != nil || !slices.Equal(got, []uint64{7, 8}) {
		t.Errorf("buckets %v, %v", got, err)
	}
}

// A claim that denies what was purged elsewhere, and claims nothing itself, is told as one that claims nothing.
func TestClaimThatArrives(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx := context.Background()
	if err := s.SetClaims(ctx, 0, []Claim{{N: 3, PurgeLevel: 9}}); err != nil {
		t.Fatal(err)
	}
	k := key("p", "s")
	r, c, err := s.Put(ctx, Put{Key: k, Write: s.write("v"), N: 3, Sync: true})
	if err = errors.Join(err, c.Wait(ctx)); err != nil || r.State.Floor != 0 || r.State.PurgeLevel != 0 {
		t.Fatalf("told floor %v and purge level %v, %v", r.State.Floor, r.State.PurgeLevel, err)
	}
	old, _ := causal.Mint(causal.Siblings, causal.State{}, 1, 5, s.write("old"))
	for _, c := range []struct {
		floor causal.HLC
		want  string
	}{{8, ""}, {9, "old"}} { // only from those who have seen as much
		late := key(fmt.Sprint("late", c.floor), "s")
		merge := Merge{Key: late, State: old.Claims(causal.State{Floor: c.floor}), N: 3, Sync: true}
		if err := errors.Join(s.Merge(ctx, []Merge{merge})...); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(ctx, late)
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, got, c.want)
	}
}
