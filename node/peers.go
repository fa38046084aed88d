package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/membership"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// peers reaches replicas wherever they are: this node's own by a call, others' by a message. What came of each
// message goes to the failure detector.
type peers struct{ n *Node }

// call sends one request to a peer and waits for its answer.
func (p peers) call(ctx context.Context, id ring.NodeID, req *pb.PeerRequest) (*pb.PeerReply, error) {
	return p.callOn(ctx, p.n.pool.Call, id, req)
}

type lane func(context.Context, transport.Peer, *pb.PeerRequest) (*pb.PeerReply, error)

func (p peers) callOn(ctx context.Context, send lane, id ring.NodeID, req *pb.PeerRequest) (*pb.PeerReply, error) {
	addr, ok := p.n.peerAddr(id)
	if !ok {
		return nil, &transport.UnreachableError{Peer: transport.Peer{ID: transport.NodeID(id)}, Err: errNoAddress}
	}
	start := p.n.opts.Now()
	reply, err := send(ctx, transport.Peer{ID: transport.NodeID(id), Addr: addr}, req)
	return p.came(id, req, start, reply, err)
}

// came looks at an answer on its way to who asked.
func (p peers) came(id ring.NodeID, req *pb.PeerRequest, start time.Time, reply *pb.PeerReply, err error) (*pb.PeerReply, error) {
	end := p.n.opts.Now()
	outcome := p.outcomeOf(err, req, end.Sub(start))
	if outcome == membership.OK {
		p.n.lastAnswer.Store(id, end)
	}
	// As long as there is to do, or to wait for.
	takesLong := req.GetCompare() != nil || req.GetGetTask() != nil || req.GetDecide() != nil || req.GetProposeEpoch() != nil
	if !takesLong || outcome == membership.Unreachable {
		p.n.detector.Report(id, outcome, end.Sub(start))
	}
	if refused, ok := errors.AsType[*transport.PeerError](err); ok {
		return nil, p.n.staleFrom(id, faultOf(refused.Err))
	}
	return reply, err
}

// start sends one request to a peer; done is told what call would have returned, by the deadline of ctx.
func (p peers) start(ctx context.Context, id ring.NodeID, req *pb.PeerRequest, done func(*pb.PeerReply, error)) {
	addr, ok := p.n.peerAddr(id)
	if !ok {
		done(nil, &transport.UnreachableError{Peer: transport.Peer{ID: transport.NodeID(id)}, Err: errNoAddress})
		return
	}
	begun := p.n.opts.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(p.n.cfg.RequestTimeout)
	}
	p.n.pool.Start(deadline, transport.Peer{ID: transport.NodeID(id), Addr: addr}, req, func(reply *pb.PeerReply, err error) {
		done(p.came(id, req, begun, reply, err))
	})
}

var errNoAddress = errors.New("no address of it is known yet")

// outcomeOf sorts an error by what it says of the peer's health. An answer, even a refusal, is a sign of life. A call
// that ended early, by a deadline that a client chose, says nothing; nor does one that waited for others, as a
// coordinator does.
func (p peers) outcomeOf(err error, req *pb.PeerRequest, took time.Duration) membership.Outcome {
	if err == nil {
		return membership.OK
	}
	if errors.Is(err, transport.ErrClosed) {
		return membership.Ignored // it is this node that ends
	}
	if _, answered := errors.AsType[*transport.PeerError](err); answered {
		return membership.OK
	}
	if _, broken := errors.AsType[*transport.UnreachableError](err); broken {
		return membership.Unreachable
	}
	if _, refused := errors.AsType[*transport.RefusedError](err); refused {
		return membership.Unreachable
	}
	expired, ok := errors.AsType[*transport.ExpiredError](err)
	if ok && expired.Sent && errors.Is(err, context.DeadlineExceeded) && req.GetForward() == nil && took >= silentAfter {
		return membership.Timeout
	}
	return membership.Ignored
}

func (p peers) write(ctx context.Context, id ring.NodeID, req coordinator.WriteRequest, done func(error)) {
	if id == p.n.id {
		p.n.local().write(ctx, req, done)
		return
	}
	msg := &pb.WriteState{
		Item: addressOf(req.Item), State: causal.AppendState(nil, req.State), Conflict: conflictProto(req.Policy),
		Durability: durabilityProto(req.Sync), N: uint32(req.N), Fresh: uint64(req.Fresh),
	}
	if !req.HintFor.IsZero() {
		msg.HintFor = req.HintFor[:]
	}
	p.start(ctx, id, &pb.PeerRequest{Epoch: req.Epoch, Body: &pb.PeerRequest_Write{Write: msg}}, func(_ *pb.PeerReply, err error) { done(writeError(err)) })
}

