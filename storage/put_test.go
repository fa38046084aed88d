package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

func TestPutGet(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "1")
	if state := s.get(t, k); len(state.Versions) != 0 {
		t.Fatalf("got %+v", state)
	}
	first := s.put(t, k, s.write("one"))
	wantValues(t, first.State, "one")
	wantValues(t, s.get(t, k), "one")
	wantValues(t, s.put(t, k, s.write("two")).State, "one,two")
	wantValues(t, s.overwrite(t, k, "three").State, "three")
	wantValues(t, s.get(t, k), "three")
	if len(s.get(t, key("a", "2")).Versions) != 0 {
		t.Error("another sort key has a value")
	}
}

func TestPutLastWriteWins(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	for i := range 3 {
		_, c, err := s.Put(context.Background(), Put{Key: k, Policy: causal.LastWriteWins, Write: s.write(fmt.Sprint(i)), Sync: true})
		must(t, err)
		must(t, c.Wait(context.Background()))
	}
	wantValues(t, s.get(t, k), "2")
}

// A request id that the item knows, live or replaced, mints nothing; also after a restart.
func TestPutRepeated(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	k, w := key("a", ""), s.write("one")
	first := s.put(t, k, w)
	for range 2 {
		again := s.put(t, k, w)
		if !again.Repeated || again.Version.Dot != first.Version.Dot {
			t.Fatalf("got %+v", again)
		}
		wantValues(t, again.State, "one")
		mustClose(t, s)
		s = open(t, fs)
	}
	s.overwrite(t, k, "two")
	again := s.put(t, k, w)
	if !again.Repeated || again.Version.Dot != (causal.Dot{}) {
		t.Fatalf("got %+v", again)
	}
	wantValues(t, again.State, "two")
}

// The actor stays with the record for as long as the process lives, and no longer than the record.
func TestActor(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	k := key("a", "")
	a := s.put(t, k, s.write("1"), node(1)).Version.Dot.Actor
	if b := s.put(t, k, s.write("2")).Version.Dot.Actor; b != a {
		t.Errorf("a second actor %v for one record", b)
	}
	if b := s.put(t, key("b", ""), s.write("3")).Version.Dot.Actor; b == a {
		t.Error("one actor for two records")
	}
	hints, err := s.Hints(node(1), nil, 10)
	if err != nil || len(hints) != 1 {
		t.Fatalf("got %v, %v", hints, err)
	}
	settled, err := s.SettleHint(context.Background(), hints[0], s.get(t, k).Digest(), true)
	if err != nil || !settled {
		t.Fatalf("got %t, %v", settled, err)
	}
	if len(s.get(t, k).Versions) != 0 {
		t.Fatal("the record is still there")
	}
	c := s.put(t, k, s.write("4")).Version.Dot.Actor
	if c == a {
		t.Error("the actor of a dropped record was used again")
	}
	mustClose(t, s)
	s = open(t, fs)
	if d := s.put(t, k, s.write("5")).Version.Dot.Actor; d == c {
		t.Error("the actor of another run was used again")
	}
}

func TestRequestWindow(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	put := func(w causal.Write) (PutResult, error) {
		r, _, err := s.Put(context.Background(), Put{Key: k, Write: w})
		return r, err
	}
	// From a client whose estimate is a little ahead: minted no earlier than that.
	s.time.advance(400 * time.Millisecond)
	ahead := s.write("ahead")
	s.time.advance(-400 * time.Millisecond)
	r, err := put(ahead)
	if err != nil || r.Version.Dot.HLC.Millis() < ahead.RequestID.Millis() {
		t.Fatalf("got %v, %v", r.Version.Dot, err)
	}
	// From far ahead: refused.
	s.time.advance(time.Hour)
	far := s.write("far")
	s.time.advance(-time.Hour)
	if _, err := put(far); !errors.Is(err, causal.ErrClockOffset) {
		t.Fatalf("got %v", err)
	}
	last, old := s.write("last"), s.write("old")
	s.time.advance(causal.RetryWindow)
	if _, err := put(last); err != nil {
		t.Fatal(err)
	}
	s.time.advance(time.Millisecond)
	_, err = put(old)
	var tooOld *TooOldError
	if !errors.Is(err, ErrTooOld) || !errors.As(err, &tooOld) || tooOld.Age <= tooOld.Window {
		t.Fatalf("got %v", err)
	}
	// What was minted in time is known for longer than that.
	if r, err := put(last); err != nil || !r.Repeated {
		t.Fatalf("got %+v, %v", r, err)
	}
	wantValues(t, s.get(t, k), "ahead,last")
}

func TestPutWithoutClock(t *testing.T) {
	s, err := Open(Options{Dir: "/d", FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	must(t, err)
	defer s.Close()
	if _, _, err := s.Put(context.Background(), Put{Key: key("a", "")}); !errors.Is(err, ErrNoClock) {
		t.Errorf("got %v", err)
	}
	if err := s.Owe(context.Background(), key("a", ""), node(1), 1); !errors.Is(err, ErrNoClock) {
		t.Errorf("got %v", err)
	}
}

func TestClockBound(t *testing.T) {
	s := open(t, vfs.NewMem())
	bounded := causal.NewClock(s.time.now, time.Second, 0)
	s.Store.clock.Store(bounded)
	put := func() error {
		_, _, err := s.Put(context.Background(), Put{Key: key("a", ""), Write: s.write("1")})
		return err
	}
	if err := put(); !errors.Is(err, causal.ErrBound) {
		t.Fatalf("got %v", err)
	}
	bounded.Raise(causal.NewHLC(start+1000, 0))
	must(t, put())
}

func TestLimits(t *testing.T) {
	s := open(t, vfs.NewMem(), func(o *Options) { o.MaxSiblings, o.MaxStateBytes = 3, 2000 })
	k := key("a", "")
	for range 3 {
		s.put(t, k, s.write("x"))
	}
	var limit *LimitError
	if _, _, err := s.Put(context.Background(), Put{Key: k, Write: s.write("x")}); !errors.As(err, &limit) || limit.What != "siblings" {
		t.Fatalf("got %v", err)
	}
	// Merges are not refused, and what brings a too large item down is let through.
	s.merge(t, Merge{Key: k, State: s.foreign(t, "y"), Sync: true})
	s.merge(t, Merge{Key: k, State: s.foreign(t, "z"), Sync: true})
	w := s.write("four")
	w.Context = causal.State{Versions: s.get(t, k).Versions[:2]}.Context()
	if r := s.put(t, k, w); len(r.State.Versions) != 4 {
		t.Fatalf("got %d siblings", len(r.State.Versions))
	}
	wantValues(t, s.overwrite(t, k, "one").State, "one")
	large := s.write(string(make([]byte, 2000)))
	if _, _, err := s.Put(context.Background(), Put{Key: k, Write: large}); !errors.As(err, &limit) || limit.What != "bytes" {
		t.Fatalf("got %v", err)
	}
	wantValues(t, s.get(t, k), "one")
	if _, _, err := s.Put(context.Background(), Put{Write: large}); err == nil {
		t.Error("an empty key was taken")
	}
}
