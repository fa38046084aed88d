package node

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// Bounds of requests, as kv.proto documents them.
const (
	maxBatchItems    = 1000
	batchParallelism = 64
)

// kvService serves the KV service on the client port.
type kvService struct {
	pb.UnimplementedKVServer
	n *Node
}

// Put writes one value.
func (s *kvService) Put(ctx context.Context, req *pb.PutRequest) (resp *pb.PutResponse, err error) {
	ctx, done, err := s.n.begin(ctx, "put", req.GetOptions().GetW(), len(req.GetValue()))
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	return s.n.routePut(ctx, req)
}

// Delete writes a tombstone.
func (s *kvService) Delete(ctx context.Context, req *pb.DeleteRequest) (resp *pb.DeleteResponse, err error) {
	ctx, done, err := s.n.begin(ctx, "delete", req.GetOptions().GetW(), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	return s.n.routeDelete(ctx, req)
}

// Get reads one item.
func (s *kvService) Get(ctx context.Context, req *pb.GetRequest) (resp *pb.GetResponse, err error) {
	ctx, done, err := s.n.begin(ctx, "get", req.GetOptions().GetR(), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	return s.n.get(ctx, req)
}

// BatchPut writes many items side by side; each has its own outcome.
func (s *kvService) BatchPut(ctx context.Context, req *pb.BatchPutRequest) (resp *pb.BatchPutResponse, err error) {
	size := 0
	for _, item := range req.GetItems() {
		size += len(item.GetValue())
	}
	ctx, done, err := s.n.begin(ctx, "batch_put", req.GetOptions().GetW(), size)
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	if len(req.GetItems()) > maxBatchItems {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "batch of %d items: at most %d", len(req.GetItems()), maxBatchItems)
	}
	resp = &pb.BatchPutResponse{Results: make([]*pb.BatchPutResult, len(req.GetItems()))}
	eachOf(len(req.GetItems()), func(i int) {
		item := req.GetItems()[i]
		ok, err := s.n.routePut(ctx, &pb.PutRequest{
			Bucket: req.GetBucket(), Key: item.GetKey(), Value: item.GetValue(), Context: item.GetContext(),
			RequestId: item.GetRequestId(), Options: req.GetOptions(), Ttl: item.GetTtl(),
		})
		if err != nil {
			resp.Results[i] = &pb.BatchPutResult{Result: &pb.BatchPutResult_Error{Error: status.Convert(toFault(err)).Proto()}}
			return
		}
		resp.Results[i] = &pb.BatchPutResult{Result: &pb.BatchPutResult_Ok{Ok: ok}}
	})
	return resp, nil
}

// eachOf runs f for 0 to n-1, a bounded number at a time, and waits for all.
func eachOf(n int, f func(int)) {
	var g errgroup.Group
	g.SetLimit(batchParallelism)
	for i := range n {
		g.Go(func() error { f(i); return nil })
	}
	_ = g.Wait() // f returns no error
}

// get coordinates a read on this node, whichever it is.
func (n *Node) get(ctx context.Context, req *pb.GetRequest) (*pb.GetResponse, error) {
	b, err := n.bucket(req.GetBucket())
	if err != nil {
		return nil, err
	}
	item, err := itemKey(b, req.GetKey())
	if err != nil {
		return nil, err
	}
	r, err := required("R", req.GetOptions().GetR(), b.R, b.N)
	if err != nil {
		return nil, err
	}
	res, err := n.coordinator.Get(ctx, coordinator.GetRequest{
		Item: item, N: b.N, R: r, Policy: b.Policy, Strict: strict(req.GetOptions().GetMode()), Sync: b.Sync,
		Explain: req.GetOptions().GetExplain(),
	})
	if err != nil {
		return nil, err
	}
	return &pb.GetResponse{
		Versions: versionsAt(res.State, res.AsOf), Context: n.seal(item, res.State),
		Answered: uint32(res.Received), Fallbacks: uint32(res.Fallbacks), Explain: n.explain(res.Trace),
	}, nil
}

// versionsAt are what a client sees of a state at a moment: nothing when only tombstones and expired versions are left of
// it. A tombstone beside a live version tells of a writer who meant to delete; an expired version tells nothing, and would
// make siblings of what is one value to its readers.
func versionsAt(s causal.State, now causal.HLC) []*pb.Version {
	if !s.LiveAt(now) {
		return nil
	}
	out := make([]*pb.Version, 0, len(s.Versions))
	for i := range s.Versions {
		v := &s.Versions[i]
		if v.Expired(now) {
			continue
		}
		out = append(out, &pb.Version{
			Dot: dotProto(v.Dot), Value: v.Value, Tombstone: v.Tombstone, RequestId: v.RequestID[:],
			ExpiresAtMs: v.ExpiresAt.Millis(),
		})
	}
	return out
}

// seal makes the context of a state all of whose versions are returned, but for those that have expired: whoever writes
// with it has seen that they are gone, as with tombstones.
func (n *Node) seal(item causal.ItemKey, s causal.State) []byte {
	if len(s.Versions) == 0 {
		return nil
	}
	return n.sealer().Seal(item, s.Context())
}

func dotProto(d causal.Dot) *pb.Dot { return &pb.Dot{Actor: uint64(d.Actor), Hlc: uint64(d.HLC)} }

func strict(m pb.QuorumMode) bool { return m == pb.QuorumMode_QUORUM_MODE_STRICT }

// explain puts names to the nodes of a trace.
func (n *Node) explain(t *coordinator.Trace) *pb.Explain {
	if t == nil {
		return nil
	}
	self := n.store.Identity().NodeID
	out := &pb.Explain{
		CoordinatorId: self[:], Coordinator: n.name(self), Token: uint64(t.Token), Partition: uint32(t.Partition), Epoch: t.Epoch,
		N: uint32(t.N), Required: uint32(t.Required), Received: uint32(t.Received), Mode: pb.QuorumMode_QUORUM_MODE_SLOPPY,
		DurationUs: uint64(t.Duration.Microseconds()),
	}
	if t.Strict {
		out.Mode = pb.QuorumMode_QUORUM_MODE_STRICT
	}
	for _, m := range t.Messages {
		out.Replicas = append(out.Replicas, n.replicaTrace(m))
	}
	return out
}

func (n *Node) replicaTrace(m coordinator.Message) *pb.ReplicaTrace {
	out := &pb.ReplicaTrace{
		NodeId: m.Node[:], Node: n.name(m.Node), Zone: n.zone(m.Node), Fallback: m.Fallback, Hedged: m.Hedged, Action: m.Action,
		AskedUs: uint64(m.Asked.Microseconds()), Repaired: m.Repaired, Outcome: "pending",
	}
	if !m.HintFor.IsZero() {
		out.HintFor = n.name(m.HintFor)
	}
	if m.Answered > 0 {
		out.AnsweredUs = uint64(max(m.Answered, time.Microsecond).Microseconds())
		out.Outcome = "ok"
	}
	if m.Err != nil {
		out.Outcome = outcomeText(m.Err)
	}
	for _, d := range m.Versions {
		out.Versions = append(out.Versions, dotProto(d))
	}
	return out
}

// outcomeText says in a word or a few why a replica did not do what it was asked.
func outcomeText(err error) string {
	if unreachable, ok := errors.AsType[*transport.UnreachableError](err); ok {
		if unreachable.Sent {
			return "connection lost"
		}
		return "unreachable"
	}
	if _, ok := errors.AsType[*transport.ExpiredError](err); ok {
		return "no answer in time"
	}
	if f := toFault(err); f.reason != pb.Reason_REASON_INTERNAL {
		return reasonName(f.reason)
	}
	return err.Error()
}

// itemKey checks a client's key, here at the edge and nowhere behind it.
func itemKey(b *state.Bucket, k *pb.ItemKey) (causal.ItemKey, error) {
	switch pk, sk := k.GetPartitionKey(), k.GetSortKey(); {
	case len(pk) == 0:
		return causal.ItemKey{}, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "the partition key is empty: it has 1 to %d bytes", maxKeyBytes)
	case len(pk) > maxKeyBytes:
		return causal.ItemKey{}, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "the partition key has %d bytes: at most %d", len(pk), maxKeyBytes)
	case len(sk) > maxKeyBytes:
		return causal.ItemKey{}, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "the sort key has %d bytes: at most %d", len(sk), maxKeyBytes)
	default:
		return causal.ItemKey{Bucket: b.ID, Partition: pk, Sort: sk}, nil
	}
}

func tokenOf(item causal.ItemKey) ring.Token { return ring.TokenOf(item.Bucket, item.Partition) }
