package node

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// write is a put or a delete that has passed all checks.
type write struct {
	bucket  *state.Bucket
	item    causal.ItemKey
	w       int
	strict  bool
	sync    bool
	explain bool
	causal.Write
}

// routePut checks a put and brings it to a node that may coordinate it.
func (n *Node) routePut(ctx context.Context, req *pb.PutRequest) (*pb.PutResponse, error) {
	if len(req.GetRequestId()) == 0 {
		id, err := n.newRequestID()
		if err != nil {
			return nil, err
		}
		req.RequestId = id
	}
	w, err := n.checkPut(req)
	if err != nil {
		return nil, err
	}
	return n.dispatch(ctx, w, &pb.Forward{Request: &pb.Forward_Put{Put: req}})
}

// routeDelete does the same for a delete. One without a context covers what a quorum read returns
// now; it is read here, once, so that every hand-over of the write carries the same context. If the read shows that the
// client has asked before, and the delete was done, it covers what it did then: what was written since must stay, even if
// the coordinator of this try has missed the delete and mints it a second time.
func (n *Node) routeDelete(ctx context.Context, req *pb.DeleteRequest) (*pb.DeleteResponse, error) {
	if len(req.GetRequestId()) == 0 {
		id, err := n.newRequestID()
		if err != nil {
			return nil, err
		}
		req.RequestId = id
	}
	w, err := n.checkDelete(req)
	if err != nil {
		return nil, err
	}
	if len(req.GetContext()) == 0 {
		got, err := n.coordinator.Get(ctx, coordinator.GetRequest{
			Item: w.item, N: w.bucket.N, R: w.bucket.N/2 + 1, Policy: w.bucket.Policy, Strict: w.strict, Sync: w.sync,
		})
		if err != nil {
			return nil, err
		}
		w.Context = got.State.DeleteContext(w.RequestID)
		if len(got.State.Versions) > 0 {
			req.Context = n.sealer().Seal(w.item, w.Context)
		}
	}
	resp, err := n.dispatch(ctx, w, &pb.Forward{Request: &pb.Forward_Delete{Delete: req}})
	return deleteResponse(resp), err
}

func deleteResponse(p *pb.PutResponse) *pb.DeleteResponse {
	if p == nil {
		return nil
	}
	return &pb.DeleteResponse{
		Dot: p.Dot, Context: p.Context, Acknowledged: p.Acknowledged, Fallbacks: p.Fallbacks,
		Versions: p.Versions, Repeated: p.Repeated, Explain: p.Explain,
	}
}

func putResponse(d *pb.DeleteResponse) *pb.PutResponse {
	return &pb.PutResponse{
		Dot: d.GetDot(), Context: d.GetContext(), Acknowledged: d.GetAcknowledged(), Fallbacks: d.GetFallbacks(),
		Versions: d.GetVersions(), Repeated: d.GetRepeated(), Explain: d.GetExplain(),
	}
}

func (n *Node) newRequestID() ([]byte, error) {
	id, err := causal.NewRequestID(n.clock.Physical().UnixMilli(), n.opts.Rand)
	return id[:], err
}

func (n *Node) checkPut(req *pb.PutRequest) (*write, error) {
	if size := len(req.GetValue()); size > int(n.cfg.MaxValueBytes) {
		return nil, invalid(pb.Reason_REASON_VALUE_TOO_LARGE, "the value has %d bytes: at most %d", size, n.cfg.MaxValueBytes)
	}
	w, err := n.checkWrite(req.GetBucket(), req.GetKey(), req.GetContext(), req.GetRequestId(), req.GetOptions())
	if err != nil {
		return nil, err
	}
	w.Value = req.GetValue()
	w.TTL, err = timeToLive(w.bucket, req.GetTtl())
	return w, err
}

// timeToLive is how long a put's value lives: as long as the put says, else as long as its bucket does; 0 is for ever.
func timeToLive(b *state.Bucket, t *pb.TimeToLive) (time.Duration, error) {
	ttl, ok := state.ResolveTTL(t, b.TTL)
	switch _, inMs := t.GetKind().(*pb.TimeToLive_Ms); {
	case ok:
		return ttl, nil
	case inMs:
		return 0, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a time to live of %d ms: it has 1 to %d", t.GetMs(), causal.MaxTTL.Milliseconds())
	default:
		return 0, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a time to live that is neither a time nor none")
	}
}

func (n *Node) checkDelete(req *pb.DeleteRequest) (*write, error) {
	w, err := n.checkWrite(req.GetBucket(), req.GetKey(), req.GetContext(), req.GetRequestId(), req.GetOptions())
	if err == nil {
		w.Tombstone = true
	}
	return w, err
}

