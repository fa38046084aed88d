package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// counted are the leaves of all that is stored, counted anew.
func (s *testStore) counted(t testing.TB) map[treeKey]Leaf {
	t.Helper()
	leaves := make(map[treeKey]Leaf)
	must(t, s.each([]byte{itemPrefix}, []byte{itemPrefix + 1}, func(key, value []byte) (bool, error) {
		r, err := decodeRecord(key, value)
		if r.damaged {
			return true, err
		}
		k := treeKeyOf(key)
		leaves[k] = leaves[k].plus(leafOfItem(key, r.state.Digest()))
		return true, err
	}))
	return leaves
}

// kept are the leaves in memory.
func (s *testStore) kept() map[treeKey]Leaf {
	leaves := make(map[treeKey]Leaf)
	for i := range s.trees.shards {
		maps.Copy(leaves, s.trees.shards[i].leaves)
	}
	return leaves
}

// checkTrees compares, while nobody writes, the leaves in memory, those on disk, and the items.
func (s *testStore) checkTrees(t testing.TB) {
	t.Helper()
	want := s.counted(t)
	if have := s.kept(); !maps.Equal(have, want) {
		t.Fatalf("%d leaves are kept, %d counted, or they differ", len(have), len(want))
	}
	stored := make(map[treeKey]Leaf)
	must(t, s.each([]byte{treePrefix}, []byte{treePrefix + 1}, func(key, value []byte) (bool, error) {
		k, l, err := decodeLeaf(key, value)
		stored[k] = l
		return true, err
	}))
	if !maps.Equal(stored, want) {
		t.Fatalf("%d leaves are stored, %d counted, or they differ", len(stored), len(want))
	}
}

// sameLeaf is the key of another item in the leaf of key(p, "").
func sameLeaf(p string, i int) Key {
	k := key(p, "")
	k.Token ^= uint64(i + 1)
	k.Partition = fmt.Appendf(nil, "%s-%d", p, i)
	return k
}

// Whatever happens to items, the leaves follow.
func TestTreesFollowItems(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	ctx := context.Background()
	k := key("p", "a")
	s.put(t, k, s.write("one"))
	s.checkTrees(t)
	w := s.write("two")
	s.put(t, k, w, node(1))
	s.put(t, k, w) // again
	s.overwrite(t, k, "three")
	s.checkTrees(t)
	var merges []Merge
	for i := range 20 {
		merges = append(merges, Merge{Key: sameLeaf("p", i%5), State: s.foreign(t, fmt.Sprint(i)), HintFor: node(2), Sync: i%2 == 0})
	}
	must(t, errors.Join(s.Merge(ctx, merges)...))
	s.checkTrees(t)
	if l := s.Leaves(nil, []uint64{k.Bucket, 99}, LeafOf(k.Token), LeafOf(k.Token)); len(l) != 1 || l[0].Items != 6 {
		t.Errorf("%+v, want one leaf of 6 items", l)
	}
	for _, h := range s.hints(t, node(2)) {
		if ok, err := s.SettleHint(ctx, h, s.get(t, h.Key).Digest(), true); err != nil || !ok {
			t.Fatalf("settled %v, %v", ok, err)
		}
	}
	s.checkTrees(t)
	other := bucketKey(8, "p", "a")
	s.put(t, other, s.write("x"))
	must(t, s.DropBucket(ctx, k.Bucket))
	s.checkTrees(t)
	if n := len(s.kept()); n != 1 {
		t.Errorf("%d leaves, want that of the other bucket", n)
	}
	mustClose(t, s)
	s = open(t, fs)
	s.checkTrees(t)
}

// After a power cut leaves and items are of one moment, and the store says that it was one.
func TestTreesAfterACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	if found, err := s.Recount(context.Background(), LeafRange{All: true}, noPace); err != nil || found != (Recounted{}) || s.TreesSuspect() {
		t.Fatalf("a new store: %+v, %v, suspect %v", found, err, s.TreesSuspect())
	}
	for i := range 50 {
		_, c, err := s.Put(context.Background(), Put{Key: sameLeaf("p", i%7), Write: s.write("v"), Sync: i%10 == 0})
		must(t, errors.Join(err, c.Wait(context.Background())))
	}
	afterCrash(t, fs, func(t *testing.T, s *testStore) {
		s.checkTrees(t)
		if !s.TreesSuspect() {
			t.Error("nothing is said of the crash")
		}
	})
	mustClose(t, s)
	s = open(t, fs)
	if s.checkTrees(t); s.TreesSuspect() {
		t.Error("suspect after it was closed in order")
	}
}

func noPace(int) error { return nil }