func (p peers) read(ctx context.Context, id ring.NodeID, req coordinator.ReadRequest, done func(coordinator.ReadReply, error)) {
	if id == p.n.id {
		// Not here: the disk may be slow, and whoever asks has others to wait for.
		p.n.workers.Go(func() { p.n.local().read(req, done) })
		return
	}
	p.start(ctx, id, &pb.PeerRequest{Epoch: req.Epoch, Body: &pb.PeerRequest_Read{Read: &pb.ReadState{
		Item: addressOf(req.Item), DigestOnly: req.Digest, N: uint32(req.N),
	}}}, func(reply *pb.PeerReply, err error) {
		if err != nil {
			done(coordinator.ReadReply{}, err)
			return
		}
		done(p.readReply(id, req, reply))
	})
}

func (p peers) readReply(id ring.NodeID, req coordinator.ReadRequest, reply *pb.PeerReply) (coordinator.ReadReply, error) {
	var (
		out coordinator.ReadReply
		err error
	)
	if copy(out.Digest[:], reply.GetRead().GetDigest()) != len(out.Digest) {
		return out, p.malformed(id, "a digest of the wrong size")
	}
	if req.Digest {
		return out, nil
	}
	if out.State, err = p.state(id, reply.GetRead().GetState()); err != nil {
		return out, err
	}
	out.Digest = out.State.Digest()
	return out, nil
}

// state decodes a state that a peer sent, and lets the clock see its dots.
func (p peers) state(id ring.NodeID, b []byte) (causal.State, error) {
	s, err := causal.DecodeState(b)
	if err != nil {
		return s, p.malformed(id, err.Error())
	}
	return s, p.n.clock.Observe(s.MaxHLC())
}

func (p peers) malformed(id ring.NodeID, what string) error {
	return &fault{code: codes.Internal, reason: pb.Reason_REASON_INTERNAL, message: fmt.Sprintf("node %s sent %s", p.n.name(id), what)}
}

func (p peers) scan(ctx context.Context, id ring.NodeID, req coordinator.RangeRequest) (coordinator.RangeReply, error) {
	if id == p.n.id {
		return p.n.local().scan(ctx, req)
	}
	reply, err := p.call(ctx, id, &pb.PeerRequest{Epoch: req.Epoch, Body: &pb.PeerRequest_Range{Range: &pb.ReadRange{
		BucketId: req.Bucket, Partition: uint32(req.Partition), Start: req.Start, End: req.End, Reverse: req.Reverse,
		LimitItems: uint32(req.LimitItems), LimitBytes: uint64(req.LimitBytes), N: uint32(req.N),
	}}})
	if err != nil {
		return coordinator.RangeReply{}, err
	}
	out := coordinator.RangeReply{Exhausted: reply.GetRange().GetExhausted()}
	for _, item := range reply.GetRange().GetItems() {
		if !follows(req, out.Items, item.GetKey()) {
			return out, p.malformed(id, "an item out of the order, or the range, that it was asked for")
		}
		s, err := p.state(id, item.GetState())
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, coordinator.RangeItem{Key: item.GetKey(), State: s})
	}
	return out, nil
}

// follows reports whether key is one of the range and comes behind those before it: the merge of answers relies on it.
func follows(req coordinator.RangeRequest, before []coordinator.RangeItem, key []byte) bool {
	if _, err := itemOf(req.Bucket, key); err != nil || bytes.Compare(key, req.Start) < 0 || req.End != nil && bytes.Compare(key, req.End) >= 0 {
		return false
	}
	if len(before) == 0 {
		return true
	}
	order := bytes.Compare(before[len(before)-1].Key, key)
	return order < 0 && !req.Reverse || order > 0 && req.Reverse
}

// forward hands a client's write to a node that may coordinate it. A budget of 0 is all the time there is.
func (n *Node) forward(ctx context.Context, id ring.NodeID, req *pb.Forward, budget time.Duration) (*pb.PutResponse, error) {
	if budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, budget)
		defer cancel()
	}
	reply, err := peers{n}.call(ctx, id, &pb.PeerRequest{Epoch: n.epoch().Number, Body: &pb.PeerRequest_Forward{Forward: req}})
	if err != nil {
		return nil, err
	}
	switch r := reply.GetForward().GetResponse().(type) {
	case *pb.ForwardReply_Put:
		return r.Put, nil
	case *pb.ForwardReply_Delete:
		return putResponse(r.Delete), nil
	default:
		return nil, peers{n}.malformed(id, "no answer to a write that it was handed")
	}
}

func addressOf(item causal.ItemKey) *pb.ItemAddress {
	return &pb.ItemAddress{BucketId: item.Bucket, PartitionKey: item.Partition, SortKey: item.Sort}
}

func conflictProto(p causal.Policy) pb.ConflictPolicy {
	if p == causal.LastWriteWins {
		return pb.ConflictPolicy_CONFLICT_POLICY_LWW
	}
	return pb.ConflictPolicy_CONFLICT_POLICY_SIBLINGS
}

func policyOf(p pb.ConflictPolicy) causal.Policy {
	if p == pb.ConflictPolicy_CONFLICT_POLICY_LWW {
		return causal.LastWriteWins
	}
	return causal.Siblings
}

func durabilityProto(sync bool) pb.Durability {
	if sync {
		return pb.Durability_DURABILITY_SYNC
	}
	return pb.Durability_DURABILITY_MEMORY
}
