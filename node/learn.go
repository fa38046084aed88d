package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/internal/transport"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// staleEpoch is the key under which the metadata of a stale answer says which epoch the replica has.
const staleEpoch = "epoch"

// learning has one exchange of documents under way at a time, however many requests wait for what it brings.
type learning struct{ turn chan struct{} }

// epochNumber is the epoch that this node has, 0 before the founding: nothing that it is asked then can be served.
func (n *Node) epochNumber() uint64 {
	if e := n.epoch(); e != nil {
		return e.Number
	}
	return 0
}

// learn brings this node's ring up to an epoch that another node has named, durably: gossip would bring it, too, but later. It
// asks that node, which has it, or has it from one that does. An epoch that nobody knows costs one exchange with who names it.
func (n *Node) learn(ctx context.Context, from ring.NodeID, epoch uint64) error {
	if n.epochNumber() >= epoch {
		return nil
	}
	select {
	case n.learning.turn <- struct{}{}:
		defer func() { <-n.learning.turn }()
	case <-ctx.Done():
		return notReady("epoch %d was not learnt in time, this node has %d so far", epoch, n.epochNumber())
	}
	if n.epochNumber() >= epoch {
		return nil
	}
	if from == n.id {
		return notReady("no node is known that has epoch %d", epoch)
	}
	if _, err := n.state.Exchange(ctx, from); err != nil {
		return notReady("node %s has epoch %d and could not tell it: %v", n.name(from), epoch, err)
	}
	if have := n.epochNumber(); have < epoch {
		return notReady("node %s names epoch %d and knows %d", n.name(from), epoch, have)
	}
	return nil
}

// Handle implements transport.Handler. What names an epoch that this node doesn't have waits until that is learnt, on a
// goroutine of its own: it would be in the way of what can be answered.
func (s peerService) Handle(ctx context.Context, from transport.Peer, _ *pb.Hello, batch []*transport.Request) {
	have := s.n.epochNumber()
	var ahead []*transport.Request
	newest := uint64(0)
	for i, req := range batch {
		epoch := req.Message.GetEpoch()
		if ahead == nil && epoch > have {
			ahead, batch = make([]*transport.Request, 0, len(batch)-i), append(batch[:0:0], batch...)
			batch = batch[:i]
		}
		switch {
		case epoch > have:
			ahead, newest = append(ahead, req), max(newest, epoch)
		case ahead != nil:
			batch = append(batch, req)
		}
	}
	if len(ahead) > 0 {
		s.n.workers.Go(func() { s.handleAhead(ctx, ring.NodeID(from.ID), newest, ahead) })
	}
	if len(batch) > 0 {
		s.handle(ctx, ring.NodeID(from.ID), batch)
	}
}

// handleAhead answers requests once this node has the epoch that they name. The fence refuses those for which it has not.
func (s peerService) handleAhead(ctx context.Context, from ring.NodeID, epoch uint64, reqs []*transport.Request) {
	wait, cancel := context.WithTimeout(ctx, s.n.cfg.RequestTimeout)
	defer cancel()
	if err := s.n.learn(wait, from, epoch); err != nil {
		s.n.log.Debug("a request names an epoch that could not be learnt", "node", s.n.name(from), "epoch", epoch, "error", err)
	}
	s.handle(ctx, from, reqs)
}

// stale is the answer to a request that was planned at an epoch which is over.
func (n *Node) stale(planned uint64, epoch *ring.Epoch) error {
	n.metrics.StaleEpoch()
	return &coordinator.StaleError{Node: n.id, Epoch: epoch.Number, Err: &fault{
		code: codes.Aborted, reason: pb.Reason_REASON_STALE_EPOCH,
		message:  fmt.Sprintf("planned at epoch %d, the ring is at %d", planned, epoch.Number),
		metadata: map[string]string{staleEpoch: strconv.FormatUint(epoch.Number, 10)},
	}}
}

// staleFrom is a peer's error in the coordinator's terms, if it says that the ring has changed. What comes of it otherwise is
// left to those who asked; that this node hears of the change does not depend on them.
func (n *Node) staleFrom(id ring.NodeID, err error) error {
	f, ok := errors.AsType[*fault](err)
	if !ok || f.reason != pb.Reason_REASON_STALE_EPOCH {
		return err
	}
	epoch, failed := strconv.ParseUint(f.metadata[staleEpoch], 10, 64)
	if failed != nil {
		return err
	}
	if epoch > n.epochNumber() {
		n.spread.Wake()
	}
	return &coordinator.StaleError{Node: id, Epoch: epoch, Err: f}
}

// sameEpoch refuses what speaks of partitions by their numbers, or relies on nothing having changed, and was planned at another
// epoch than this node's: rounds, comparisons and claims. They are done again at the next one.
func (n *Node) sameEpoch(now *ring.Epoch, planned uint64) error {
	switch {
	case planned > now.Number:
		return notReady("planned at epoch %d, this node has learnt %d so far", planned, now.Number)
	case planned < now.Number:
		return n.stale(planned, now)
	}
	return nil
}
