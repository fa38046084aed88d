package decide

import (
	"context"
	"errors"
	"fmt"

	"github.com/starling-db/starling/internal/paxos"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// open brings the acceptor up to what the document says and returns the newest epoch. The caller has the turn, or is the
// only one to know d yet.
func (d *Decider) open(ctx context.Context) (*ring.Epoch, error) {
	now := d.epoch()
	switch {
	case d.stopped != nil:
		return nil, d.stopped
	case now == nil:
		return nil, state.ErrNotFounded
	case d.acceptor != nil && d.acceptor.Open().Number() > now.Number:
		return now, nil
	}
	in, err := instanceAfter(now)
	if err != nil {
		return nil, err
	}
	// What was decided is told by the document, so the acceptor need not hold it as well.
	if d.acceptor != nil {
		d.acceptor.Decided(in, nil)
		return now, nil
	}
	raw, err := d.o.Store.Meta(metaRecord)
	if err != nil {
		return nil, err
	}
	var record paxos.Record
	if raw != nil {
		if record, err = paxos.DecodeRecord(raw); err != nil {
			return nil, err
		}
	}
	a, err := paxos.NewAcceptor(d.o.ID, in, nil, record)
	if err != nil {
		return nil, err
	}
	if record.Instance == in.Number() && !record.Accepted.IsZero() {
		e, _, err := value(now, record.Value)
		if err != nil {
			return nil, err
		}
		if err := d.o.State.Fence(ctx, e, true); err != nil {
			return nil, err
		}
	}
	d.acceptor = a
	return now, nil
}

// Handle answers a peer's request to promise or to accept, or this node's own. What the answer says is durable. Errors:
// *RequestError, *paxos.RequestError, *paxos.SetupError, ErrAbstains, ErrStopped, state.ErrNotFounded, ctx's.
func (d *Decider) Handle(ctx context.Context, from ring.NodeID, req *pb.Decide) (*pb.DecideReply, error) {
	if from.IsZero() {
		return nil, &RequestError{"from no node"}
	}
	if d.o.Abstain() {
		return nil, ErrAbstains
	}
	release, err := take(ctx, d.turn)
	if err != nil {
		return nil, err
	}
	defer release()
	now, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	b := paxos.Ballot{Counter: req.GetCounter(), Node: from}
	switch req.GetStep() {
	case pb.Decide_STEP_PREPARE:
		return d.prepare(ctx, b, req)
	case pb.Decide_STEP_ACCEPT:
		return d.accept(ctx, now, b, req)
	}
	return nil, &RequestError{fmt.Sprintf("unknown step %d", req.GetStep())}
}

// prepare promises, and tells of creations of buckets that are to be settled before the members change.
func (d *Decider) prepare(ctx context.Context, b paxos.Ballot, req *pb.Decide) (*pb.DecideReply, error) {
	reply, err := d.answer(d.acceptor.Prepare(req.GetInstance(), b))
	if err == nil && reply.GetKind() == pb.DecideReply_KIND_PROMISED {
		reply.Claims, err = d.o.State.OpenClaims(ctx)
	}
	return reply, err
}

// accept checks a value before the acceptor hears of it. The document goes along when the proposer's is another one: who
// installs the epoch must know every bucket that the acceptors which chose it know.
func (d *Decider) accept(ctx context.Context, now *ring.Epoch, b paxos.Ballot, req *pb.Decide) (*pb.DecideReply, error) {
	in := d.acceptor.Open()
	if req.GetInstance() != in.Number() || !in.Has(d.o.ID) || !in.Has(b.Node) {
		return d.answer(d.acceptor.Accept(req.GetInstance(), b, req.GetValue()))
	}
	e, bytes, err := value(now, req.GetValue())
	if err != nil {
		return nil, err
	}
	err = d.o.State.Fence(ctx, e, req.GetUnsettled())
	if open, ok := errors.AsType[*state.ClaimsError](err); ok {
		return &pb.DecideReply{Kind: pb.DecideReply_KIND_UNSETTLED, Claims: open.Claims}, nil
	}
	if err != nil {
		return nil, err
	}
	reply, err := d.answer(d.acceptor.Accept(req.GetInstance(), b, bytes))
	if reply.GetKind() == pb.DecideReply_KIND_ACCEPTED && req.GetDocument() != d.o.State.Fingerprint() {
		reply.Document = d.o.State.Document()
	}
	return reply, err
}

// answer makes what the acceptor said durable, and then a message.
func (d *Decider) answer(r paxos.Reply, record *paxos.Record, err error) (*pb.DecideReply, error) {
	if err != nil {
		return nil, err
	}
	if record != nil {
		if err := d.o.Store.SetMeta(metaRecord, paxos.AppendRecord(nil, *record)); err != nil {
			// What is on disk is unknown now, and what is in memory may be more.
			d.stopped = fmt.Errorf("%w: its promise could not be written: %w", ErrStopped, err)
			return nil, d.stopped
		}
	}
	reply := &pb.DecideReply{}
	switch r.Kind {
	case paxos.Promised:
		reply.Kind, reply.Value = pb.DecideReply_KIND_PROMISED, r.Value
		reply.AcceptedCounter, reply.AcceptedNodeId = ballotProto(r.Accepted)
	case paxos.Accepted:
		reply.Kind = pb.DecideReply_KIND_ACCEPTED
	case paxos.Refused:
		reply.Kind = pb.DecideReply_KIND_REFUSED
	case paxos.Decided, paxos.Past:
		reply.Kind, reply.Document = pb.DecideReply_KIND_DECIDED, d.o.State.Document()
	case paxos.Behind:
		reply.Kind = pb.DecideReply_KIND_BEHIND
	}
	reply.Counter, reply.NodeId = ballotProto(r.Ballot)
	return reply, nil
}

func ballotProto(b paxos.Ballot) (counter uint64, node []byte) {
	if b.IsZero() {
		return 0, nil
	}
	return b.Counter, b.Node[:]
}
