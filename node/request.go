package node

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/pace"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// begin lets a client's request in: the node must be ready and have room, and the request gets a deadline.
// done ends it: it releases what begin took, counts the request and turns its error into what clients see.
func (n *Node) begin(ctx context.Context, verb string, level *pb.Consistency, size int) (_ context.Context, done func(error) error, _ error) {
	start := n.opts.Now()
	finish := func(err error) error {
		var f *fault
		result := "ok"
		if err != nil {
			f = toFault(err)
			result = reasonName(f.reason)
		}
		n.metrics.Request(verb, levelName(level), result, n.opts.Now().Sub(start))
		if f == nil {
			return nil
		}
		return f
	}
	if err := n.serving(); err != nil {
		return nil, nil, finish(err)
	}
	release, err := n.admit(size, isShort(verb, size))
	if err != nil {
		return nil, nil, finish(err)
	}
	ctx, cancel := n.withDeadline(ctx)
	return ctx, func(err error) error {
		cancel()
		release(err)
		if isShort(verb, size) {
			n.foreground.add(n.opts.Now().Sub(start)) // those that are refused at once tell nothing of how long others wait
		}
		return finish(err)
	}, nil
}

// Bounds of how many requests about one item are let in at once, while that is found by how long they take:
// --max-in-flight is the most.
const (
	minPace   = 16
	startPace = 256
)

// maxShort is the largest value, in bytes, of a request that should take no longer than most.
const maxShort = 64 << 10

// isShort says that a request is like most others, so that how long they take tells how busy the node is.
func isShort(verb string, size int) bool {
	return size <= maxShort && (verb == "get" || verb == "put" || verb == "delete")
}

// beginAdmin is begin for the few requests that change the cluster.
func (n *Node) beginAdmin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := n.serving(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := n.withDeadline(ctx)
	return ctx, cancel, nil
}

// maxReplyMargin is how long before the caller's deadline a request is given up, so that the answer, which says how far
// it came, still finds somebody who reads it.
const maxReplyMargin = 25 * time.Millisecond

func (n *Node) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		// A deadline that has passed stays as it is: a later one than the parent's would be dropped, and a session's
		// context only tells its deadline.
		margin := max(0, min(time.Until(deadline)/10, maxReplyMargin))
		return context.WithDeadline(ctx, deadline.Add(-margin))
	}
	return context.WithTimeout(ctx, n.cfg.RequestTimeout)
}

// admit takes room for a request of so many bytes, or sheds it at once. release gives it back, and is told what came of
// the request.
func (n *Node) admit(size int, short bool) (release func(error), err error) {
	free, err := n.admission.TryAcquire(int64(size))
	if err != nil {
		return nil, n.overloaded(err)
	}
	if !short {
		return func(error) { free() }, nil
	}
	piece, err := n.pace.TryAcquire()
	if err != nil {
		free()
		return nil, n.overloaded(err)
	}
	return func(err error) {
		outcome := pace.Done
		if err != nil {
			outcome = pace.Failed
		}
		piece.End(outcome)
		free()
	}, nil
}

func (n *Node) overloaded(err error) error {
	n.metrics.Shed()
	return &fault{code: codes.ResourceExhausted, reason: pb.Reason_REASON_OVERLOADED, message: err.Error()}
}

// serving says why the node can't take requests, if it can't.
func (n *Node) serving() error {
	if reason := n.notReadyReason(); reason != "" {
		return notReady("node %s is not ready: %s", n.cfg.Name, reason)
	}
	return nil
}

func levelName(c *pb.Consistency) string {
	switch k := c.GetKind().(type) {
	case *pb.Consistency_Replicas:
		if k.Replicas > state.MaxReplicas {
			return "invalid" // labels of metrics are bounded, whatever clients send
		}
		return strconv.Itoa(int(k.Replicas))
	case *pb.Consistency_Level:
		switch k.Level {
		case pb.Level_LEVEL_ONE:
			return "one"
		case pb.Level_LEVEL_TWO:
			return "two"
		case pb.Level_LEVEL_THREE:
			return "three"
		case pb.Level_LEVEL_QUORUM:
			return "quorum"
		case pb.Level_LEVEL_ALL:
			return "all"
		}
	}
	return "default"
}

// required turns a level into a number of replicas of n; def is the bucket's default.
func required(what string, c *pb.Consistency, def, n int) (int, error) {
	if level, ok := c.GetKind().(*pb.Consistency_Level); c.GetKind() == nil || ok && level.Level == pb.Level_LEVEL_UNSPECIFIED {
		return def, nil
	}
	got, ok := state.Resolve(c, n)
	if !ok {
		return 0, invalid(pb.Reason_REASON_INVALID_CONSISTENCY, "%s=%s is not possible with N=%d", what, describe(c), n)
	}
	return got, nil
}

func describe(c *pb.Consistency) string {
	if k, ok := c.GetKind().(*pb.Consistency_Replicas); ok {
		return strconv.FormatUint(uint64(k.Replicas), 10)
	}
	return levelName(c)
}

// quoteShort quotes what a client sent, cut to what fits in a message.
func quoteShort(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
