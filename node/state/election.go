package state

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// collect asks the members that have not granted the live proposal for their votes. With all of them the cluster
// is founded.
func (m *Manager) collect(ctx context.Context) error {
	f := &m.founder
	var to []ring.NodeID
	members := f.doc.newest.Base.Members()
	for _, n := range members {
		if !f.granted[n.ID] {
			to = append(to, n.ID)
		}
	}
	replies, errs := m.proposeToAll(ctx, to, pb.Propose_STEP_VOTE)
	for i, id := range to {
		m.count(ctx, id, replies[i], errs[i])
	}
	if len(f.granted) < len(members) {
		return nil
	}
	_, err := m.offer(ctx, f.doc)
	switch {
	case err == nil:
		f.decided = true
		m.log.Info("founded the cluster", "cluster", m.o.Cluster, "cluster_id", hex.EncodeToString(f.doc.wire.GetClusterId()), "members", len(members))
	case errors.Is(err, ErrConflict):
		m.log.Warn("another cluster has taken this node in meanwhile", "error", err)
		return nil
	}
	return err
}

// count takes in one answer to a request for a vote.
func (m *Manager) count(ctx context.Context, id ring.NodeID, reply *pb.ProposeReply, err error) {
	f := &m.founder
	switch founder := nodeIDOf(reply.GetVotedFor()); {
	case err != nil:
		m.explain(fmt.Sprintf("collects votes: node %s does not give its: %v", id, err))
	case reply.GetGranted():
		f.granted[id] = true
	case founder == m.o.ID:
		// A cancelled proposal of ours reached it late: cancel that again.
		delete(f.released, id)
		m.release(ctx, []Candidate{{NodeAttributes: NodeAttributes{ID: id}}})
	case !founder.IsZero():
		m.explain(fmt.Sprintf("collects votes: node %s has voted for another founder, %s: name the same first address in --join everywhere and restart that one; if it is gone for good, empty the data directories of those that voted for it", id, founder))
	default:
		f.unwilling[id] = true
	}
}

// tellDecision tells the members that have not heard it, when this node founded the cluster in this run. It
// reports whether there is nobody left to tell. After a restart the others learn it by gossip, as do those that are
// down for long.
func (m *Manager) tellDecision(ctx context.Context) (done bool) {
	f := &m.founder
	if !f.decided {
		return true
	}
	var to []ring.NodeID
	for _, n := range f.doc.newest.Base.Members() {
		if n.ID != m.o.ID && !f.told[n.ID] {
			to = append(to, n.ID)
		}
	}
	replies, errs := m.proposeToAll(ctx, to, pb.Propose_STEP_DECIDE)
	left := len(to)
	for i, id := range to {
		if errs[i] == nil && replies[i].GetGranted() {
			f.told[id] = true
			left--
		}
	}
	return left == 0
}

// proposeToAll sends one step about the present proposal to each node and waits for all replies.
func (m *Manager) proposeToAll(ctx context.Context, to []ring.NodeID, step pb.Propose_Step) ([]*pb.ProposeReply, []error) {
	p := m.founder.proposal
	req := &pb.Propose{Step: step, ProposalId: p.GetProposalId(), FounderId: p.GetFounderId(), Document: p.GetDocument()}
	replies, errs := make([]*pb.ProposeReply, len(to)), make([]error, len(to))
	m.toEach(ctx, to, func(ctx context.Context, i int) {
		replies[i], errs[i] = m.send(ctx, to[i], req)
	})
	return replies, errs
}

// toEach calls f for each node side by side, bounded by CallTimeout, and waits for all.
func (m *Manager) toEach(ctx context.Context, to []ring.NodeID, f func(ctx context.Context, i int)) {
	ctx, cancel := context.WithTimeout(ctx, m.o.CallTimeout)
	defer cancel()
	var all sync.WaitGroup
	for i := range to {
		all.Go(func() { f(ctx, i) })
	}
	all.Wait()
}

// send sends to a peer, or asks this node itself.
func (m *Manager) send(ctx context.Context, to ring.NodeID, req *pb.Propose) (*pb.ProposeReply, error) {
	if to == m.o.ID {
		return m.Propose(ctx, to, req)
	}
	return m.o.Propose(ctx, to, req)
}
