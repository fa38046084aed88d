package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// timed runs a workload of reads under fake time.
func timed(t *testing.T, o Options, duration time.Duration, do func(ctx context.Context) error) *Result {
	t.Helper()
	return timedIn(t, t.Context(), o, duration, do)
}

func timedIn(t *testing.T, ctx context.Context, o Options, duration time.Duration, do func(ctx context.Context) error) *Result {
	t.Helper()
	o.Workload, o.Items, o.Values = Workloads()[2], newItems(t, 10, false), NewValues(1, 1)
	o.Do = func(ctx context.Context, _ int, _ Op) error { return do(ctx) }
	o.ErrorKind = func(err error) string { return err.Error() }
	r, err := NewRunner(o)
	if err != nil {
		t.Fatal(err)
	}
	return r.Run(ctx, duration)
}

func sleep(d time.Duration) func(context.Context) error {
	return func(context.Context) error {
		time.Sleep(d)
		return nil
	}
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := timed(t, Options{Callers: 4}, time.Second, sleep(10*time.Millisecond))
		if r.All.Done != 400 || r.All.PerSecond != 400 || r.Seconds != 1 || r.NotStarted != 0 || r.Interrupted {
			t.Errorf("%+v", r)
		}
		if l := r.All.Latency; l.P50 < 9.99 || l.P50 > 10.01 || l.Max != l.P50 || r.Lag.Max > 0.001 {
			t.Errorf("latency %+v, lag %+v", l, r.Lag)
		}
		if len(r.Kinds) != 1 || r.Kinds[0].Kind != "read" {
			t.Errorf("kinds %+v", r.Kinds)
		}
	})
}

// TestWhatEndsTooLate: an operation that is under way at the end is waited for and counted, but is no throughput.
func TestWhatEndsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := timed(t, Options{Callers: 2}, time.Second, sleep(700*time.Millisecond))
		if r.All.Done != 4 || r.All.PerSecond != 2 || r.Seconds != 1 {
			t.Errorf("%+v", r.All)
		}
	})
}

// TestStallIsSeenByAllThatWereDue: with a rate, what could not start because another operation stalled has waited.
func TestStallIsSeenByAllThatWereDue(t *testing.T) {
	stall := func() func(context.Context) error {
		n := 0
		return func(context.Context) error {
			if n++; n == 50 { // due at 500 ms
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := timed(t, Options{Callers: 1, Rate: 100, Even: true}, time.Second, stall())
		if r.All.Done != 99 || r.NotStarted != 0 {
			t.Fatalf("%d done, %d not started", r.All.Done, r.NotStarted)
		}
		// Due at 500, 510, ... 800 ms, and all of them over at 800 ms: 300, 290, ... 10 ms.
		if waited := longerThan(r, 5); waited != 30 {
			t.Errorf("%d operations took longer than 5 ms, want 30: %+v", waited, r.All.Histogram)
		}
		if longerThan(r, 200) != 10 || longerThan(r, 100) != 20 {
			t.Errorf("%+v", r.All.Histogram)
		}
		if r.All.Latency.Max < 299 || r.All.Latency.Max > 301 || r.Lag.Max < 289 || r.Lag.Max > 291 {
			t.Errorf("latency %+v, lag %+v", r.All.Latency, r.Lag)
		}
	})
	// The closed loop has the blind spot that the rate is there for: one operation alone has seen the stall.
	synctest.Test(t, func(t *testing.T) {
		do := stall()
		r := timed(t, Options{Callers: 1}, time.Second, func(ctx context.Context) error {
			time.Sleep(time.Millisecond)
			return do(ctx)
		})
		if waited := longerThan(r, 5); waited != 1 {
			t.Errorf("%d operations took longer than 5 ms, want 1", waited)
		}
	})
}

// longerThan counts operations in bars above an edge, in milliseconds.
func longerThan(r *Result, edge float64) (n uint64) {
	for _, bar := range r.All.Histogram {
		if bar.From >= edge {
			n += bar.Count
		}
	}
	return n
}

// TestWhatCanNotBeStarted: a target that is too slow for the rate leaves operations that were due.
func TestWhatCanNotBeStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int64
		r := timed(t, Options{Callers: 2, Rate: 10, Even: true}, 5*time.Second, func(context.Context) error {
			most.Store(max(most.Load(), under.Add(1)))
			time.Sleep(time.Second)
			under.Add(-1)
			return nil
		})
		if r.All.Done+r.NotStarted != 49 || r.All.Done != 10 { // due at 0.1, 0.2, ... 4.9 s
			t.Errorf("%d done, %d not started", r.All.Done, r.NotStarted)
		}
		if most.Load() != 2 {
			t.Errorf("%d under way at once", most.Load())
		}
	})
}