// Recount finds what is wrong and mends it, while writers go on.
func TestRecount(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	ctx := context.Background()
	for i := range 300 {
		s.put(t, key(fmt.Sprint(i%40), fmt.Sprint(i)), s.write("v"))
	}
	// Three are wrong: one says too much, one has lost its items, one is of no item at all.
	wrong := []treeKey{treeKeyOf(AppendKey(nil, key("1", ""))), treeKeyOf(AppendKey(nil, key("2", ""))), {bucket: 7, leaf: 4711}}
	s.trees.set(wrong[0], s.trees.get(wrong[0]).plus(Leaf{ItemSum([]byte("x"), causal.Digest{}), 3}))
	s.trees.set(wrong[1], Leaf{})
	s.trees.set(wrong[2], Leaf{Items: -5})

	one := LeafRange{Bucket: 7, First: int(wrong[2].leaf), Last: int(wrong[2].leaf)}
	if found, err := s.Recount(ctx, one, noPace); err != nil || found != (Recounted{Wrong: 1}) {
		t.Fatalf("one leaf: %+v, %v", found, err)
	}
	var writers sync.WaitGroup
	begun, stop := make(chan struct{}), make(chan struct{})
	writers.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			s.put(t, key(fmt.Sprint(r.IntN(40)), fmt.Sprint(r.IntN(300))), causal.Write{Value: []byte("w")})
			if i == 100 {
				close(begun)
			}
		}
	})
	found, err := s.Recount(ctx, LeafRange{All: true}, func(int) error { <-begun; return nil })
	close(stop)
	writers.Wait()
	if err != nil || found.Wrong != 2 || found.Items < 300 {
		t.Errorf("all: %+v, %v", found, err)
	}
	s.checkTrees(t)
	if found, err := s.Recount(ctx, LeafRange{All: true}, noPace); err != nil || found.Wrong != 0 || s.TreesSuspect() {
		t.Errorf("once more: %+v, %v", found, err)
	}
	tired := errors.New("tired")
	if _, err := s.Recount(ctx, LeafRange{All: true}, func(int) error { return tired }); !errors.Is(err, tired) {
		t.Errorf("got %v", err)
	}
}

// What can't be decoded counts for nothing, and is said.
func TestTreesDamaged(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	s.put(t, key("p", "a"), s.write("one"))
	s.put(t, key("q", "b"), s.write("two"))
	_, err := s.Recount(context.Background(), LeafRange{All: true}, noPace)
	must(t, err)
	s.raw(t, treeKeyOf(AppendKey(nil, key("p", "a"))).dbKey(), []byte("nonsense"))
	mustClose(t, s)
	s = open(t, fs)
	if n := len(s.kept()); n != 1 || !s.TreesSuspect() {
		t.Errorf("%d leaves, suspect %v", n, s.TreesSuspect())
	}
	s.raw(t, AppendKey(nil, key("q", "b")), []byte("nonsense"))
	found, err := s.Recount(context.Background(), LeafRange{All: true}, noPace)
	if err != nil || found != (Recounted{Items: 2, Wrong: 2, Corrupt: 1}) || !s.TreesSuspect() {
		t.Errorf("%+v, %v, suspect %v", found, err, s.TreesSuspect())
	}
}

func TestLeafRange(t *testing.T) {
	r := LeafRange{Bucket: 7, First: 0xFE, Last: 0xFFFF}
	lower, upper := r.bounds()
	for _, c := range []struct {
		bucket, token uint64
		in            bool
	}{
		{7, 0xFE << 48, true}, {7, 0xFE<<48 - 1, false}, {7, 1<<64 - 1, true}, {6, 1<<64 - 1, false}, {8, 0, false},
	} {
		k := string(AppendKey(nil, Key{Bucket: c.bucket, Token: c.token, Partition: []byte{0xFF, 0xFF}}))
		if in := k >= string(lower) && k < string(upper); in != c.in {
			t.Errorf("bucket %d, token %#x is in: %v", c.bucket, c.token, in)
		}
	}
	if n := len(r.stripes()); n != stripeCount {
		t.Errorf("%d stripes", n)
	}
	if got := (LeafRange{First: stripeCount + 2, Last: stripeCount + 3}).stripes(); len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("stripes %v", got)
	}
}

// Of two that count the same leaves at once each corrects what the other has left wrong, not what it saw before.
func TestRecountsDontMeet(t *testing.T) {
	s := open(t, vfs.NewMem())
	for i := range 100 {
		s.put(t, key(fmt.Sprint(i), ""), s.write("v"))
	}
	for i := range 20 {
		k := treeKeyOf(AppendKey(nil, key(fmt.Sprint(i), "")))
		s.trees.set(k, s.trees.get(k).plus(Leaf{ItemSum([]byte("x"), causal.Digest{}), 1}))
	}
	var both sync.WaitGroup
	var wrong [3]int
	for i, r := range []LeafRange{{All: true}, {Bucket: 7, Last: LeafCount - 1}, {Bucket: 7, Last: LeafCount - 1}} {
		both.Go(func() {
			found, err := s.Recount(context.Background(), r, func(int) error { runtime.Gosched(); return nil })
			if err != nil {
				t.Error(err)
			}
			wrong[i] = found.Wrong
		})
	}
	both.Wait()
	if wrong[0]+wrong[1]+wrong[2] != 20 {
		t.Errorf("%v leaves were wrong, want 20 in all", wrong)
	}
	s.checkTrees(t)
}
