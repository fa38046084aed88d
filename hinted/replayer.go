package hinted

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/starling-db/starling/ring"
)

// Replayer sends hints to their targets. Make one with New and run it with Run.
type Replayer struct {
	o     Options
	limit *rate.Limiter
	count counters

	woken struct {
		sync.Mutex
		targets map[ring.NodeID]bool // bounded by the nodes of the cluster
	}
	wake chan struct{} // has room for one: something is in woken, or the ring has changed

	rings atomic.Uint64 // how often the ring has changed
}

// target is what the scheduler remembers of a node with hints. Touched by Run alone.
type target struct {
	active   bool
	failures int       // passes in a row that made no progress
	until    time.Time // left alone until then
	corrupt  int64     // hints that its last whole pass could not read
	progress progress  // handed to the pass that runs, and back
	// swept is the change of the ring since which all its hints were looked at for those that have moved.
	swept uint64
}

// New checks the options. The Replayer does nothing before Run.
func New(o Options) (*Replayer, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &Replayer{o: o, wake: make(chan struct{}, 1)}
	// The burst is small, so that a batch that was sent at once is not followed by a second one at once.
	burst := min(o.BatchBytes, max(o.BytesPerSecond/20, 1))
	r.limit = rate.NewLimiter(rate.Limit(o.BytesPerSecond), int(burst))
	r.woken.targets = make(map[ring.NodeID]bool)
	r.rings.Store(1)
	return r, nil
}

// RingChanged says that owners may have changed: the hints of targets that are not up are looked at as well, for those that
// have moved. It never waits, and may be called before Run.
func (r *Replayer) RingChanged() {
	r.rings.Add(1)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Wake says that a target has come up: its hints are sent now, whatever its backoff. It never waits, and may be called
// before Run.
func (r *Replayer) Wake(id ring.NodeID) {
	r.woken.Lock()
	r.woken.targets[id] = true
	r.woken.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run replays hints until ctx is done; those that an earlier process has left are found by its first look. It returns
// ctx's error after the goroutines that it started.
func (r *Replayer) Run(ctx context.Context) error {
	targets := make(map[ring.NodeID]*target)
	results := make(chan *pass)
	var passes sync.WaitGroup
	defer passes.Wait()
	ticker := time.NewTicker(r.o.Interval)
	defer ticker.Stop()
	// Ends passes, which then must find somebody who takes their result.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		timer := time.NewTimer(r.schedule(ctx, targets, results, &passes))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case done := <-results:
			r.finish(targets[done.target], done)
		case <-r.wake:
			r.forgive(targets)
		case <-ticker.C:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// schedule starts a pass for each target that has hints, is up, and is not left alone, up to the limit. It returns the
// time until the next of the others may start.
func (r *Replayer) schedule(ctx context.Context, targets map[ring.NodeID]*target, results chan<- *pass, passes *sync.WaitGroup) time.Duration {
	now, next, rings := r.o.Now(), r.o.Interval, r.rings.Load()
	listed := make(map[ring.NodeID]bool)
	for _, s := range r.o.Store.HintStats() {
		id := ring.NodeID(s.Target)
		listed[id] = true
		t := targets[id]
		if t == nil {
			t = &target{}
			targets[id] = t
		}
		up := r.o.Up(id)
		switch wait := t.until.Sub(now); {
		case t.active || s.Items == 0 || !up && t.swept == rings:
		case wait > 0:
			next = min(next, wait)
		case r.count.active.Load() < int64(r.o.Targets):
			t.active = true
			r.count.active.Add(1)
			p := &pass{Replayer: r, target: id, progress: t.progress, rings: rings, sweep: !up}
			passes.Go(func() {
				p.run(ctx)
				r.count.active.Add(-1)
				select {
				case results <- p:
				case <-ctx.Done():
				}
			})
		}
	}
	for id, t := range targets {
		if !listed[id] && !t.active {
			r.count.corrupt.Add(-t.corrupt)
			delete(targets, id)
		}
	}
	return next
}

// finish takes in what a pass has done and decides when the next may start.
func (r *Replayer) finish(t *target, done *pass) {
	t.active, t.progress = false, done.progress
	if done.whole && done.corrupt != t.corrupt {
		r.count.corrupt.Add(done.corrupt - t.corrupt)
		t.corrupt = done.corrupt
		r.o.Logger.Error("hints that can't be read are skipped", "target", done.target, "hints", done.corrupt)
	}
	if done.settled > 0 {
		t.failures = 0
	}
	if done.whole && done.failed == 0 && done.err == nil {
		t.swept = done.rings
	}
	if done.err == nil {
		t.failures, t.until = 0, time.Time{}
		if done.settled+done.changed == 0 {
			t.until = r.o.Now().Add(r.o.Interval) // only hints that can't be read are left: there is no hurry
		}
		return
	}
	backoff := r.backoff(t.failures)
	t.failures++
	t.until = r.o.Now().Add(backoff)
	if !errors.Is(done.err, context.Canceled) {
		r.o.Logger.Warn("hints could not be handed over", "target", done.target, "settled", done.settled, "failed", done.failed,
			"error", done.err, "next_try_in", backoff)
	}
}

// backoff is how long a target is left alone after one more failure than so many in a row.
func (r *Replayer) backoff(failures int) time.Duration {
	d := r.o.BackoffMin
	for range failures {
		if d *= 2; d >= r.o.BackoffMax {
			d = r.o.BackoffMax
			break
		}
	}
	return d - time.Duration(r.o.Rand.Int64N(int64(d/2)+1))
}

// forgive ends the backoff of the targets that were woken.
func (r *Replayer) forgive(targets map[ring.NodeID]*target) {
	r.woken.Lock()
	defer r.woken.Unlock()
	for id := range r.woken.targets {
		if t := targets[id]; t != nil {
			t.failures, t.until = 0, time.Time{}
		}
	}
	clear(r.woken.targets)
}
