package node

import (
	"context"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/internal/transport"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// peerService answers what other nodes ask. Writes that arrive in one frame share one storage batch and so one
// fsync; everything else is answered on goroutines of its own, as many as transport lets in.
type peerService struct{ n *Node }

// handle answers requests that name no epoch later than this node's.
func (s peerService) handle(ctx context.Context, from ring.NodeID, batch []*transport.Request) {
	var writes, single []*transport.Request
	for _, req := range batch {
		switch req.Message.GetBody().(type) {
		case *pb.PeerRequest_Write, *pb.PeerRequest_Handoff:
			writes = append(writes, req)
		default:
			single = append(single, req)
		}
	}
	for i, req := range single {
		if i == len(single)-1 && len(writes) == 0 {
			s.answer(from, req)
			return
		}
		s.n.workers.Go(func() { s.answer(from, req) })
	}
	s.write(ctx, writes)
}

// write merges the writes of a frame.
func (s peerService) write(ctx context.Context, reqs []*transport.Request) {
	var writes []coordinator.WriteRequest
	var asked []*transport.Request
	for _, req := range reqs {
		w, err := s.decodeWrite(req.Message)
		if err != nil {
			req.Fail(peerError(err))
			continue
		}
		writes, asked = append(writes, w), append(asked, req)
	}
	s.n.local().writeAll(ctx, writes, func(errs []error) {
		for i, err := range errs {
			switch {
			case err != nil:
				asked[i].Fail(peerError(err))
			case asked[i].Message.GetHandoff() != nil:
				asked[i].Reply(&pb.PeerReply{Body: &pb.PeerReply_Handoff{Handoff: &pb.HandoffReply{}}})
			default:
				asked[i].Reply(&pb.PeerReply{Body: &pb.PeerReply_Write{Write: &pb.WriteStateReply{}}})
			}
		}
	})
}

func (s peerService) decodeWrite(m *pb.PeerRequest) (coordinator.WriteRequest, error) {
	if err := s.n.serving(); err != nil {
		return coordinator.WriteRequest{}, err
	}
	out := coordinator.WriteRequest{Epoch: m.GetEpoch(), Sync: true}
	address, encoded := m.GetHandoff().GetItem(), m.GetHandoff().GetState()
	if h := m.GetHandoff(); h != nil {
		out.N, out.Policy = int(h.GetN()), policyOf(h.GetConflict())
	} else {
		w := m.GetWrite()
		address, encoded = w.GetItem(), w.GetState()
		out.N, out.Policy, out.Sync = int(w.GetN()), policyOf(w.GetConflict()), w.GetDurability() != pb.Durability_DURABILITY_MEMORY
		out.Fresh = causal.HLC(w.GetFresh())
		if len(w.GetHintFor()) > 0 && copy(out.HintFor[:], w.GetHintFor()) != len(w.GetHintFor()) {
			return out, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a node id of %d bytes", len(w.GetHintFor()))
		}
	}
	var err error
	if out.Item, err = s.item(address); err != nil {
		return out, err
	}
	if out.State, err = causal.DecodeState(encoded); err != nil {
		return out, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "state: %v", err)
	}
	return out, nil
}

func (s peerService) item(a *pb.ItemAddress) (causal.ItemKey, error) {
	out := causal.ItemKey{Bucket: a.GetBucketId(), Partition: a.GetPartitionKey(), Sort: a.GetSortKey()}
	if s.n.state.Snapshot().Dropped(out.Bucket) {
		return out, &fault{code: codes.NotFound, reason: pb.Reason_REASON_UNKNOWN_BUCKET, message: "the bucket was dropped"}
	}
	if err := storageKey(out).Check(); err != nil {
		return out, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	}
	return out, nil
}

// answer does one request.
func (s peerService) answer(from ring.NodeID, req *transport.Request) {
	if m := req.Message.GetRead(); m != nil {
		s.read(req, m)
		return
	}
	reply, err := s.do(req.Context(), from, req.Message)
	if err != nil {
		req.Fail(peerError(err))
		return
	}
	req.Reply(reply)
}

