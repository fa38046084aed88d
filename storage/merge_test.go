package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

func TestMergeBatch(t *testing.T) {
	s := open(t, vfs.NewMem())
	var merges []Merge
	for i := range 100 {
		merges = append(merges, Merge{Key: key(fmt.Sprint(i%40), ""), State: s.foreign(t, fmt.Sprint(i)), Sync: i%3 == 0})
	}
	merges = append(merges, Merge{State: s.foreign(t, "no key")})
	errs := s.Merge(context.Background(), merges)
	for i, err := range errs[:100] {
		if err != nil {
			t.Errorf("merge %d: %v", i, err)
		}
	}
	var keyErr *KeyError
	if !errors.As(errs[100], &keyErr) {
		t.Errorf("got %v", errs[100])
	}
	// One key many times in a batch: every state counts.
	wantValues(t, s.get(t, key("7", "")), "7,47,87")
	if errs := s.Merge(context.Background(), nil); len(errs) != 0 {
		t.Errorf("got %v", errs)
	}
}

func TestMergeIsIdempotent(t *testing.T) {
	s := open(t, vfs.NewMem())
	k, state := key("a", ""), s.foreign(t, "x")
	s.merge(t, Merge{Key: k, State: state, Sync: true})
	written := s.Metrics().LogLogical
	s.merge(t, Merge{Key: k, State: state, Sync: true})
	if more := s.Metrics().LogLogical - written; more != 0 {
		t.Errorf("%d bytes written for nothing new", more)
	}
	wantValues(t, s.get(t, k), "x")
	s.merge(t, Merge{Key: key("b", "")})
	if items, _, err := s.Range(context.Background(), RangeRequest{Bucket: 7}); err != nil || len(items) != 1 {
		t.Errorf("an empty state made a record: %v, %v", items, err)
	}
}

// A merge that would make a state nobody can decode is refused.
func TestMergeTooManyVersions(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	fill := func(first int) causal.State {
		var state causal.State
		for i := range causal.MaxVersions {
			dot := causal.Dot{Actor: causal.Actor(first + i), HLC: causal.HLC(first + i)}
			state.Versions = append(state.Versions, causal.Version{Dot: dot, Tombstone: true})
		}
		return state
	}
	s.merge(t, Merge{Key: k, State: fill(1), Sync: true})
	var limit *LimitError
	err := s.Merge(context.Background(), []Merge{{Key: k, State: fill(2)}})[0]
	if !errors.As(err, &limit) {
		t.Fatalf("got %v", err)
	}
	if n := len(s.get(t, k).Versions); n != causal.MaxVersions {
		t.Fatalf("%d versions", n)
	}
}

// TestDigest: it is the digest of what Read returns, and its commit is the one that Read's is.
func TestDigest(t *testing.T) {
	s := open(t, vfs.NewMem())
	s.put(t, key("there", ""), s.write("x"))
	for _, k := range []Key{key("there", ""), key("missing", "")} {
		state, want, err := s.Read(k)
		if err != nil {
			t.Fatal(err)
		}
		digest, commit, err := s.Digest(k)
		if err != nil || digest != state.Digest() || commit != want {
			t.Errorf("%s: digest %x of %v, commit %v of %v, error %v", k.Partition, digest, state, commit, want, err)
		}
	}
	if _, _, err := s.Digest(Key{}); err == nil {
		t.Error("the digest of no key")
	}
}

// TestThen: who asks is told once, whether the commit is done already or not.
func TestThen(t *testing.T) {
	s := open(t, vfs.NewMem())
	for range 100 {
		_, c, err := s.Put(context.Background(), Put{Key: key("k", ""), Write: s.write("x"), Sync: true})
		if err != nil {
			t.Fatal(err)
		}
		told := make(chan error, 3)
		for range 2 {
			c.Then(func(err error) { told <- err })
		}
		for range 2 {
			if err := <-told; err != nil {
				t.Fatal(err)
			}
		}
		c.Then(func(err error) { told <- err })
		if len(told) != 1 {
			t.Fatalf("%d were told of a commit that is done", len(told))
		}
	}
	called := false
	Commit{}.Then(func(err error) { called = err == nil })
	if !called {
		t.Error("the zero Commit is done")
	}
}

// A corrupt record is an error that names the key: for it alone, not for the rest of the batch, and never an
// empty item.
func TestCorruptRecord(t *testing.T) {
	s := open(t, vfs.NewMem())
	bad, good := key("bad", ""), key("good", "")
	s.put(t, bad, s.write("x"))
	s.put(t, good, s.write("y"))
	s.raw(t, AppendKey(nil, bad), []byte{recordFormat, 1, 2, 3, 4, 5})
	check := func(what string, err error) {
		t.Helper()
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || string(corrupt.Key) != string(AppendKey(nil, bad)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx := context.Background()
	_, err := s.Get(ctx, bad)
	check("get", err)
	_, _, err = s.Digest(bad)
	check("digest", err)
	_, _, err = s.Put(ctx, Put{Key: bad, Write: s.write("z")})
	check("put", err)
	errs := s.Merge(ctx, []Merge{{Key: bad, State: s.foreign(t, "f")}, {Key: good, State: s.foreign(t, "f"), Sync: true}})
	check("merge", errs[0])
	if errs[1] != nil {
		t.Error(errs[1])
	}
	wantValues(t, s.get(t, good), "y,f")
	_, _, err = s.Range(ctx, RangeRequest{Bucket: 7})
	check("range", err)
	check("owe", s.Owe(ctx, bad, node(1), 1))
	_, _, err = s.HintState(ctx, Hint{Key: bad})
	check("hint", err)
	_, err = s.SettleHint(ctx, Hint{Key: bad}, causal.Digest{}, false)
	check("settle", err)
	if s.Err() != nil {
		t.Error("one corrupt record failed the store")
	}
}
