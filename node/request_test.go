package node

import (
	"context"
	"errors"
	"testing"
	"time"
)

// told is a context that tells its deadline and does nothing when it has passed, as that of a session's call.
type told struct {
	context.Context
	deadline time.Time
}

func (c told) Deadline() (time.Time, bool) { return c.deadline, true }

func TestWithDeadline(t *testing.T) {
	n := &Node{}
	n.cfg.RequestTimeout = time.Hour
	over, cancel := n.withDeadline(told{t.Context(), time.Now().Add(-time.Second)})
	defer cancel()
	if !errors.Is(over.Err(), context.DeadlineExceeded) {
		t.Errorf("a deadline that has passed: %v", over.Err())
	}
	for _, c := range []struct {
		ctx           context.Context
		least, margin time.Duration
	}{
		{told{t.Context(), time.Now().Add(time.Minute)}, time.Minute - time.Second, maxReplyMargin},
		{told{t.Context(), time.Now().Add(10 * time.Second)}, 9 * time.Second, maxReplyMargin},
		{t.Context(), time.Hour - time.Second, 0},
	} {
		ctx, cancel := n.withDeadline(c.ctx)
		defer cancel()
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || ctx.Err() != nil || left < c.least {
			t.Errorf("%v left, error %v", left, ctx.Err())
		}
		if asked, ok := c.ctx.Deadline(); ok && asked.Sub(deadline) != c.margin {
			t.Errorf("margin %v, want %v", asked.Sub(deadline), c.margin)
		}
	}
}
