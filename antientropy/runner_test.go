package antientropy

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/ring"
)

// Exchanges come by themselves: soon after the start, then every interval, sooner after a failure, and when a node has
// come back.
func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		up.Store(true)
		p := newPair(t, func(o *Options) { o.Up = func(ring.NodeID) bool { return up.Load() } })
		r, err := New(p.o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		pass := func(d time.Duration) Totals {
			time.Sleep(d)
			synctest.Wait()
			return r.Totals()
		}
		if got := pass(32 * time.Second); got.Exchanges != 1 || got.Failed != 0 {
			t.Errorf("after the start: %+v", got)
		}
		if got := pass(60 * time.Minute); got.Exchanges < 6 || got.Exchanges > 8 {
			t.Errorf("after an hour: %d exchanges", got.Exchanges)
		}
		broken := errors.New("broken")
		p.fail(func() error { return broken })
		before := pass(12 * time.Minute)
		if before.Failed == 0 || !errors.Is(r.Peerings()[asked].Err, broken) {
			t.Errorf("%+v, %+v", before, r.Peerings())
		}
		if got := pass(2 * time.Minute); got.Failed < before.Failed+2 {
			t.Errorf("%d and then %d failed: not tried again", before.Failed, got.Failed)
		}
		p.fail(func() error { return nil })
		up.Store(false)
		before = r.Totals()
		if got := pass(time.Hour); got.Exchanges != before.Exchanges {
			t.Error("exchanges with a node that is down")
		}
		up.Store(true)
		r.Wake(asked)
		if got := pass(2 * time.Second); got.Exchanges != before.Exchanges+1 || r.Peerings()[asked].Failed != 0 {
			t.Errorf("after it came back: %+v, before %+v", got, before)
		}
		if oldest, ok := r.Oldest(); !ok || time.Since(oldest) > 3*time.Second {
			t.Errorf("the oldest exchange is of %v", oldest)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestRunnerOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, func(o *Options) { o.Interval = -1 })
		r, err := New(p.o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := r.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || r.Totals().Exchanges != 0 {
			t.Errorf("%v, %+v", err, r.Totals())
		}
		if _, err := r.Exchange(t.Context(), asked, Scope{}); err != nil {
			t.Errorf("one that is asked for: %v", err)
		}
	})
}

func TestOptions(t *testing.T) {
	p := newPair(t)
	for name, change := range map[string]func(*Options){
		"no store": func(o *Options) { o.Store = nil },
		"no peer":  func(o *Options) { o.Peer.Items = nil },
		"no plan":  func(o *Options) { o.Plan = nil },
		"a rate":   func(o *Options) { o.BytesPerSecond = -1 },
	} {
		o := p.o
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	p.o.Plan = func(ring.NodeID) Plan { return Plan{} }
	r, err := New(p.o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Exchange(t.Context(), asked, Scope{}); !errors.Is(err, ErrShared) {
		t.Error(err)
	}
}
