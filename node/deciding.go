package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/paxos"
	"github.com/starling-db/starling/node/decide"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// openDeciding makes this node's part in deciding epochs.
func (n *Node) openDeciding(undo *cleanup) error {
	if err := n.abstaining.load(n.store); err != nil {
		return err
	}
	var seed [16]byte
	if _, err := io.ReadFull(n.opts.Rand, seed[:]); err != nil {
		return fmt.Errorf("draw the seed of pauses: %w", err)
	}
	var err error
	n.decider, err = decide.New(decide.Options{
		ID: n.id, Store: n.store, State: n.state, Logger: n.log, Abstain: n.abstains, Send: n.sendDecide, Forward: n.sendProposal,
		Live: func(id ring.NodeID) bool { return id == n.id || n.detector.State(id) == membership.Alive },
		Rand: mathrand.New(mathrand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:]))),
	})
	if err != nil {
		return err
	}
	undo.add(func() error { n.decider.Close(); return nil })
	return nil
}

// ProposeEpoch has an epoch decided that Begin, Commit or Abort made of the present one. See decide.Decider.
func (n *Node) ProposeEpoch(ctx context.Context, e *ring.Epoch) (*ring.Epoch, error) {
	return n.decider.Propose(ctx, e)
}

// Epoch is the newest epoch of the ring that this node knows to be decided; nil while it belongs to no cluster.
func (n *Node) Epoch() *ring.Epoch { return n.epoch() }

// What is said about epochs goes over the bulk stream: an epoch may have megabytes.
func (n *Node) sendDecide(ctx context.Context, to ring.NodeID, req *pb.Decide) (*pb.DecideReply, error) {
	reply, err := peers{n}.callOn(ctx, n.pool.CallBulk, to, &pb.PeerRequest{Body: &pb.PeerRequest_Decide{Decide: req}})
	return reply.GetDecide(), err
}

func (n *Node) sendProposal(ctx context.Context, to ring.NodeID, req *pb.ProposeEpoch) (*pb.ProposeEpochReply, error) {
	reply, err := peers{n}.callOn(ctx, n.pool.CallBulk, to, &pb.PeerRequest{Body: &pb.PeerRequest_ProposeEpoch{ProposeEpoch: req}})
	return reply.GetProposeEpoch(), err
}

func (s peerService) decide(ctx context.Context, from ring.NodeID, req *pb.Decide) (*pb.DecideReply, error) {
	reply, err := s.n.decider.Handle(ctx, from, req)
	if err != nil {
		return nil, decideFault(err)
	}
	return reply, nil
}

func (s peerService) proposeEpoch(ctx context.Context, req *pb.ProposeEpoch) (*pb.ProposeEpochReply, error) {
	ctx, cancel := s.n.withDeadline(ctx) // so that the answer is still in time
	defer cancel()
	reply, err := s.n.decider.HandlePropose(ctx, req)
	if err != nil {
		return nil, decideFault(err)
	}
	return reply, nil
}

// decideFault is toFault for what an acceptor says to a peer.
func decideFault(err error) *fault {
	switch {
	case errors.Is(err, decide.ErrRequest), errors.Is(err, paxos.ErrRequest):
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	case errors.Is(err, decide.ErrAbstains), errors.Is(err, decide.ErrStopped), errors.Is(err, paxos.ErrSetup),
		errors.Is(err, state.ErrNotFounded):
		return &fault{code: codes.Unavailable, reason: pb.Reason_REASON_NOT_READY, message: err.Error()}
	}
	return toFault(err)
}

// abstaining is what a node must remember whose disk was put back to an older image: up to which epoch it takes no part in
// decisions, since it may have forgotten what it promised.
type abstaining struct {
	mu    sync.Mutex
	until uint64 // 0: it takes part; untold: which epoch that is, is yet to be found out
}

const (
	abstainDocument = "cluster/abstain"
	untold          = math.MaxUint64
)

// metaStore is what abstaining needs of the node's storage.
type metaStore interface {
	SetMeta(name string, value []byte) error
	Meta(name string) ([]byte, error)
}

func (a *abstaining) load(s metaStore) error {
	b, err := s.Meta(abstainDocument)
	if err != nil || b == nil {
		return err
	}
	if len(b) != 8 {
		return fmt.Errorf("document %q: %d bytes, want 8", abstainDocument, len(b))
	}
	a.until = binary.BigEndian.Uint64(b)
	return nil
}

// begin has the node abstain from now on, also after a restart.
func (a *abstaining) begin(s metaStore) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = untold
	return s.SetMeta(abstainDocument, binary.BigEndian.AppendUint64(nil, untold))
}

func (a *abstaining) begun() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.until > 0
}

// during reports whether the node abstains at this epoch. heard asks for the highest epoch that a majority of the acceptors,
// this node not counted, have told; known is false while too few have.
//
// What the node has forgotten is of an instance k, at most the one behind the newest decision at that time. Then k-1 was
// decided, by a majority that knew k-2. So of any majority somebody tells k-2 or more, and two epochs above that k is over.
func (a *abstaining) during(s metaStore, epoch uint64, heard func() (highest uint64, known bool)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until == untold {
		highest, known := heard()
		if !known {
			return true
		}
		until := max(highest, epoch) + 2
		if err := s.SetMeta(abstainDocument, binary.BigEndian.AppendUint64(nil, until)); err != nil {
			return true
		}
		a.until = until
	}
	return epoch < a.until
}

// abstains is asked before this node answers as an acceptor. Before it is ready it has not heard yet whether its disk is an
// old one.
func (n *Node) abstains() bool {
	select {
	case <-n.ready:
	default:
		return true
	}
	n.vouching.mu.Lock()
	noticed := n.vouching.oldDisk
	n.vouching.mu.Unlock()
	if noticed && !n.abstaining.begun() {
		return true // it is only just being noted
	}
	e := n.epoch()
	return e != nil && n.abstaining.during(n.store, e.Number, func() (uint64, bool) { return n.toldEpochs(e) })
}

// toldEpochs is the highest epoch that other acceptors tell by gossip, once they are a majority.
func (n *Node) toldEpochs(e *ring.Epoch) (highest uint64, majority bool) {
	count := 0
	for _, m := range e.Base.Members() {
		if seen, ok := n.members.Node(m.ID); ok && m.ID != n.id && seen.State == membership.Alive && len(seen.Meta.GetClusterId()) > 0 {
			count++
			highest = max(highest, seen.Meta.GetEpoch())
		}
	}
	return highest, count > len(e.Base.Members())/2
}