func (s peerService) do(ctx context.Context, from ring.NodeID, m *pb.PeerRequest) (*pb.PeerReply, error) {
	switch body := m.GetBody().(type) {
	case *pb.PeerRequest_Ping:
		return &pb.PeerReply{Body: &pb.PeerReply_Ping{Ping: &pb.PingReply{
			WallMs: s.n.clock.Physical().UnixMilli(), Ready: s.n.notReadyReason() == "",
			HlcBound: uint64(s.n.store.HLCBound()), Process: s.n.store.Process(),
			Remembered: uint64(s.n.remember(from, body.Ping.GetProcess(), body.Ping.GetHlcBound())),
		}}}, nil
	case *pb.PeerRequest_PullState:
		return &pb.PeerReply{Body: &pb.PeerReply_PullState{PullState: &pb.PullStateReply{Document: s.n.state.Document()}}}, nil
	case *pb.PeerRequest_PushState:
		reply, err := s.n.state.PushState(ctx, from, body.PushState)
		return &pb.PeerReply{Body: &pb.PeerReply_PushState{PushState: reply}}, err
	case *pb.PeerRequest_Propose:
		reply, err := s.n.state.Propose(ctx, from, body.Propose)
		return &pb.PeerReply{Body: &pb.PeerReply_Propose{Propose: reply}}, err
	case *pb.PeerRequest_Decide:
		reply, err := s.decide(ctx, from, body.Decide)
		return &pb.PeerReply{Body: &pb.PeerReply_Decide{Decide: reply}}, err
	case *pb.PeerRequest_ProposeEpoch:
		reply, err := s.proposeEpoch(ctx, body.ProposeEpoch)
		return &pb.PeerReply{Body: &pb.PeerReply_ProposeEpoch{ProposeEpoch: reply}}, err
	case *pb.PeerRequest_ReadClaims:
		reply, err := s.readClaims(from, m.GetEpoch(), body.ReadClaims)
		return &pb.PeerReply{Body: &pb.PeerReply_ReadClaims{ReadClaims: reply}}, err
	case *pb.PeerRequest_ListHints:
		return &pb.PeerReply{Body: &pb.PeerReply_ListHints{ListHints: s.n.listHints(body.ListHints)}}, nil
	case *pb.PeerRequest_ListTasks:
		return &pb.PeerReply{Body: &pb.PeerReply_ListTasks{ListTasks: s.n.ownTasks()}}, nil
	case *pb.PeerRequest_GetTask:
		reply, err := s.n.getTask(ctx, body.GetTask)
		return &pb.PeerReply{Body: &pb.PeerReply_GetTask{GetTask: reply}}, err
	case *pb.PeerRequest_CancelTask:
		reply, err := s.n.cancelTask(body.CancelTask)
		return &pb.PeerReply{Body: &pb.PeerReply_CancelTask{CancelTask: reply}}, err
	}
	if err := s.n.serving(); err != nil {
		return nil, err
	}
	switch body := m.GetBody().(type) {
	case *pb.PeerRequest_Compare:
		reply, err := s.n.compare(ctx, body.Compare)
		return &pb.PeerReply{Body: &pb.PeerReply_Compare{Compare: reply}}, err
	case *pb.PeerRequest_Attest:
		reply, err := s.n.attest(ctx, m.GetEpoch(), body.Attest)
		return &pb.PeerReply{Body: &pb.PeerReply_Attest{Attest: reply}}, err
	case *pb.PeerRequest_RaiseFloors:
		err := s.n.raiseFloors(ctx, m.GetEpoch(), body.RaiseFloors)
		return &pb.PeerReply{Body: &pb.PeerReply_RaiseFloors{RaiseFloors: &pb.RaiseFloorsReply{}}}, err
	case *pb.PeerRequest_Range:
		return s.scan(ctx, m.GetEpoch(), body.Range)
	case *pb.PeerRequest_Forward:
		return s.forward(ctx, m.GetEpoch(), body.Forward)
	case *pb.PeerRequest_CompareRoots:
		return s.compareRoots(from, m.GetEpoch(), body.CompareRoots)
	case *pb.PeerRequest_CompareNodes:
		return s.compareNodes(from, m.GetEpoch(), body.CompareNodes)
	case *pb.PeerRequest_CompareItems:
		return s.compareItems(ctx, from, m.GetEpoch(), body.CompareItems)
	case *pb.PeerRequest_PullRange:
		reply, err := s.pullRange(ctx, from, m.GetEpoch(), body.PullRange)
		return &pb.PeerReply{Body: &pb.PeerReply_PullRange{PullRange: reply}}, err
	case *pb.PeerRequest_ReadMoves:
		reply, err := s.readMoves(body.ReadMoves)
		return &pb.PeerReply{Body: &pb.PeerReply_ReadMoves{ReadMoves: reply}}, err
	default:
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a request that this version does not know")
	}
}

