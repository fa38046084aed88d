package coordinator

import (
	"context"
	"sync"

	"github.com/starling-db/starling/ring"
)

// messages runs what blocks on goroutines of its own, in the place of a network that doesn't.
type messages struct{ running sync.WaitGroup }

// deadline gives ctx a timer for the deadline that it only tells.
func deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if d, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, d)
	}
	return ctx, func() {}
}

func (m *messages) wait(wait func(context.Context) error) func(context.Context, func(error)) {
	return func(ctx context.Context, done func(error)) {
		m.running.Go(func() {
			ctx, cancel := deadline(ctx)
			defer cancel()
			done(wait(ctx))
		})
	}
}

func (m *messages) write(write func(context.Context, ring.NodeID, WriteRequest) error) func(context.Context, ring.NodeID, WriteRequest, func(error)) {
	return func(ctx context.Context, id ring.NodeID, req WriteRequest, done func(error)) {
		m.wait(func(ctx context.Context) error { return write(ctx, id, req) })(ctx, done)
	}
}

func (m *messages) read(read func(context.Context, ring.NodeID, ReadRequest) (ReadReply, error)) func(context.Context, ring.NodeID, ReadRequest, func(ReadReply, error)) {
	return func(ctx context.Context, id ring.NodeID, req ReadRequest, done func(ReadReply, error)) {
		m.running.Go(func() {
			ctx, cancel := deadline(ctx)
			defer cancel()
			done(read(ctx, id, req))
		})
	}
}