// TestFarTooHighARate: what could not be started is counted without drawing all of it.
func TestFarTooHighARate(t *testing.T) {
	for _, even := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := timed(t, Options{Callers: 1, Rate: 1e8, Even: even}, time.Minute, sleep(time.Second))
			// Random pauses shorter than a nanosecond are cut off, so some more are due.
			if r.All.Done != 60 || r.NotStarted < 5_990_000_000 || r.NotStarted > 6_060_000_000 {
				t.Errorf("%d done, %d not started", r.All.Done, r.NotStarted)
			}
		})
	}
}

func TestPoisson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Time
		o := Options{Callers: 1, Rate: 1000, Seed: 5}
		r := timed(t, o, 20*time.Second, func(context.Context) error {
			starts = append(starts, time.Now())
			return nil
		})
		if r.All.Done < 19_400 || r.All.Done > 20_600 { // the standard deviation is 141
			t.Errorf("%d operations, want about 20,000", r.All.Done)
		}
		short := 0
		for i := 1; i < len(starts); i++ {
			if starts[i].Sub(starts[i-1]) < time.Millisecond {
				short++
			}
		}
		// Of exponential gaps 1-1/e are shorter than the mean.
		if share := float64(short) / float64(len(starts)); share < 0.615 || share > 0.65 {
			t.Errorf("%.3f of the gaps are shorter than the mean, want 0.632", share)
		}
	})
}

func TestErrorsAreCountedByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r := timed(t, Options{Callers: 1}, time.Second, func(context.Context) error {
			time.Sleep(10 * time.Millisecond)
			switch n++; n % 10 {
			case 1:
				return errors.New("refused")
			case 2, 3:
				return errors.New("late")
			}
			return nil
		})
		if r.All.Done != 70 || r.All.Failed != 30 || r.All.Errors["refused"] != 10 || r.All.Errors["late"] != 20 {
			t.Errorf("%+v", r.All)
		}
		if r.ErrorShare() != 0.3 || r.Attempts() != 100 || r.All.PerSecond != 70 {
			t.Errorf("share %v of %d, %v a second", r.ErrorShare(), r.Attempts(), r.All.PerSecond)
		}
	})
}

// TestInterrupted: what was measured before stays, and what the end of the context cut short is no error.
func TestInterrupted(t *testing.T) {
	for _, rate := range []float64{0, 100} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond+time.Microsecond)
			defer cancel()
			r := timedIn(t, ctx, Options{Callers: 1, Rate: rate, Even: true}, time.Minute, func(ctx context.Context) error {
				if !until(ctx, time.Now().Add(10*time.Millisecond)) {
					return ctx.Err()
				}
				return nil
			})
			if !r.Interrupted || r.All.Failed != 0 || r.All.Done < 49 || r.All.Done > 50 || r.Seconds > 0.51 || r.NotStarted > 1 {
				t.Errorf("rate %v: %+v", rate, r)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{
		Workload: Workloads()[0], Items: newItems(t, 1, false), Values: NewValues(1, 1), Callers: 1,
		Do: func(context.Context, int, Op) error { return nil }, ErrorKind: func(error) string { return "" },
	}
	if _, err := NewRunner(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"callers": func(o *Options) { o.Callers = 0 },
		"rate":    func(o *Options) { o.Rate = -1 },
		"items":   func(o *Options) { o.Items = nil },
		"target":  func(o *Options) { o.Do = nil },
	} {
		o := good
		spoil(&o)
		if _, err := NewRunner(o); err == nil {
			t.Errorf("bad %s were taken", name)
		}
	}
}

// TestInsertsOfARun settles what was inserted, whatever became of it.
func TestInsertsOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		items, fail := newItems(t, 100, false), rand.New(rand.NewPCG(1, 1))
		inserts := uint64(0)
		r, err := NewRunner(Options{
			Workload: Workloads()[3], Items: items, Values: NewValues(1, 1), Callers: 1,
			Do: func(_ context.Context, _ int, op Op) error {
				time.Sleep(time.Millisecond)
				if op.Kind == Insert {
					inserts++
				}
				if fail.IntN(2) == 0 {
					return errors.New("failed")
				}
				return nil
			},
			ErrorKind: func(error) string { return "failed" },
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Run(t.Context(), time.Second)
		if inserts == 0 || items.Stored() != 100+inserts {
			t.Errorf("%d inserts, %d stored", inserts, items.Stored())
		}
	})
}