// read answers when what it found is durable.
func (s peerService) read(req *transport.Request, m *pb.ReadState) {
	item, err := s.item(m.GetItem())
	if err == nil {
		err = s.n.serving()
	}
	if err != nil {
		req.Fail(peerError(err))
		return
	}
	ask := coordinator.ReadRequest{Item: item, N: int(m.GetN()), Digest: m.GetDigestOnly(), Epoch: req.Message.GetEpoch()}
	var told atomic.Bool
	s.n.local().read(ask, func(got coordinator.ReadReply, err error) {
		told.Store(true)
		switch {
		case err != nil:
			req.Fail(peerError(err))
		case got.State.Size() > maxShort: // encoding it would hold up whoever tells
			s.n.workers.Go(func() { replyRead(req, m, got) })
		default:
			replyRead(req, m, got)
		}
	})
	if !told.Load() {
		// It waits for the disk, and must not keep its place for longer than anybody waits for it.
		context.AfterFunc(req.Context(), func() { req.Fail(peerError(req.Context().Err())) })
	}
}

func replyRead(req *transport.Request, m *pb.ReadState, got coordinator.ReadReply) {
	reply := &pb.ReadStateReply{Digest: got.Digest[:]}
	if !m.GetDigestOnly() {
		reply.State = causal.AppendState(nil, got.State)
	}
	req.Reply(&pb.PeerReply{Body: &pb.PeerReply_Read{Read: reply}})
}

// Bounds of what a peer may ask of one range: a coordinator asks for less.
const (
	maxRangeItems = 2 * maxQueryLimit
	maxRangeBytes = 4 * pageBytes
)

// bounded is a limit that somebody else chose: none is the most that there is.
func bounded(limit, most uint64) uint64 {
	if limit == 0 {
		return most
	}
	return min(limit, most)
}

func (s peerService) scan(ctx context.Context, epoch uint64, m *pb.ReadRange) (*pb.PeerReply, error) {
	got, err := s.n.local().scan(ctx, coordinator.RangeRequest{
		Bucket: m.GetBucketId(), N: int(m.GetN()), Partition: int(m.GetPartition()), Start: m.GetStart(), End: m.GetEnd(),
		Reverse: m.GetReverse(), LimitItems: int(bounded(uint64(m.GetLimitItems()), maxRangeItems)),
		LimitBytes: int64(bounded(m.GetLimitBytes(), maxRangeBytes)), Epoch: epoch,
	})
	if err != nil {
		return nil, err
	}
	reply := &pb.ReadRangeReply{Exhausted: got.Exhausted, Items: make([]*pb.RangeItem, len(got.Items))}
	for i, item := range got.Items {
		reply.Items[i] = &pb.RangeItem{Key: item.Key, State: causal.AppendState(nil, item.State)}
	}
	return &pb.PeerReply{Body: &pb.PeerReply_Range{Range: reply}}, nil
}

// forward coordinates a write that another node was asked for. It goes no further: a node that may not
// coordinate it says so, and, if that is so because the ring has changed since the other node looked, says that.
func (s peerService) forward(ctx context.Context, epoch uint64, m *pb.Forward) (*pb.PeerReply, error) {
	reply, err := s.coordinateFor(ctx, m)
	_, begun := errors.AsType[*coordinator.QuorumError](err)
	if now := s.n.epoch(); !begun && errors.Is(err, coordinator.ErrNotCoordinator) && now.Number > epoch {
		return nil, s.n.stale(epoch, now)
	}
	return reply, err
}

func (s peerService) coordinateFor(ctx context.Context, m *pb.Forward) (_ *pb.PeerReply, err error) {
	size := forwardSize(m)
	release, err := s.n.admit(size, size <= maxShort)
	if err != nil {
		return nil, err
	}
	defer func() { release(err) }()
	ctx, cancel := s.n.withDeadline(ctx) // so that the answer, which says how far it came, is still in time
	defer cancel()
	switch req := m.GetRequest().(type) {
	case *pb.Forward_Put:
		w, err := s.n.checkPut(req.Put)
		if err != nil {
			return nil, err
		}
		resp, err := s.n.coordinate(ctx, w, nil)
		return &pb.PeerReply{Body: &pb.PeerReply_Forward{Forward: &pb.ForwardReply{Response: &pb.ForwardReply_Put{Put: resp}}}}, err
	case *pb.Forward_Delete:
		w, err := s.n.checkDelete(req.Delete)
		if err != nil {
			return nil, err
		}
		resp, err := s.n.coordinate(ctx, w, nil)
		return &pb.PeerReply{Body: &pb.PeerReply_Forward{Forward: &pb.ForwardReply{Response: &pb.ForwardReply_Delete{Delete: deleteResponse(resp)}}}}, err
	default:
		return nil, errors.New("a forward of nothing")
	}
}

func forwardSize(m *pb.Forward) int { return len(m.GetPut().GetValue()) }
