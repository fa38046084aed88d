package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// setAside sets aside all that was noticed and returns how many records that were.
func (s *testStore) setAside(t testing.TB) int {
	t.Helper()
	n := 0
	for _, k := range s.TakeNoticed() {
		damaged, err := s.SetAside(context.Background(), k)
		must(t, err)
		if damaged {
			n++
		}
	}
	return n
}

// wantDamaged checks which items are listed as damaged.
func (s *testStore) wantDamaged(t testing.TB, want ...Key) {
	t.Helper()
	got, err := s.Damaged(nil, 100)
	must(t, err)
	same := func(a, b Key) bool { return bytes.Equal(AppendKey(nil, a), AppendKey(nil, b)) }
	if !slices.EqualFunc(got, want, same) {
		t.Fatalf("damaged are %v, want %v", got, want)
	}
}

// wantNoVote checks that an item is neither there nor absent.
func (s *testStore) wantNoVote(t testing.TB, k Key) {
	t.Helper()
	ctx := context.Background()
	_, getErr := s.Get(ctx, k)
	_, _, digestErr := s.Digest(k)
	_, _, rangeErr := s.Range(ctx, RangeRequest{Bucket: k.Bucket})
	_, _, putErr := s.Put(ctx, Put{Key: k, Write: s.write("z")})
	for what, err := range map[string]error{
		"get": getErr, "digest": digestErr, "range": rangeErr, "put": putErr, "owe": s.Owe(ctx, k, node(1), 1),
	} {
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || string(corrupt.Key) != string(AppendKey(nil, k)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// wantCounted checks that leaves are what the sound items say, and how many are damaged.
func (s *testStore) wantCounted(t testing.TB, damaged int) {
	t.Helper()
	found, err := s.Recount(context.Background(), LeafRange{All: true}, noPace)
	if err != nil || found.Wrong != 0 || found.Corrupt != 0 || found.Damaged != damaged {
		t.Fatalf("recount: %+v, %v; want %d damaged and nothing wrong", found, err, damaged)
	}
}

// damaged is a store with one damaged item among sound ones of its leaf, which was noticed and set aside.
func damaged(t *testing.T, fs vfs.FS) (*testStore, Key, []byte) {
	t.Helper()
	s := open(t, fs)
	k := sameLeaf("p", 0)
	s.put(t, k, s.write("lost"))
	s.put(t, sameLeaf("p", 1), s.write("sound"))
	s.put(t, key("elsewhere", ""), s.write("sound"))
	must(t, s.Damage(context.Background(), k))
	bad, err := s.read(AppendKey(nil, k))
	must(t, err)
	if _, err := s.Get(context.Background(), k); err == nil {
		t.Fatal("the damage is not seen")
	}
	<-s.Noticed()
	if n := s.setAside(t); n != 1 {
		t.Fatalf("%d records set aside", n)
	}
	return s, k, bad
}

// A damaged record has no vote and no part in its leaf, keeps what is merged into it, and gets both back by Mend. All of that
// outlives a power cut at every step.
func TestDamagedRecord(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, k, bad := damaged(t, fs)
	check := func(t *testing.T, s *testStore) {
		t.Helper()
		s.wantNoVote(t, k)
		s.wantCounted(t, 1)
		s.wantDamaged(t, k)
		s.checkTrees(t)
		items, _, err := s.LeafItems(context.Background(), []uint64{k.Bucket}, LeafOf(k.Token), LeafOf(k.Token), nil, 10)
		if err != nil || len(items) != 1 {
			t.Errorf("%d items in the leaf, %v", len(items), err)
		}
		var kept []Quarantined
		must(t, s.Quarantined(func(q Quarantined) error {
			kept = append(kept, Quarantined{bytes.Clone(q.Key), bytes.Clone(q.Value)})
			return nil
		}))
		if len(kept) != 1 || !bytes.Equal(kept[0].Key, AppendKey(nil, k)) || !bytes.Equal(kept[0].Value, bad) {
			t.Errorf("the quarantine has %x", kept)
		}
		if len(s.TakeNoticed()) != 0 {
			t.Error("what was set aside is noticed again")
		}
	}
	check(t, s)
	afterCrash(t, fs, check)
	theirs := s.foreign(t, "merged")
	s.merge(t, Merge{Key: k, State: theirs, Sync: true})
	check(t, s)
	afterCrash(t, fs, check)
	if again, err := s.SetAside(context.Background(), AppendKey(nil, k)); err != nil || again {
		t.Errorf("set aside again: %v, %v", again, err)
	}
	mended, err := s.Mend(context.Background(), Mend{Key: k, State: s.foreign(t, "fetched")})
	if err != nil || !mended {
		t.Fatalf("mended %v, %v", mended, err)
	}
	sound := func(t *testing.T, s *testStore) {
		t.Helper()
		wantValues(t, s.get(t, k), "merged,fetched")
		s.wantDamaged(t)
		s.checkTrees(t)
		s.wantCounted(t, 0)
	}
	sound(t, s)
	afterCrash(t, fs, sound)
	if mended, err := s.Mend(context.Background(), Mend{Key: k, State: s.foreign(t, "late")}); err != nil || mended {
		t.Errorf("a sound item was mended: %v, %v", mended, err)
	}
	s.put(t, k, s.write("new"))
	wantValues(t, s.get(t, k), "merged,fetched,new")
	s.checkTrees(t)
}

// Before it was set aside a corrupt record takes nothing: neither is lost then.
func TestMendNeedsTheRecordSetAside(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	s.put(t, k, s.write("x"))
	must(t, s.Damage(context.Background(), k))
	var corrupt *CorruptError
	if _, err := s.Mend(context.Background(), Mend{Key: k, State: s.foreign(t, "y")}); !errors.As(err, &corrupt) {
		t.Errorf("got %v", err)
	}
	if err := s.Merge(context.Background(), []Merge{{Key: k, State: s.foreign(t, "y")}})[0]; !errors.As(err, &corrupt) {
		t.Errorf("got %v", err)
	}
	if n := s.setAside(t); n != 1 {
		t.Errorf("%d set aside", n)
	}
}

// What nobody has is gone, and so is what this node need not keep.
func TestMendRemoves(t *testing.T) {
	for name, m := range map[string]func(*testStore) Mend{
		"nobody has it": func(*testStore) Mend { return Mend{} },
		"not an owner":  func(s *testStore) Mend { return Mend{State: s.foreign(t, "x"), Drop: true} },
	} {
		t.Run(name, func(t *testing.T) {
			s, k, _ := damaged(t, vfs.NewMem())
			mend := m(s)
			mend.Key = k
			if mended, err := s.Mend(context.Background(), mend); err != nil || !mended {
				t.Fatalf("mended %v, %v", mended, err)
			}
			if n := len(s.get(t, k).Versions); n != 0 {
				t.Errorf("%d versions", n)
			}
			if value, err := s.read(AppendKey(nil, k)); value != nil || err != nil {
				t.Errorf("left: %x, %v", value, err)
			}
			s.wantDamaged(t)
			s.checkTrees(t)
		})
	}
}

// Hints of a damaged record: what was merged since is handed over; what it owed before stays until it is mended.
func TestDamagedHints(t *testing.T) {
	ctx := context.Background()
	s := open(t, vfs.NewMem())
	k := key("a", "")
	s.put(t, k, s.write("lost"), node(1))
	must(t, s.Damage(ctx, k))
	_, err := s.Get(ctx, k)
	if s.setAside(t); err == nil {
		t.Fatal("the damage is not seen")
	}
	state := s.foreign(t, "merged")
	s.merge(t, Merge{Key: k, State: state, HintFor: node(2), Sync: true})
	old, fresh := s.hints(t, node(1))[0], s.hints(t, node(2))[0]
	var corrupt *CorruptError
	if _, _, err := s.HintState(ctx, old); !errors.As(err, &corrupt) {
		t.Errorf("the hint of before: %v", err)
	}
	if ok, err := s.SettleHint(ctx, old, state.Digest(), true); ok || !errors.As(err, &corrupt) {
		t.Errorf("the hint of before is settled: %v, %v", ok, err)
	}
	got, owed, err := s.HintState(ctx, fresh)
	if err != nil || !owed || got.Digest() != state.Digest() {
		t.Fatalf("the hint of since: %v, %v, %v", got, owed, err)
	}
	if ok, err := s.SettleHint(ctx, fresh, state.Digest(), true); !ok || err != nil {
		t.Errorf("the hint of since is not settled: %v", err)
	}
	s.wantNoVote(t, k)
	s.wantDamaged(t, k)
	if ok, err := s.Mend(ctx, Mend{Key: k, Drop: true}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, owed, err := s.HintState(ctx, old); owed || err != nil {
		t.Errorf("after it was mended: %v, %v", owed, err)
	}
	if ok, err := s.SettleHint(ctx, old, state.Digest(), true); !ok || err != nil {
		t.Errorf("after it was mended: %v, %v", ok, err)
	}
	if stats := s.HintStats(); len(stats) != 0 {
		t.Errorf("hints left: %+v", stats)
	}
}

// A record that only the disk has wrong is written again from the cache.
func TestSetAsideFromTheCache(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := sameLeaf("p", 0)
	s.put(t, k, s.write("x"))
	s.put(t, sameLeaf("p", 1), s.write("y"))
	b := s.newBatch() // which does not say what it changes
	must(t, b.Set(AppendKey(nil, k), []byte("nonsense"), nil))
	_, err := s.apply(b, true, stripeOf(k.Token))
	must(t, err)
	found, _, _, err := s.Scrub(context.Background(), ScrubAt{Bucket: k.Bucket, Leaf: LeafOf(k.Token)}, noPace)
	if err != nil || found.Corrupt != 1 || found.Wrong != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	if n := s.setAside(t); n != 0 {
		t.Errorf("%d records damaged", n)
	}
	s.cache.beginAll()
	s.cache.endAll()
	wantValues(t, s.get(t, k), "x")
	s.checkTrees(t)
	s.wantCounted(t, 0)
	s.wantDamaged(t)
}

// A record under a key that no item can have goes to the quarantine, and nothing is left of it.
func TestSetAsideWrongKey(t *testing.T) {
	s := open(t, vfs.NewMem())
	bad := append(AppendKey(nil, key("a", "")), 'x')
	s.raw(t, bad, []byte("nonsense"))
	if damaged, err := s.SetAside(context.Background(), bad); err != nil || !damaged {
		t.Fatal(damaged, err)
	}
	s.wantDamaged(t)
	if _, _, err := s.Range(context.Background(), RangeRequest{Bucket: 7}); err != nil {
		t.Error(err)
	}
	for _, k := range [][]byte{nil, []byte("d"), []byte("hint"), AppendKey(nil, key("none", ""))} {
		if damaged, err := s.SetAside(context.Background(), k); err != nil || damaged {
			t.Errorf("%x: %v, %v", k, damaged, err)
		}
	}
}

// The quarantine keeps the newest that it has room for, also after a restart.
func TestQuarantineIsBounded(t *testing.T) {
	fs := vfs.NewMem()
	small := func(o *Options) { o.QuarantineBytes = 8 << 10 }
	s := open(t, fs, small)
	ctx := context.Background()
	damage := func(name string, size int) {
		t.Helper()
		k := key(name, "")
		s.put(t, k, s.write(strings.Repeat("v", size)))
		must(t, s.Damage(ctx, k))
		if damaged, err := s.SetAside(ctx, AppendKey(nil, k)); err != nil || !damaged {
			t.Fatal(damaged, err)
		}
	}
	names := func() (got []string) {
		must(t, s.Quarantined(func(q Quarantined) error {
			k, err := DecodeKey(q.Key)
			got = append(got, string(k.Partition))
			return err
		}))
		return got
	}
	for i := range 4 {
		damage(fmt.Sprint(i), 1500)
	}
	damage("large", 9<<10)
	if got := names(); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("kept: %q", got)
	}
	if f := s.DamageFigures(); f.QuarantineDropped != 2 || f.QuarantineBytes < 6<<10 || f.QuarantineBytes > 8<<10 {
		t.Errorf("%+v", f)
	}
	mustClose(t, s)
	s = open(t, fs, small)
	damage("4", 1500)
	if got := names(); !slices.Equal(got, []string{"2", "3", "4"}) {
		t.Errorf("kept after a restart: %q", got)
	}
	must(t, s.DropBucket(ctx, 7))
	if got := names(); len(got) != 0 || s.DamageFigures().QuarantineBytes != 0 {
		t.Errorf("kept of a dropped bucket: %q", got)
	}
	s.wantDamaged(t)
}

// What is noticed is bounded, and listed pages go on behind the last.
func TestDamagedLists(t *testing.T) {
	s := open(t, vfs.NewMem())
	for i := range noticedLimit + 10 {
		s.damage.note(fmt.Append(nil, i))
	}
	if n := len(s.TakeNoticed()); n != noticedLimit {
		t.Errorf("%d noticed", n)
	}
	for i := range 5 {
		k := sameLeaf("p", i)
		s.put(t, k, s.write("x"))
		must(t, s.Damage(context.Background(), k))
		_, err := s.SetAside(context.Background(), AppendKey(nil, k))
		must(t, err)
	}
	seen := map[string]bool{}
	for after := (*Key)(nil); ; {
		page, err := s.Damaged(after, 2)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, k := range page {
			seen[string(k.Partition)] = true
		}
		after = &page[len(page)-1]
	}
	if len(seen) != 5 {
		t.Errorf("listed %v", seen)
	}
}

// A pass looks at every item once, in steps that can be taken after a restart, and finds what is damaged and miscounted.
func TestScrub(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	ctx := context.Background()
	const items = 400
	for i := range items {
		s.put(t, bucketKey(uint64(7+i%2*30), fmt.Sprint(i), ""), s.write("v"))
	}
	must(t, s.Damage(ctx, bucketKey(7, "20", "")))
	must(t, s.Damage(ctx, bucketKey(37, "21", "")))
	miscounted := treeKeyOf(AppendKey(nil, bucketKey(7, "40", "")))
	s.trees.set(miscounted, s.trees.get(miscounted).plus(Leaf{Items: 1}))
	var all Recounted
	var read int
	progress := ScrubProgress{Begun: start, Since: start - 5, Ended: start - 1}
	for steps := 0; ; steps++ {
		found, next, more, err := s.Scrub(ctx, progress.At, func(n int) error { read += n; return nil })
		must(t, err)
		all = all.plus(found)
		if !more {
			break
		}
		progress.At = next
		if steps%100 == 0 {
			must(t, s.SaveScrub(progress))
			mustClose(t, s)
			s = open(t, fs)
			again, err := s.ScrubProgress()
			if err != nil || again != progress {
				t.Fatalf("after a restart %+v, want %+v, %v", again, progress, err)
			}
		}
		if steps > 2*LeafCount {
			t.Fatal("no end")
		}
	}
	// The two that are damaged leave their leaves wrong, beside the one that was.
	if all.Items != items || all.Corrupt != 2 || read < items*50 {
		t.Errorf("%+v, %d bytes", all, read)
	}
	s.setAside(t)
	found, _, _, err := s.Scrub(ctx, ScrubAt{Bucket: 38}, noPace)
	if err != nil || found != (Recounted{}) {
		t.Errorf("behind the last bucket: %+v, %v", found, err)
	}
}

// Progress that can't be read is a pass that begins anew.
func TestScrubProgressDamaged(t *testing.T) {
	s := open(t, vfs.NewMem())
	if p, err := s.ScrubProgress(); err != nil || p != (ScrubProgress{}) {
		t.Errorf("%+v, %v", p, err)
	}
	s.raw(t, metaKey(scrubDocument), []byte("nonsense"))
	if p, err := s.ScrubProgress(); err != nil || p != (ScrubProgress{}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// A block that the storage engine finds corrupt fails the store, as any read of it does.
func TestScrubOfACorruptBlock(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	s.put(t, key("a", ""), s.write(strings.Repeat("x", 1000)))
	must(t, s.db.Flush())
	mustClose(t, s)
	damageTables(t, mem)
	s, err := tryOpen(mem)
	if err != nil {
		return // noticed even earlier
	}
	defer s.Close()
	for at, more := (ScrubAt{}), true; more && err == nil; {
		_, at, more, err = s.Scrub(context.Background(), at, noPace)
	}
	if !errors.Is(err, ErrFailed) || s.Err() == nil {
		t.Errorf("got %v", err)
	}
}

func FuzzDecodeQuarantined(f *testing.F) {
	k := append([]byte{quarantinePrefix}, make([]byte, 16)...)
	f.Add(append(openSeal(nil, quarantineFormat), 1, 'd', 'v'))
	f.Add(append(openSeal(nil, quarantineFormat), 0xFF, 0x01))
	f.Fuzz(func(t *testing.T, value []byte) {
		value = reseal(k, value)
		q, err := decodeQuarantined(k, value)
		if err == nil && len(q.Key)+len(q.Value) >= len(value) {
			t.Fatalf("%d and %d bytes out of %d", len(q.Key), len(q.Value), len(value))
		}
	})
}
