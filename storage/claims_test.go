package storage

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

const testBits = 4 // 16 partitions

// claim sets what is claimed of the partition of a key, for buckets with three replicas.
func (s *testStore) claim(t testing.TB, k Key, floor, level causal.HLC, rebuilding bool) Claim {
	t.Helper()
	c := Claim{N: 3, Partition: int(k.Token >> (64 - testBits)), Floor: floor, PurgeLevel: level, Rebuilding: rebuilding}
	must(t, s.SetClaims(context.Background(), testBits, []Claim{c}))
	return c
}

// later lets time pass and returns a reading.
func (s *testStore) later(t testing.TB, d time.Duration) causal.HLC {
	t.Helper()
	s.time.advance(d)
	h, err := s.clock.Now()
	must(t, err)
	return h
}

func TestClaimsSurvive(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	a := Claim{N: 3, Partition: 2, Floor: 20, PurgeLevel: 10}
	b := Claim{N: 3, Partition: 15, PurgeLevel: 7, Rebuilding: true}
	c := Claim{N: 1, Partition: 2, Floor: 9}
	must(t, s.SetClaims(context.Background(), testBits, []Claim{a, b, c}))
	must(t, s.SetClaims(context.Background(), testBits, []Claim{{N: 1, Partition: 2}}))
	must(t, s.Attest(context.Background(), 30))
	must(t, s.Attest(context.Background(), 25))
	for range 2 {
		if got, want := s.Claims(), []Claim{a, b}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if got := s.ClaimOf(3, 2<<60|5); got != a {
			t.Fatal(got)
		}
		if got := s.ClaimOf(1, 2<<60); got != (Claim{N: 1}) {
			t.Fatal(got)
		}
		if s.Attested() != 30 {
			t.Fatal(s.Attested())
		}
		mustClose(t, s)
		s = open(t, fs)
	}
	for _, wrong := range []Claim{{N: 3, Partition: 16}, {N: 0, Partition: 1}, {N: 3, Partition: -1}} {
		if err := s.SetClaims(context.Background(), testBits, []Claim{wrong}); err == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}
}

