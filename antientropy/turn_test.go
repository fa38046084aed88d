package antientropy

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// startRunner runs a Runner until the test ends.
func startRunner(t *testing.T, o Options) *Runner {
	t.Helper()
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return r
}

// Exchanges begin within the window alone; when it closes the one under way stops, is no failure, and is due when it opens again.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Bool
		var steps atomic.Int64
		p := newPair(t, func(o *Options) {
			o.Window = func(time.Time) bool { return open.Load() }
			o.Pause = func(context.Context, int64) error {
				if steps.Add(1) == 3 {
					open.Store(false) // in the midst of what differs
				}
				return nil
			}
		})
		for i := range 20 {
			p.put(itemKey(bucketA, fmt.Sprint("item-", i), ""), p.version("one"), i%2)
		}
		r := startRunner(t, p.o)
		pass := func(d time.Duration) Totals {
			time.Sleep(d)
			synctest.Wait()
			return r.Totals()
		}
		if got := pass(time.Hour); got.Exchanges != 0 {
			t.Errorf("outside of the window: %+v", got)
		}
		if _, err := r.Exchange(t.Context(), asked, Scope{Partitions: []int{0}}); err != nil || r.Totals().Exchanges != 1 {
			t.Errorf("one that is asked for: %v", err)
		}
		open.Store(true)
		got := pass(time.Minute)
		if open.Load() || got.Exchanges != 2 || got.Failed != 0 || got.Fetched+got.Pushed == 0 || got.Fetched+got.Pushed == 20 {
			t.Errorf("one that was stopped: %+v after %d steps", got, steps.Load())
		}
		if peer := r.Peerings()[asked]; !peer.Last.IsZero() || peer.Failed != 0 || peer.Err != nil {
			t.Errorf("%+v", peer)
		}
		if again := pass(time.Hour); again.Exchanges != got.Exchanges {
			t.Errorf("it went on: %+v", again)
		}
		open.Store(true)
		if got := pass(2 * time.Second); got.Exchanges != 3 || r.Peerings()[asked].Last.IsZero() {
			t.Errorf("when it opened again: %+v", got)
		}
		p.same()
	})
}

// While an exchange waits for clients another that is asked for comes to its end, and the wait is counted.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		p := newPair(t, func(o *Options) {
			o.Pause = func(ctx context.Context, _ int64) error {
				select {
				case <-let:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
		for i := range 20 {
			p.put(itemKey(bucketA, fmt.Sprint("item-", i), ""), p.version("one"), i%2)
		}
		r := startRunner(t, p.o)
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.Busy() || p.rounds != 0 {
			t.Error("it is at work while it is to wait")
		}
		if got, err := r.Exchange(t.Context(), asked, Scope{Look: true}); err != nil || got.Unlike != 20 {
			t.Errorf("one that is asked for: %+v, %v", got, err)
		}
		close(let)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.Totals(); got.Exchanges != 2 || got.Held < 29*time.Second || r.Busy() {
			t.Errorf("%+v", got)
		}
		p.same()
	})
}

// A Runner that ends while an exchange waits leaves its turn to nobody, and takes nobody's.
func TestEndOfAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		p := newPair(t, func(o *Options) {
			o.Pause = func(ctx context.Context, _ int64) error {
				<-ctx.Done()
				order = append(order, "ended")
				return ctx.Err()
			}
		})
		r, err := New(p.o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := r.Run(ctx); err == nil || !slices.Equal(order, []string{"ended"}) {
			t.Errorf("%v, %v", err, order)
		}
		for range 3 {
			if _, err := r.Exchange(t.Context(), asked, Scope{}); err != nil || r.Busy() {
				t.Errorf("afterwards: %v", err)
			}
		}
	})
}