func (n *Node) checkWrite(bucket string, key *pb.ItemKey, token, requestID []byte, o *pb.WriteOptions) (*write, error) {
	b, err := n.bucket(bucket)
	if err != nil {
		return nil, err
	}
	w := &write{bucket: b, strict: strict(o.GetMode()), sync: b.Sync, explain: o.GetExplain()}
	if w.item, err = itemKey(b, key); err != nil {
		return nil, err
	}
	if w.w, err = required("W", o.GetW(), b.W, b.N); err != nil {
		return nil, err
	}
	if d := o.GetDurability(); d != pb.Durability_DURABILITY_UNSPECIFIED {
		w.sync = d == pb.Durability_DURABILITY_SYNC
	}
	if w.RequestID, err = causal.ParseRequestID(requestID); err != nil {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "request id: %v", err)
	}
	if len(token) > 0 {
		if w.Context, err = n.sealer().Open(w.item, token); err != nil {
			return nil, err
		}
		if ahead := w.Context.MaxHLC().Time().Sub(n.clock.Physical()); ahead > n.clock.MaxOffset() {
			return nil, invalid(pb.Reason_REASON_INVALID_CONTEXT, "the context is from %v in the future", ahead)
		}
	}
	return w, nil
}

// firstForward is what the first coordinator that a write is handed to gets; each further one gets
// twice as much, and the last all that is left. Handing a write to a second coordinator while the
// first may still be at it is safe: both carry one request id.
const firstForward = 500 * time.Millisecond

// dispatch coordinates a write here, if this node owns the item, its copy is sound and its disk has room, or hands it to one
// that may. If the ring has changed meanwhile, and those that may are others by now, it looks for them once more.
// Once a hand-over may have reached its node, the outcome is success or unknown, never refused.
func (n *Node) dispatch(ctx context.Context, w *write, forward *pb.Forward) (*pb.PutResponse, error) {
	d := &dispatching{n: n, w: w, forward: forward, count: quorum.Count{Required: w.w}}
	for {
		planned := n.epochNumber()
		if resp, err := d.round(ctx); resp != nil || err != nil {
			return resp, err
		}
		if !d.again(ctx, planned) {
			return nil, d.failure(ctx)
		}
	}
}

// dispatching is a write that looks for its coordinator.
type dispatching struct {
	n       *Node
	w       *write
	forward *pb.Forward
	budget  time.Duration // of the next hand-over
	avoid   []ring.NodeID // nodes that did not take it
	count   quorum.Count  // of the try that came furthest
	causes  []coordinator.Cause
	moved   *coordinator.StaleError // who was no coordinator any more by the latest epoch
	unknown bool                    // a try may have taken effect
}

// round tries those that may coordinate by one view of the ring. Without response and error nobody took it.
func (d *dispatching) round(ctx context.Context) (*pb.PutResponse, error) {
	n, w := d.n, d.w
	route := n.coordinator.Route(w.item, w.bucket.N, w.strict)
	d.budget, d.avoid, d.moved, d.count.Live = firstForward, nil, nil, route.Live
	if route.Owner {
		resp, err := n.coordinate(ctx, w, nil)
		_, damaged := errors.AsType[*storage.CorruptError](err)
		if !damaged && !errors.Is(err, storage.ErrDiskFull) && !errors.Is(err, coordinator.ErrNotCoordinator) {
			return resp, d.known(ctx, err)
		}
		d.note(n.id, err)
	}
	for i, id := range route.Others {
		last := i == len(route.Others)-1 && !route.Guardian && len(route.Last) == 0
		if resp, err := d.handTo(ctx, id, last); resp != nil || err != nil {
			return resp, err
		}
	}
	if route.Guardian && ctx.Err() == nil {
		resp, err := n.coordinate(ctx, w, d.avoid)
		if err == nil {
			return resp, nil
		}
		if passing, _ := d.note(n.id, err); !passing {
			return nil, err
		}
	}
	for i, id := range route.Last {
		if resp, err := d.handTo(ctx, id, i == len(route.Last)-1); resp != nil || err != nil {
			return resp, err
		}
	}
	return nil, nil
}

// known is an error of this node's coordinator, which knows nothing of what became of the tries before it.
func (d *dispatching) known(ctx context.Context, err error) error {
	if err == nil || !d.unknown {
		return err
	}
	d.note(d.n.id, err)
	return d.failure(ctx)
}

// again reports whether the write is worth another round: somebody refused it because the ring has changed, and this node knows
// by now how.
func (d *dispatching) again(ctx context.Context, planned uint64) bool {
	if d.moved == nil || ctx.Err() != nil {
		return false
	}
	if err := d.n.learn(ctx, d.moved.Node, d.moved.Epoch); err != nil {
		return false
	}
	return d.n.epochNumber() > planned
}

// handTo tries one node. Without response and error the next one should be tried.
func (d *dispatching) handTo(ctx context.Context, id ring.NodeID, last bool) (*pb.PutResponse, error) {
	if ctx.Err() != nil {
		return nil, nil
	}
	budget := d.budget
	d.budget *= 2
	if last {
		budget = 0
	}
	resp, err := d.n.forward(ctx, id, d.forward, budget)
	if err == nil {
		if resp.Explain != nil {
			resp.Explain.ReceivedBy = d.n.cfg.Name
		}
		return resp, nil
	}
	if passing, unknown := d.note(id, err); !passing && !unknown {
		return nil, err
	}
	d.avoid = append(d.avoid, id)
	return nil, nil
}

