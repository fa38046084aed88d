package client

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/internal/pace"
)

// call is one call of a user over all its tries.
type call struct {
	op      string
	kind    kind
	to      target
	timeout time.Duration
	// patience is the longest that the first try may take when other nodes are left; it doubles with every
	// try. 0: no bound but that of tryContext.
	patience time.Duration
	// hedge: a second node may be asked as well while the first has not answered.
	hedge bool
	// repeated: the request id is the caller's, so there may have been tries before this call.
	repeated bool
}

// invoke runs a call: try after try, each on the next node of the route, until one succeeds, an error
// is final, or deadline, tries or budget are used up. Its error is an *Error.
func invoke[T any](ctx context.Context, c *Client, op call,
	send func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (T, error),
) (T, error) {
	ctx, cancel := c.callContext(ctx, op.timeout)
	defer cancel()
	s := newSession(c, op)
	uncertain := false
	for {
		reply, failed := try(ctx, s, send)
		if failed == nil {
			return reply, nil
		}
		uncertain = uncertain || s.mayHaveTakenEffect(*failed)
		if !s.again(ctx, *failed) {
			var none T
			return none, s.result(ctx, failed.err, uncertain)
		}
	}
}

// callContext bounds a call: by its own timeout, else by the deadline of its context, else by the
// Client's timeout.
func (c *Client) callContext(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout > 0 {
		return context.WithTimeout(ctx, timeout)
	}
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.timeout)
}

// session is what the tries of one call have in common.
type session struct {
	client *Client
	call   call
	route  []string
	// next is the place on the route of the next try.
	next  int
	tries int
	// wasted counts the tries since the last one that brought a batch forward.
	wasted int
	// patience is that of the next try.
	patience time.Duration
	// reached: a try was answered by a node, or may have reached one.
	reached bool
	// secondAsked: a try followed a refusal for want of a quorum.
	secondAsked bool
	pace        *backoff.ExponentialBackOff
}

func newSession(c *Client, op call) *session {
	s := &session{client: c, call: op, route: c.route(op.to), patience: op.patience, pace: newBackoff()}
	if s.patience > 0 {
		s.patience -= impatience(c.pool.typical(time.Now()))
	}
	return s
}

// try makes the next try.
func try[T any](ctx context.Context, s *session,
	send func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (T, error),
) (T, *attempt) {
	var none T
	if ctx.Err() != nil {
		return none, &attempt{err: contextError(ctx, s.call.op)}
	}
	piece, err := s.begin(ctx)
	if err != nil {
		return none, &attempt{err: notSent(ctx, s.call.op, err)}
	}
	outcome := pace.Failed
	defer func() { piece.End(outcome) }()
	addr := s.route[s.next]
	s.next = (s.next + 1) % len(s.route)
	s.tries++
	s.wasted++
	e, err := s.client.pool.get(addr)
	if err != nil {
		return none, &attempt{err: &Error{
			Op: s.call.op, Addr: addr, Code: codes.Canceled, Message: err.Error(), matches: []error{err},
		}}
	}
	tryCtx, cancel := s.tryContext(ctx)
	defer cancel()
	var to peer.Peer
	begun := time.Now()
	reply, by, err := sendHedged(tryCtx, cancel, s, e, send, grpc.Peer(&to))
	now := time.Now()
	if err == nil {
		outcome = pace.Done
		by.answered()
		s.client.budget.earn()
		if by == e {
			s.measure(e, now.Sub(begun), now)
		}
		return reply, nil
	}
	failed := &attempt{err: newError(s.call.op, addr, status.Convert(err)), sent: to.Addr != nil || sentInSession(err)}
	if failed.err.Reason == reasonOverloaded {
		outcome = pace.Shed
	}
	late := status.Code(err) == codes.DeadlineExceeded
	if late && now.Sub(begun) <= slowAt(s.client.pool.typical(now)) && ctx.Err() == nil {
		e.failed(now) // so little patience says nothing of how slow it is, but that others may be quicker
		return none, failed
	}
	if late {
		s.measure(e, now.Sub(begun), now) // it would have taken longer still
	}
	// A node that is late once is not given up: many are when all have much to do.
	if late && now.Sub(begun) < s.call.patience && s.client.pool.typical(now) > 0 {
		return none, failed
	}
	if failed.err.Reason == "" && failed.judge(kindRead) == elsewhere && ctx.Err() == nil {
		e.failed(now)
	}
	return none, failed
}

