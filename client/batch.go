package client

import (
	"context"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// batchItems is the most items of one batch request.
	batchItems = 1000
	// batchBytes is about the most bytes of one batch request; one item alone may have more.
	batchBytes = 8 << 20
	// batchParallel bounds the batch requests of one call that are under way at once.
	batchParallel = 8
)

// PutItem is one item of a BatchPut.
type PutItem struct {
	// Key and Value as of a Put. They must not change until the call returns.
	Key   Key
	Value []byte
	// Context as WithContext; RequestID as WithRequestID, drawn when zero.
	Context   Context
	RequestID RequestID
	// TTL as the option of that name, which it goes before. Zero: what the call or the bucket says.
	TTL time.Duration
}

// PutOutcome is what became of one item of a BatchPut: either field is set.
type PutOutcome struct {
	Written *Written
	Err     error
}

// GetOutcome is what became of one key of a BatchGet: either field is set.
type GetOutcome struct {
	Result *Result
	Err    error
}

// BatchPut writes many items, each on its own: there is no atomicity across items, and each has its
// own outcome, in the order of items. Any number of items may be given. Items are grouped by the node
// that takes them. The same key twice makes siblings, unless contexts say otherwise. Options as for Put,
// but for WithContext, WithRequestID and WithExplain.
func (c *Client) BatchPut(ctx context.Context, bucket string, items []PutItem, opts ...CallOption) []PutOutcome {
	o := newCallOptions(opts)
	outcomes := make([]PutOutcome, len(items))
	ids := make([]RequestID, len(items))
	work := make([]batchItem, 0, len(items))
	for i := range items {
		id, err := c.requestID(&callOptions{requestID: items[i].RequestID})
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		ids[i] = id
		key := items[i].Key
		work = append(work, batchItem{
			index: i, partition: key.Partition,
			bytes:    len(key.Partition) + len(key.Sort) + len(items[i].Value) + len(items[i].Context.token) + 64,
			repeated: !items[i].RequestID.IsZero(),
		})
	}
	send := func(ctx context.Context, e *endpoint, group []batchItem, opts ...grpc.CallOption) ([]batchReply[*pb.PutResponse], error) {
		request := &pb.BatchPutRequest{Bucket: bucket, Options: o.write(), Items: make([]*pb.BatchPutItem, len(group))}
		for i, w := range group {
			item := &items[w.index]
			request.Items[i] = &pb.BatchPutItem{
				Key: item.Key.proto(), Value: item.Value, Context: item.Context.Bytes(), RequestId: ids[w.index][:],
				Ttl: o.ttl,
			}
			if item.TTL != 0 {
				request.Items[i].Ttl = timeToLive(item.TTL)
			}
		}
		reply, err := e.kv.BatchPut(ctx, request, opts...)
		return batchReplies(reply.GetResults(), (*pb.BatchPutResult).GetOk, (*pb.BatchPutResult).GetError), err
	}
	op := call{op: "batch put", kind: kindWrite, to: target{bucket: bucket}, timeout: o.timeout}
	runBatch(ctx, c, op, work, send, func(i int, reply *pb.PutResponse, err error) {
		if err != nil {
			outcomes[i].Err = withRequestID(err, ids[i])
			return
		}
		outcomes[i].Written = writtenFromPut(ids[i], reply)
	})
	return outcomes
}

// BatchGet reads many items, each with its own outcome, in the order of keys. Any number of keys may
// be given. Nodes answer at most about 32 MiB at once; the rest is asked for again, within the timeout of
// the whole call, which should be set with the size of the values in mind. Options as for Get, but for
// WithExplain; a Resolver may run for several keys at once.
func (c *Client) BatchGet(ctx context.Context, bucket string, keys []Key, opts ...CallOption) []GetOutcome {
	o := newCallOptions(opts)
	outcomes := make([]GetOutcome, len(keys))
	work := make([]batchItem, len(keys))
	for i, key := range keys {
		work[i] = batchItem{index: i, partition: key.Partition, bytes: len(key.Partition) + len(key.Sort) + 16}
	}
	send := func(ctx context.Context, e *endpoint, group []batchItem, opts ...grpc.CallOption) ([]batchReply[*pb.GetResponse], error) {
		request := &pb.BatchGetRequest{Bucket: bucket, Options: o.read(), Keys: make([]*pb.ItemKey, len(group))}
		for i, w := range group {
			request.Keys[i] = keys[w.index].proto()
		}
		reply, err := e.kv.BatchGet(ctx, request, opts...)
		return batchReplies(reply.GetResults(), (*pb.BatchGetResult).GetOk, (*pb.BatchGetResult).GetError), err
	}
	resolver := c.resolverOf(bucket, &o)
	op := call{op: "batch get", to: target{bucket: bucket}, timeout: o.timeout}
	runBatch(ctx, c, op, work, send, func(i int, reply *pb.GetResponse, err error) {
		if err != nil {
			outcomes[i].Err = err
			return
		}
		outcomes[i].Result, outcomes[i].Err = resolver.result(op.op, keys[i], resultFromProto(reply))
	})
	return outcomes
}