// note keeps what a failed try says; unknown is true once any may have taken effect.
func (d *dispatching) note(id ring.NodeID, err error) (passing, unknown bool) {
	passing, sent := forwardFailure(err)
	d.unknown = d.unknown || sent
	if stale, ok := errors.AsType[*coordinator.StaleError](err); ok && (d.moved == nil || stale.Epoch > d.moved.Epoch) {
		d.moved = stale
	} else if id == d.n.id && errors.Is(err, coordinator.ErrNotCoordinator) && d.moved == nil {
		d.moved = &coordinator.StaleError{Node: id, Epoch: d.n.epochNumber(), Err: err} // it has learnt that itself
	}
	d.causes = append(d.causes, coordinator.Cause{Node: id.String(), Err: err})
	received, _ := strconv.Atoi(toFault(err).metadata["received"])
	d.count.Received = max(d.count.Received, received)
	return passing || d.unknown, d.unknown
}

func (d *dispatching) failure(ctx context.Context) error {
	if full := d.diskFull(); full != nil {
		return full
	}
	kind := coordinator.ErrRefused
	if d.unknown {
		kind = coordinator.ErrUnknown
	}
	return &coordinator.QuorumError{Op: "put", Kind: kind, Count: d.count, Causes: d.causes, Err: ctx.Err()}
}

// diskFull is the last refusal for a full disk, if the others, if any, only found that too few nodes were left.
func (d *dispatching) diskFull() (last error) {
	for _, c := range d.causes {
		switch toFault(c.Err).reason {
		case pb.Reason_REASON_DISK_FULL:
			last = c.Err
		case pb.Reason_REASON_QUORUM_UNAVAILABLE:
		default:
			return nil
		}
	}
	return last
}

// forwardFailure sorts a failed hand-over: passing means that another coordinator may do better;
// sent, that the one that failed may have begun.
func forwardFailure(err error) (passing, sent bool) {
	if unreachable, ok := errors.AsType[*transport.UnreachableError](err); ok {
		return true, unreachable.Sent
	}
	if _, ok := errors.AsType[*transport.OverloadError](err); ok {
		return true, false
	}
	if _, ok := errors.AsType[*transport.RefusedError](err); ok {
		return true, false
	}
	if expired, ok := errors.AsType[*transport.ExpiredError](err); ok {
		return true, expired.Sent
	}
	if _, ok := errors.AsType[*transport.ClockError](err); ok {
		return true, true // what was dropped is the reply
	}
	if _, damaged := errors.AsType[*storage.CorruptError](err); damaged {
		return true, false // this node's own copy: nothing was minted on it
	}
	f := toFault(err)
	switch f.reason {
	case pb.Reason_REASON_NOT_READY, pb.Reason_REASON_OVERLOADED, pb.Reason_REASON_STALE_EPOCH, pb.Reason_REASON_QUORUM_UNAVAILABLE,
		pb.Reason_REASON_DISK_FULL:
		return true, false
	case pb.Reason_REASON_OUTCOME_UNKNOWN, pb.Reason_REASON_INTERNAL, pb.Reason_REASON_UNSPECIFIED: // deadlines and broken streams, too
		return true, true
	default:
		return false, false
	}
}

// coordinate runs a write on this node.
func (n *Node) coordinate(ctx context.Context, w *write, avoid []ring.NodeID) (*pb.PutResponse, error) {
	res, err := n.coordinator.Put(ctx, coordinator.PutRequest{
		Item: w.item, N: w.bucket.N, W: w.w, Policy: w.bucket.Policy, Strict: w.strict, Sync: w.sync, Write: w.Write,
		Explain: w.explain, Avoid: avoid,
	})
	if errors.Is(err, storage.ErrFailed) {
		// The disk failed under the write itself: what it holds after a restart nobody can tell.
		return nil, &coordinator.QuorumError{Op: "put", Kind: coordinator.ErrUnknown, Count: quorum.Count{Required: w.w}, Err: err}
	}
	if err != nil {
		return nil, err
	}
	resp := &pb.PutResponse{
		Dot: dotProto(res.Version.Dot), Acknowledged: uint32(res.Received), Fallbacks: uint32(res.Fallbacks),
		Versions: uint32(len(res.State.Versions)), Repeated: res.Repeated, Explain: n.explain(res.Trace),
		ExpiresAtMs: res.Version.ExpiresAt.Millis(),
	}
	// A version vector can't tell this write from siblings minted here before it: only a writer that
	// has replaced them all may get a context without reading. What stands alone may also be a version that replaced
	// this write before it was repeated, which its writer has never seen.
	if len(res.State.Versions) == 1 && res.State.Versions[0].Dot == res.Version.Dot {
		resp.Context = n.seal(w.item, res.State)
	}
	return resp, nil
}