// measure notes how long a node took over a try about one item, apart from the time that its value travels.
func (s *session) measure(e *endpoint, took time.Duration, now time.Time) {
	if s.call.patience > 0 {
		e.took(max(took-(s.call.patience-firstPatience), 0), s.client.pool.typical(now), now)
	}
}

// tryContext gives a try half of the time that is left, so that a node that hangs leaves time for
// another, and less where the call has little patience; the last try gets all.
func (s *session) tryContext(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || len(s.route) == 1 || s.wasted >= s.client.tries || s.call.kind == kindOnce {
		return context.WithCancel(ctx)
	}
	limit := time.Until(deadline) / 2
	// In a cluster that is slow altogether tries that end early only make it slower, and they cost: a
	// call must not end because none is left.
	if s.patience > 0 && s.client.budget.ample() {
		limit = min(limit, s.patience)
		s.patience *= 2
	}
	return context.WithTimeout(ctx, limit)
}

// judge decides what follows a failed try. A bucket that this Client has just made is unknown for a
// moment to nodes that were not among the majority it was made on. There is one second opinion in a call,
// if there is a second node.
func (s *session) judge(a attempt) verdict {
	if a.err.Reason == reasonUnknownBucket && s.client.fresh.has(s.call.to.bucket) {
		return later
	}
	v := a.judge(s.call.kind)
	if v == secondOpinion && (s.secondAsked || len(s.route) == 1) {
		return final
	}
	return v
}

// progressed says that the last try brought a batch forward though some of it must go again: that is no
// waste, however often it happens.
func (s *session) progressed() {
	s.wasted = 0
	s.pace.Reset()
}

// mayHaveTakenEffect reports whether a failed try may have changed something after all.
func (s *session) mayHaveTakenEffect(a attempt) bool {
	return s.call.kind != kindRead && !a.undone()
}

// again waits if that is called for, and reports whether to try again.
func (s *session) again(ctx context.Context, a attempt) bool {
	s.reached = s.reached || a.sent || a.err.Reason != ""
	verdict := s.judge(a)
	if verdict != final || a.err.Reason == reasonRequestTooOld || a.err.Reason == reasonClockOffset {
		s.client.wantRefresh()
	}
	if verdict == secondOpinion {
		s.secondAsked = true
	}
	if verdict == final || ctx.Err() != nil {
		return false
	}
	if s.wasted > 0 && (s.wasted >= s.client.tries || !s.client.budget.take()) {
		return false
	}
	if verdict != later && s.next != 0 {
		return true
	}
	return s.pause(ctx)
}

// pause waits before the next try; false when there is no time left for one. Meanwhile the ring may
// have become another, so the route is made anew.
func (s *session) pause(ctx context.Context) bool {
	wait := s.pace.NextBackOff()
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		s.route, s.next = s.client.route(s.call.to), 0
		return true
	}
}

// result makes the error of the whole call from that of its last try.
func (s *session) result(ctx context.Context, last *Error, uncertain bool) *Error {
	last.Tries = s.tries
	if cause := ctx.Err(); cause != nil && last.Reason == "" {
		last.cause = cause
	} else if last.Code == codes.DeadlineExceeded {
		last.cause = context.DeadlineExceeded
	}
	switch {
	case uncertain, last.Reason == reasonRequestTooOld && s.call.repeated:
		return last.unknownOutcome()
	case !s.reached && s.tries > 0 && last.matches == nil && !errors.Is(last.cause, context.Canceled):
		last.matches = []error{ErrConnect}
	}
	return last
}
