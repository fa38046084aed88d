package node

import (
	"context"
	"errors"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
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
// now; it is read here, once, so that every try of the write carries the same context.
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
		w.Context = got.State.Context()
		req.Context = n.seal(w.item, got.State)
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
	if err == nil {
		w.Value = req.GetValue()
	}
	return w, err
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

// dispatch coordinates a write here, if this node owns the item, or hands it to one that may.
// Once a hand-over may have reached its node, the outcome is success or unknown, never refused.
func (n *Node) dispatch(ctx context.Context, w *write, forward *pb.Forward) (*pb.PutResponse, error) {
	route := n.coordinator.Route(w.item, w.bucket.N, w.strict)
	if route.Owner {
		return n.coordinate(ctx, w, nil)
	}
	var avoid []ring.NodeID
	var causes []coordinator.Cause
	unknown := false
	budget := firstForward
	for i, id := range route.Others {
		if i == len(route.Others)-1 && !route.Guardian {
			budget = 0
		}
		resp, err := n.forward(ctx, id, forward, budget)
		if err == nil {
			if resp.Explain != nil {
				resp.Explain.ReceivedBy = n.cfg.Name
			}
			return resp, nil
		}
		budget *= 2
		switch passing, sent := forwardFailure(err); {
		case !passing && !unknown:
			return nil, err
		case sent:
			unknown = true
		}
		avoid = append(avoid, id)
		causes = append(causes, coordinator.Cause{Node: n.name(id), Err: err})
		if ctx.Err() != nil {
			break
		}
	}
	if route.Guardian && ctx.Err() == nil {
		resp, err := n.coordinate(ctx, w, avoid)
		if err == nil || !unknown {
			return resp, err
		}
		causes = append(causes, coordinator.Cause{Node: n.cfg.Name, Err: err})
	}
	kind := coordinator.ErrRefused
	if unknown {
		kind = coordinator.ErrUnknown
	}
	return nil, &coordinator.QuorumError{
		Op: "put", Kind: kind, Count: quorum.Count{Required: w.w, Live: route.Live}, Causes: causes, Err: ctx.Err(),
	}
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
	f, ok := errors.AsType[*fault](err)
	if !ok { // a deadline, or the stream broke
		return true, true
	}
	switch f.reason {
	case pb.Reason_REASON_NOT_READY, pb.Reason_REASON_OVERLOADED, pb.Reason_REASON_STALE_EPOCH, pb.Reason_REASON_QUORUM_UNAVAILABLE,
		pb.Reason_REASON_CLOCK_OFFSET:
		return true, false
	case pb.Reason_REASON_OUTCOME_UNKNOWN:
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
	if err != nil {
		return nil, err
	}
	resp := &pb.PutResponse{
		Dot: dotProto(res.Version.Dot), Acknowledged: uint32(res.Received), Fallbacks: uint32(res.Fallbacks),
		Versions: uint32(len(res.State.Versions)), Repeated: res.Repeated, Explain: n.explain(res.Trace),
	}
	// A version vector can't tell this write from siblings minted here before it: only a writer that
	// has replaced them all may get a context without reading. What stands alone may also be a version that replaced
	// this write before it was repeated, which its writer has never seen.
	if len(res.State.Versions) == 1 && res.State.Versions[0].Dot == res.Version.Dot {
		resp.Context = n.seal(w.item, res.State)
	}
	return resp, nil
}