// A claim that can't be read is not one that was never made: what it denied is not known any more.
func TestCorruptClaim(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	k := key("a", "")
	c := s.claim(t, k, 20, 10, false)
	s.raw(t, claimKey(testBits, c), []byte("x"))
	mustClose(t, s)
	s = open(t, fs)
	if got, want := s.Claims(), (Claim{N: 3, Partition: c.Partition, Rebuilding: true}); len(got) != 1 || got[0] != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

// What may be purged here is not taken from who doesn't know of that, and is from who does: then it was lost here.
func TestPurgeLevelDenies(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	old := s.foreign(t, "old")
	level := s.later(t, time.Hour)
	s.claim(t, k, level+1, level, false)
	s.merge(t, Merge{Key: k, State: old, N: 3, Sync: true})
	wantValues(t, s.get(t, k), "")
	s.merge(t, Merge{Key: k, State: old.Claims(causal.State{Floor: level - 1}), N: 3, Sync: true})
	wantValues(t, s.get(t, k), "")
	s.merge(t, Merge{Key: k, State: old.Claims(causal.State{Floor: level}), N: 3, Sync: true})
	wantValues(t, s.get(t, k), "old")
	if got := s.get(t, k); got.Floor != 0 || got.PurgeLevel != 0 {
		t.Fatalf("an item keeps claims of its own: %+v", got)
	}
	s.checkTrees(t)
	// An owner that is rebuilding is told of what it has and others have purged.
	s.claim(t, k, 0, level, true)
	s.merge(t, Merge{Key: k, State: causal.State{Floor: level, PurgeLevel: level}, N: 3, Sync: true})
	if items, _, err := s.Range(context.Background(), RangeRequest{Bucket: 7}); err != nil || len(items) != 0 {
		t.Fatalf("%v %v", items, err)
	}
	s.checkTrees(t)
}

func TestAttestRefusesWhatIsFresh(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	k := key("a", "")
	held, late := s.foreign(t, "held"), s.foreign(t, "late")
	fresh := func(state causal.State) Merge {
		return Merge{Key: k, State: state, N: 3, Fresh: state.Versions[0].Dot.HLC, Sync: true}
	}
	s.merge(t, fresh(held))
	at := s.later(t, time.Second)
	must(t, s.Attest(context.Background(), at))
	for range 2 {
		s.merge(t, fresh(held)) // once more: it is here
		err := s.Merge(context.Background(), []Merge{fresh(late)})[0]
		if below, ok := errors.AsType[*BelowFloorError](err); !ok || below.Floor != at || !errors.Is(err, ErrBelowFloor) {
			t.Fatalf("got %v", err)
		}
		wantValues(t, s.get(t, k), "held")
		mustClose(t, s)
		s = open(t, fs)
		s.time.advance(time.Hour)
	}
	s.merge(t, fresh(s.foreign(t, "new")))
	wantValues(t, s.get(t, k), "held,new")
	repair := fresh(late)
	repair.Fresh = 0
	s.merge(t, repair)
	if got := s.get(t, k); len(got.Versions) != 3 {
		t.Fatal(values(got))
	}
}

// A put is minted above what was attested, tells what is claimed, and is minted once more when another owner has refused it.
func TestPutAboveAttested(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	at := s.later(t, 0) + 1000
	must(t, s.Attest(context.Background(), at))
	s.claim(t, k, 50, 40, false)
	put := Put{Key: k, Write: s.write("x"), Sync: true, N: 3}
	first, c, err := s.Put(context.Background(), put)
	must(t, errors.Join(err, c.Wait(context.Background())))
	if first.Version.Dot.HLC <= at || first.State.Floor != 50 || first.State.PurgeLevel != 40 {
		t.Fatalf("%+v", first)
	}
	s.claim(t, k, 0, 40, true)
	put.Above = first.Version.Dot.HLC - 1
	if again, _, err := s.Put(context.Background(), put); err != nil || !again.Repeated || again.State.Floor != 0 || again.State.PurgeLevel != 0 {
		t.Fatalf("%+v %v", again, err)
	}
	put.Above = first.Version.Dot.HLC + 5
	again, _, err := s.Put(context.Background(), put)
	if err != nil || again.Repeated || again.Version.Dot.HLC <= put.Above || len(again.State.Versions) != 1 {
		t.Fatalf("%+v %v", again, err)
	}
	wantValues(t, s.get(t, k), "x")
}

func (s *testStore) purge(t testing.TB) Purged {
	t.Helper()
	done, err := s.Purge(context.Background(), func(uint64) int { return 3 }, noPace)
	must(t, err)
	return done
}

func (s *testStore) delete(t testing.TB, k Key) {
	t.Helper()
	w := s.write("")
	w.Tombstone, w.Context = true, s.get(t, k).Context()
	s.put(t, k, w)
}

func TestPurge(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	deleted, overwritten, owed, plain, expired := key("a", "deleted"), key("a", "overwritten"), key("a", "owed"), key("a", "plain"), key("a", "expired")
	for _, k := range []Key{deleted, overwritten, owed, plain} {
		s.put(t, k, s.write("1"))
	}
	brief := s.write("brief")
	brief.TTL = time.Minute
	s.put(t, expired, brief)
	s.delete(t, deleted)
	s.overwrite(t, overwritten, "2")
	s.delete(t, owed)
	must(t, s.Owe(context.Background(), owed, node(9), 1))
	if got := s.purge(t); got != (Purged{}) {
		t.Fatalf("purged without a claim: %+v", got)
	}
	level := s.later(t, 30*time.Second)
	s.claim(t, deleted, level, level, false)
	if got := s.purge(t); got.Items != 0 {
		t.Fatalf("purged within the margin: %+v", got)
	}
	level = s.later(t, time.Hour)
	s.claim(t, deleted, level, level, true)
	if got := s.purge(t); got.Items != 0 {
		t.Fatalf("purged while rebuilding: %+v", got)
	}
	s.claim(t, deleted, level, level, false)
	if got := s.purge(t); got.Items != 3 || got.Removed != 2 || got.Leaves != 1 {
		t.Fatalf("got %+v", got)
	}
	if got := s.purge(t); got.Items != 0 || got.Leaves != 1 {
		t.Fatalf("the item that is owed is looked at again, and stays: %+v", got)
	}
	wantValues(t, s.get(t, overwritten), "2")
	wantValues(t, s.get(t, plain), "1")
	if !s.get(t, overwritten).Versions[0].Past.IsZero() || len(s.get(t, owed).Versions) != 1 {
		t.Fatal("a past stays, or a hint has gone")
	}
	hints, err := s.Hints(node(9), nil, 10)
	must(t, err)
	_, err = s.SettleHint(context.Background(), hints[0], s.get(t, owed).Digest(), false)
	must(t, err)
	s.checkTrees(t)
	mustClose(t, s)
	s = open(t, fs) // where everything is looked at once
	s.time.advance(2 * time.Hour)
	if got := s.purge(t); got.Items != 1 || got.Removed != 1 {
		t.Fatalf("got %+v", got)
	}
	if s.PurgeDue() != 0 {
		t.Fatalf("%d leaves are due", s.PurgeDue())
	}
	s.checkTrees(t)
}

// A tombstone that this owner has purged and another has not yet is not taken back.
func TestPurgedIsNotTakenBack(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	s.put(t, k, s.write("1"))
	s.delete(t, k)
	theirs := s.get(t, k)
	level := s.later(t, time.Hour)
	s.claim(t, k, level, level, false)
	if got := s.purge(t); got.Removed != 1 {
		t.Fatalf("got %+v", got)
	}
	s.put(t, k, s.write("sync"))
	must(t, s.Lose(context.Background(), k, false))
	written := s.Metrics().LogLogical
	s.merge(t, Merge{Key: k, State: theirs.Claims(causal.State{Floor: level}), N: 3, Sync: true})
	if len(s.get(t, k).Versions) != 0 || s.Metrics().LogLogical != written {
		t.Fatal("it was")
	}
}

func TestHintsUpTo(t *testing.T) {
	s := open(t, vfs.NewMem())
	early, late := key("early", ""), key("late", "")
	s.put(t, early, s.write("x"), node(9))
	between := s.later(t, time.Second)
	s.time.advance(time.Second)
	s.put(t, late, s.write("y"), node(9))
	found := func(h causal.HLC, want func(uint64, uint64) bool) (tokens []uint64) {
		must(t, s.HintsUpTo(context.Background(), h, want, func(_, token uint64) { tokens = append(tokens, token) }))
		return tokens
	}
	all := func(uint64, uint64) bool { return true }
	if got := found(between, all); !slices.Equal(got, []uint64{early.Token}) {
		t.Fatalf("%x", got)
	}
	if got := found(s.later(t, time.Second), all); len(got) != 2 {
		t.Fatalf("%x", got)
	}
	if got := found(between, func(_, token uint64) bool { return token != early.Token }); len(got) != 0 {
		t.Fatalf("%x", got)
	}
}
