package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRegistry(t *testing.T, o Options) *Registry {
	t.Helper()
	o.Node = "n1"
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func start(t *testing.T, r *Registry, run func(context.Context, *Progress) error) Task {
	t.Helper()
	got, err := r.Start("repair", []Argument{{"bucket", "b"}}, run)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// ended waits for the end of a task.
func ended(t *testing.T, r *Registry, id string) Task {
	t.Helper()
	for known := uint64(0); ; {
		got, err := r.Wait(t.Context(), id, known)
		if err != nil {
			t.Fatal(err)
		}
		if got.State != Running {
			return got
		}
		known = got.Version
	}
}

// untilCancelled is an operation without an end of its own.
func untilCancelled(ctx context.Context, _ *Progress) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestLifeOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := newRegistry(t, Options{})
		step := make(chan struct{})
		first := start(t, r, func(_ context.Context, p *Progress) error {
			p.Total("pairs", 2)
			<-step
			p.Add(Counter{Name: "pairs", Done: 1}, Counter{Name: "items", Done: 7})
			p.End(Part{Nodes: []string{"n1", "n2"}, Counters: []Counter{{Name: "items", Done: 7}}})
			<-step
			p.Add(Counter{Name: "pairs", Done: 1})
			p.End(Part{Nodes: []string{"n1", "n3"}, Error: "away"})
			time.Sleep(time.Minute)
			return errors.New("1 of 2 failed")
		})
		if first.State != Running || first.Kind != "repair" || !first.Started.Equal(began) || !slices.Equal(first.Arguments, []Argument{{"bucket", "b"}}) {
			t.Errorf("at first: %+v", first)
		}
		if node, ok := NodeOf(first.ID); node != "n1" || !ok {
			t.Errorf("id %q is of %q", first.ID, node)
		}
		synctest.Wait()
		before, _ := r.Get(first.ID)
		step <- struct{}{}
		after, err := r.Wait(t.Context(), first.ID, before.Version)
		if err != nil || after.Version == before.Version {
			t.Errorf("no change was seen: %+v, %v", after, err)
		}
		synctest.Wait()
		after, _ = r.Get(first.ID)
		if want := []Counter{{"pairs", 1, 2}, {"items", 7, 0}}; !slices.Equal(after.Counters, want) || len(after.Parts) != 1 {
			t.Errorf("in between: %+v", after)
		}
		step <- struct{}{}
		last := ended(t, r, first.ID)
		if last.State != Failed || last.Error != "1 of 2 failed" || last.Ended.Sub(began) != time.Minute || last.Parts[1].Error != "away" {
			t.Errorf("at the end: %+v", last)
		}
		if len(after.Parts) != 1 || after.State != Running {
			t.Error("a copy changed with the task")
		}
		if got := ended(t, r, start(t, r, func(context.Context, *Progress) error { return nil }).ID); got.State != Done || got.Error != "" {
			t.Errorf("nothing failed: %+v", got)
		}
	})
}

func TestWaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{})
		running := start(t, r, untilCancelled)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if got, err := r.Wait(ctx, running.ID, running.Version); err != nil || got.Version != running.Version || time.Since(began) != time.Minute {
			t.Errorf("%+v, %v after %v", got, err, time.Since(began))
		}
		for _, id := range []string{"", "n1", "n1:", "n1:nothing", running.ID + "x"} {
			_, waited := r.Wait(t.Context(), id, 0)
			_, got := r.Get(id)
			_, cancelled := r.Cancel(id)
			if !errors.Is(waited, ErrUnknown) || !errors.Is(got, ErrUnknown) || !errors.Is(cancelled, ErrUnknown) {
				t.Errorf("%q: %v, %v, %v", id, waited, got, cancelled)
			}
		}
	})
}

func TestCancel(t *testing.T) {
	r := newRegistry(t, Options{MaxRunning: 2})
	one, two := start(t, r, untilCancelled), start(t, r, untilCancelled)
	if one.ID == two.ID {
		t.Fatalf("two tasks are called %s", one.ID)
	}
	if _, err := r.Start("repair", nil, untilCancelled); !errors.Is(err, ErrTooMany) {
		t.Errorf("a third: %v", err)
	}
	if _, err := r.Cancel(one.ID); err != nil {
		t.Fatal(err)
	}
	if got := ended(t, r, one.ID); got.State != Cancelled || got.Error != "" {
		t.Errorf("after cancel: %+v", got)
	}
	if got, _ := r.Get(two.ID); got.State != Running {
		t.Errorf("the other: %+v", got)
	}
	// One that is done before it hears of it is done.
	done := ended(t, r, start(t, r, func(context.Context, *Progress) error { return nil }).ID)
	if got, err := r.Cancel(done.ID); err != nil || got.State != Done {
		t.Errorf("cancel after the end: %+v, %v", got, err)
	}
	r.Close()
	if got, err := r.Get(two.ID); err != nil || got.State != Cancelled {
		t.Errorf("after Close: %+v, %v", got, err)
	}
	if _, err := r.Start("repair", nil, untilCancelled); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Only so many are kept, and running ones are not among those that are forgotten, however old.
func TestBounds(t *testing.T) {
	r := newRegistry(t, Options{MaxEnded: 3, MaxParts: 2})
	old := start(t, r, untilCancelled)
	var ids []string
	for range 10 {
		got := ended(t, r, start(t, r, func(_ context.Context, p *Progress) error {
			for i := range 5 {
				p.End(Part{Nodes: []string{fmt.Sprint(i)}})
			}
			return nil
		}).ID)
		if len(got.Parts) != 2 || got.PartsLeftOut != 3 {
			t.Fatalf("%d parts, %d left out", len(got.Parts), got.PartsLeftOut)
		}
		ids = append(ids, got.ID)
	}
	var listed []string
	for _, got := range r.List() {
		listed = append(listed, got.ID)
	}
	if want := []string{ids[9], ids[8], ids[7], old.ID}; !slices.Equal(listed, want) {
		t.Errorf("listed %v, want %v", listed, want)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids don't grow: %v", ids)
	}
}

// A clock that was set back gives no id twice.
func TestIDs(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	r := newRegistry(t, Options{Now: func() time.Time { return now }})
	seen := map[string]bool{}
	for range 5 {
		id := ended(t, r, start(t, r, func(context.Context, *Progress) error { return nil }).ID).ID
		if seen[id] || !strings.HasPrefix(id, "n1:") {
			t.Errorf("id %s", id)
		}
		seen[id] = true
		now = now.Add(-time.Hour)
	}
	for id, want := range map[string]bool{"n1:7": true, "n1": false, ":7": false, "n1:": false, "": false} {
		if _, ok := NodeOf(id); ok != want {
			t.Errorf("%q is an id: %v", id, ok)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no node": {}, "a colon": {Node: "a:b"}, "running": {Node: "n1", MaxRunning: -1}, "ended": {Node: "n1", MaxEnded: -1},
		"parts": {Node: "n1", MaxParts: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := State(9).String() + Cancelled.String(); got != "unknowncancelled" {
		t.Error(got)
	}
}
