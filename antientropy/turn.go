package antientropy

import (
	"context"
	"errors"
	"time"
)

// errOver ends an exchange that goes on by itself when the time for it is over.
var errOver = errors.New("antientropy: the window for comparing has closed")

// open reports whether exchanges may go on by themselves now.
func (r *Runner) open() bool { return r.o.Window == nil || r.o.Window(r.o.Now()) }

// Busy reports whether an exchange is at work, and not just waiting.
func (r *Runner) Busy() bool { return len(r.turn) > 0 }

// turn is one exchange's, of which there is one at a time.
type turn struct {
	r    *Runner
	held bool
}

func (t *turn) take(ctx context.Context) error {
	select {
	case t.r.turn <- struct{}{}:
		t.held = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) give() {
	if t.held {
		t.held = false
		<-t.r.turn
	}
}

// stepAside is for an exchange that nobody asked for, before each step: it lets in one that somebody did ask for, waits as
// long as it must, and ends with errOver when its time is over.
func (t *turn) stepAside(ctx context.Context, cost int64) error {
	if err := t.wait(ctx, cost); err != nil {
		return err
	}
	if !t.r.open() {
		return errOver
	}
	return t.take(ctx)
}

// yield is stepAside for what has begun and is to be finished, whatever the time: a round, a rebuild.
func (t *turn) yield(ctx context.Context, cost int64) error {
	if err := t.wait(ctx, cost); err != nil {
		return err
	}
	return t.take(ctx)
}

// wait gives the turn up and waits until clients leave room.
func (t *turn) wait(ctx context.Context, cost int64) error {
	t.give()
	if pause := t.r.o.Pause; pause != nil {
		began := t.r.o.Now()
		err := pause(ctx, cost)
		t.r.hold(began)
		return err
	}
	return nil
}

// hold counts the time that an exchange waited for others.
func (r *Runner) hold(since time.Time) {
	held := max(r.o.Now().Sub(since), 0)
	r.mu.Lock()
	r.totals.Held += held
	r.mu.Unlock()
}