// batchItem is one item of a batch, as far as grouping cares.
type batchItem struct {
	index     int
	partition []byte
	bytes     int
	// repeated: the request id is the caller's.
	repeated bool
}

// batchReply is the reply to one item: either field.
type batchReply[R any] struct {
	ok  R
	err *status.Status
}

func batchReplies[T, R any](results []T, ok func(T) R, failure func(T) *status.Status) []batchReply[R] {
	replies := make([]batchReply[R], len(results))
	for i, r := range results {
		replies[i] = batchReply[R]{ok: ok(r), err: failure(r)}
	}
	return replies
}

// runBatch sends the items in groups, each to a node that owns all of it, a few groups at a time.
// done is called once for each item, never twice at once for one index.
func runBatch[R any](ctx context.Context, c *Client, op call, items []batchItem,
	send func(context.Context, *endpoint, []batchItem, ...grpc.CallOption) ([]batchReply[R], error),
	done func(index int, reply R, err error),
) {
	ctx, cancel := c.callContext(ctx, op.timeout)
	defer cancel()
	op.timeout = 0
	slots := make(chan struct{}, batchParallel)
	var wait sync.WaitGroup
	for _, group := range c.batchGroups(op, items) {
		slots <- struct{}{}
		wait.Go(func() {
			runGroup(ctx, c, op, group, send, done)
			<-slots
		})
	}
	wait.Wait()
}

// batchGroups splits items by the node that takes them first, and by size.
func (c *Client) batchGroups(op call, items []batchItem) [][]batchItem {
	var groups [][]batchItem
	type open struct{ group, bytes int }
	at := make(map[string]open)
	for _, item := range items {
		to := op.to
		to.partition = item.partition
		addr := c.route(to)[0]
		o, ok := at[addr]
		if !ok || len(groups[o.group]) >= batchItems || o.bytes+item.bytes > batchBytes {
			groups = append(groups, nil)
			o = open{group: len(groups) - 1}
		}
		groups[o.group] = append(groups[o.group], item)
		o.bytes += item.bytes
		at[addr] = o
	}
	return groups
}

// runGroup sends one group until each of its items succeeded, or failed for good: items that failed in a
// way that another try may mend go again, together, with their request ids.
func runGroup[R any](ctx context.Context, c *Client, op call, group []batchItem,
	send func(context.Context, *endpoint, []batchItem, ...grpc.CallOption) ([]batchReply[R], error),
	done func(index int, reply R, err error),
) {
	op.to.partition = group[0].partition
	g := batchGroup[R]{session: newSession(c, op), pending: group, uncertain: make(map[int]bool), done: done}
	for {
		sent := g.pending
		replies, failed := try(ctx, g.session,
			func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) ([]batchReply[R], error) {
				replies, err := send(ctx, e, sent, opts...)
				if err == nil && len(replies) != len(sent) {
					return nil, grpcstatus.Errorf(codes.Internal, "%d results for %d items", len(replies), len(sent))
				}
				g.addr = e.addr
				return replies, err
			})
		if failed == nil {
			failed = g.settle(replies)
		} else if g.session.mayHaveTakenEffect(*failed) {
			for _, item := range sent {
				g.uncertain[item.index] = true
			}
		}
		if failed == nil {
			return
		}
		if !g.session.again(ctx, *failed) {
			g.giveUp(ctx, failed.err)
			return
		}
	}
}

// batchGroup is a group under way.
type batchGroup[R any] struct {
	session *session
	addr    string
	pending []batchItem
	// uncertain holds the indexes of items of which a failed try may have taken effect.
	uncertain map[int]bool
	done      func(index int, reply R, err error)
}

// settle hands out the replies that are final and keeps the other items pending. It returns the failure
// of one of those, nil when there is none: one that wants a second opinion before all others, as that is
// had at once and but once.
func (g *batchGroup[R]) settle(replies []batchReply[R]) *attempt {
	var none R
	var failed *attempt
	var again []batchItem
	for i, r := range replies {
		item := g.pending[i]
		if r.err == nil {
			g.done(item.index, r.ok, nil)
			continue
		}
		a := attempt{err: newError(g.session.call.op, g.addr, grpcstatus.FromProto(r.err)), sent: true}
		if g.session.mayHaveTakenEffect(a) {
			g.uncertain[item.index] = true
		}
		verdict := g.session.judge(a)
		if verdict == final {
			g.done(item.index, none, g.failure(item, a.err))
			continue
		}
		again = append(again, item)
		if verdict == secondOpinion || failed == nil || g.session.judge(*failed) != secondOpinion {
			failed = &a
		}
	}
	if len(again) < len(g.pending) {
		g.session.progressed()
	}
	g.pending = again
	return failed
}

// giveUp fails what is still pending.
func (g *batchGroup[R]) giveUp(ctx context.Context, last *Error) {
	var none R
	last = g.session.result(ctx, last, false)
	for _, item := range g.pending {
		g.done(item.index, none, g.failure(item, last))
	}
}

func (g *batchGroup[R]) failure(item batchItem, e *Error) error {
	if g.uncertain[item.index] || item.repeated && e.Reason == reasonRequestTooOld {
		return e.unknownOutcome()
	}
	return e
}
