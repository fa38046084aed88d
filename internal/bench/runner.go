package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Target carries out one operation for a caller, a number from 0 on. It must obey its context and have a deadline of its
// own.
type Target func(ctx context.Context, caller int, op Op) error

// Options say what load a Runner makes.
type Options struct {
	Workload Workload
	// Distribution is the workload's own unless set.
	Distribution Distribution
	Items        *Items
	Values       *Values
	// Callers is how many operations are under way at most.
	Callers int
	// Rate is how many operations are meant to start each second, whether others have ended or not (an open loop); 0:
	// each caller starts one whenever its last one has ended (a closed loop).
	Rate float64
	// Even has a rate's operations start at even intervals; otherwise the intervals are exponential.
	Even bool
	// Seed is what all draws follow from.
	Seed uint64
	// Do carries an operation out. ErrorKind names the kind of an error of it, out of a short list.
	Do        Target
	ErrorKind func(error) string
}

// Validate says what is wrong with options.
func (o *Options) Validate() error {
	switch {
	case o.Items == nil || o.Values == nil || o.Do == nil || o.ErrorKind == nil:
		return fmt.Errorf("bench: items, values, a target and kinds of errors are required")
	case o.Callers < 1:
		return fmt.Errorf("bench: %d callers, want at least 1", o.Callers)
	case o.Rate < 0 || o.Rate > 1e8:
		return fmt.Errorf("bench: rate %g, want 0 to 100 million", o.Rate)
	}
	return nil
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.Distribution == "" {
		o.Distribution = o.Workload.Distribution
	}
}

// Runner makes load. One Runner makes one load at a time.
type Runner struct {
	o       Options
	sources []*source
	pauses  *rand.Rand // nil: even
}

// NewRunner prepares to make load.
func NewRunner(o Options) (*Runner, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &Runner{o: o}
	if !o.Even {
		r.pauses = rand.New(rand.NewPCG(o.Seed, pauseStream))
	}
	for i := range o.Callers {
		r.sources = append(r.sources, &source{
			rng: rand.New(rand.NewPCG(o.Seed, uint64(i))), mix: o.Workload.Mix,
			choose: o.Distribution.newChooser(o.Items), items: o.Items, values: o.Values,
		})
	}
	return r, nil
}

// Run makes load for a while and returns what became of it. It waits for operations that are under way at the end,
// and counts them; when ctx ends it returns early, and what was cut short is left out. Another Run goes on with the draws
// where the last one ended.
func (r *Runner) Run(ctx context.Context, duration time.Duration) *Result {
	start := time.Now()
	s := newSchedule(start, duration, r.o.Rate, r.pauses)
	rec := newRecorder(s.end)
	var callers sync.WaitGroup
	for i, source := range r.sources {
		callers.Go(func() { r.call(ctx, i, source, s, rec) })
	}
	callers.Wait()
	stopped := s.end
	if now := time.Now(); now.Before(stopped) {
		stopped = now // ctx ended
	}
	return rec.result(stopped.Sub(start), s.missed(stopped), ctx.Err() != nil)
}

// call is one caller.
func (r *Runner) call(ctx context.Context, caller int, source *source, s *schedule, rec *recorder) {
	for ctx.Err() == nil {
		intended, ok := s.take(time.Now())
		if !ok || !until(ctx, intended) {
			return
		}
		op := source.next()
		began := time.Now()
		err := r.o.Do(ctx, caller, op)
		ended := time.Now()
		if op.Kind == Insert {
			r.o.Items.settle(op.item)
		}
		switch {
		case err == nil:
			rec.done(op.Kind, intended, began, ended)
		case ctx.Err() == nil:
			rec.failed(op.Kind, intended, began, r.o.ErrorKind(err))
		}
	}
}

// until waits for a time; false when ctx ends before it comes.
func until(ctx context.Context, t time.Time) bool {
	pause := time.Until(t)
	if pause <= 0 {
		return true
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
