package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
	"github.com/starling-db/starling/transfer"
)

const (
	// maxMoves bounds the moves that a node is asked about at once.
	maxMoves = 4096
	// pullRefused is the key under which the metadata says why a source does not count.
	pullRefused = "pull"
)

// pullReasons are the words for that, on the wire.
var pullReasons = map[string]error{
	"rebuilding": transfer.ErrRebuilding, "damaged": transfer.ErrDamaged, "bucket": transfer.ErrBucket,
}

// pullFault is an error of a source in the terms of the wire.
func pullFault(err error) error {
	for word, is := range pullReasons {
		if errors.Is(err, is) {
			f := notReady("%v", err)
			f.metadata = map[string]string{pullRefused: word}
			return f
		}
	}
	if errors.Is(err, transfer.ErrPage) {
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	}
	return err
}

// pullPage asks a source for a page, on the stream that keeps out of the way of clients.
func (p peers) pullPage(ctx context.Context, id ring.NodeID, ask transfer.Ask) (transfer.Page, error) {
	m := &pb.PullRange{N: uint32(ask.N), FirstToken: ask.First, LastToken: ask.Last, After: ask.After}
	reply, err := p.callOn(ctx, p.n.pool.CallBulk, id, &pb.PeerRequest{Epoch: ask.Epoch, Body: &pb.PeerRequest_PullRange{PullRange: m}})
	if f, ok := errors.AsType[*fault](err); ok {
		err = p.n.staleFrom(id, err)
		if why := pullReasons[f.metadata[pullRefused]]; why != nil {
			return transfer.Page{}, fmt.Errorf("%w: %w", why, err)
		}
	}
	if err != nil {
		return transfer.Page{}, err
	}
	r := reply.GetPullRange()
	page := transfer.Page{
		More: r.GetMore(), Sum: r.GetSum(), Floor: causal.HLC(r.GetFloor()), PurgeLevel: causal.HLC(r.GetPurgeLevel()),
		Total: int64(min(r.GetTotal(), 1<<48)), Items: make([]transfer.Item, len(r.GetItems())),
	}
	for i, item := range r.GetItems() {
		page.Items[i] = transfer.Item{Key: item.GetKey(), State: item.GetState()}
	}
	return page, nil
}

// pullRange answers a new owner. The fence comes before the reading: whoever is told what is here has been told all that this node
// has acknowledged, or will, for plans of before the epoch in the request.
func (s peerService) pullRange(ctx context.Context, from ring.NodeID, epoch uint64, m *pb.PullRange) (*pb.PullRangeReply, error) {
	ask := transfer.Ask{
		Epoch: epoch, After: m.After,
		Move: storage.Move{First: m.GetFirstToken(), Last: m.GetLastToken(), N: int(min(m.GetN(), ring.MaxReplicas+1))},
	}
	if err := transfer.CheckAsk(ask); err != nil {
		return nil, pullFault(err)
	}
	if ask.N > ring.MaxReplicas {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "N=%d, at most %d", m.GetN(), ring.MaxReplicas)
	}
	if err := s.mayPull(from, ask); err != nil {
		return nil, err
	}
	source := transfer.Source{Store: s.n.store, Buckets: s.n.bucketsOf, Known: s.n.knownBucket}
	page, err := source.Page(ctx, ask)
	if err == nil {
		err = s.mayPull(from, ask) // still: what others own by now may be on its way out
	}
	if err != nil {
		return nil, pullFault(err)
	}
	reply := &pb.PullRangeReply{
		More: page.More, Sum: page.Sum, Floor: uint64(page.Floor), PurgeLevel: uint64(page.PurgeLevel), Total: uint64(page.Total),
		Items: make([]*pb.ComparedItem, len(page.Items)),
	}
	for i, item := range page.Items {
		reply.Items[i] = &pb.ComparedItem{Key: item.Key, State: item.State}
	}
	s.n.foreground.answers()
	return reply, nil
}

// mayPull passes the fence, and looks whether one node is a source of the range and the other a new owner.
func (s peerService) mayPull(from ring.NodeID, ask transfer.Ask) error {
	e := s.n.epoch()
	first, last := ring.Token(ask.First), ring.Token(ask.Last)
	switch e.FenceRange(ask.Epoch, first, last, ask.N) {
	case ring.Stale:
		return s.n.stale(ask.Epoch, e)
	case ring.Learn:
		return notReady("the pull was planned at epoch %d, this node has learnt %d so far", ask.Epoch, e.Number)
	}
	for p, end := e.PartitionOf(first), e.PartitionOf(last); p <= end; p++ {
		owners := e.Owners(p, ask.N)
		if !slices.Contains(owners, s.n.id) || !slices.Contains(owners, from) && !slices.Contains(e.NextOwners(p, ask.N), from) {
			return &fault{code: codes.FailedPrecondition, reason: pb.Reason_REASON_INVALID_ARGUMENT,
				message: fmt.Sprintf("node %v is no owner of partition %d at N=%d, or %v becomes none", s.n.id, p, ask.N, from)}
		}
	}
	return nil
}

func protoMoves(moves []storage.Complete) []*pb.RangeMove {
	out := make([]*pb.RangeMove, len(moves))
	for i, c := range moves {
		out[i] = &pb.RangeMove{N: uint32(c.N), FirstToken: c.First, LastToken: c.Last, Origin: c.Origin, Sources: uint32(c.Sources)}
	}
	return out
}

// readMoves says what this node is complete for.
func (s peerService) readMoves(m *pb.ReadMoves) (*pb.ReadMovesReply, error) {
	if len(m.GetMoves()) > maxMoves {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%d moves, at most %d", len(m.GetMoves()), maxMoves)
	}
	asked := make([]storage.Complete, len(m.GetMoves()))
	for i, r := range m.GetMoves() {
		asked[i] = storage.Complete{Sources: int(r.GetSources()), Move: storage.Move{
			First: r.GetFirstToken(), Last: r.GetLastToken(), N: int(min(r.GetN(), ring.MaxReplicas+1)), Origin: r.GetOrigin(),
		}}
		if err := asked[i].Check(); err != nil {
			return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%v", err)
		}
	}
	epoch := s.n.epoch().Number // before the marks: what is told must not be older than it
	marks, err := s.n.store.Completes()
	if err != nil {
		return nil, err
	}
	return &pb.ReadMovesReply{Epoch: epoch, Complete: uint32s(transfer.Places(marks, asked))}, nil
}
