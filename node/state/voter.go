package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// proposalIDLen is the length of a proposal's id.
const proposalIDLen = 16

// ErrFounding: a request about the founding is malformed, or its sender may not make it.
var ErrFounding = errors.New("refused request about the cluster's founding")

// voter is what a node's answer to a Propose depends on. Pure: rule decides, the caller persists.
type voter struct {
	self    ring.NodeID
	cluster string
	expect  int
	doc     *Document
	// bound: the data directory names a cluster, though its document may be lost.
	bound bool
	vote  *pb.Vote // nil: not given
}

// ruling is a voter's answer. A changed vote must be durable, and adopt taken over, before it leaves.
type ruling struct {
	granted  bool
	votedFor ring.NodeID // zero with granted false: this node takes no part in such a founding
	vote     *pb.Vote
	adopt    *Document
}

// rule decides about one request. The node's one vote stays with its proposal until the proposer itself
// cancels that, so of two rival founders at most one ever holds the votes of all.
func (v voter) rule(from ring.NodeID, p *pb.Propose) (ruling, error) {
	keep := ruling{vote: v.vote}
	if len(p.GetProposalId()) != proposalIDLen || !bytes.Equal(p.GetFounderId(), from[:]) {
		return keep, fmt.Errorf("%w: proposal id of %d bytes, or not from its founder %x", ErrFounding, len(p.GetProposalId()), p.GetFounderId())
	}
	mine := v.vote != nil && bytes.Equal(v.vote.GetProposalId(), p.GetProposalId()) && bytes.Equal(v.vote.GetFounderId(), from[:])
	switch p.GetStep() {
	case pb.Propose_STEP_CANCEL:
		if mine && !v.doc.Founded() {
			keep.vote = nil
		}
		keep.granted = true // it is not, or no longer, bound by that proposal
		return keep, nil
	case pb.Propose_STEP_VOTE:
		return v.onVote(keep, mine, p)
	case pb.Propose_STEP_DECIDE:
		return v.onDecide(keep, mine, p)
	}
	return keep, fmt.Errorf("%w: unknown step %d", ErrFounding, p.GetStep())
}

func (v voter) onVote(keep ruling, mine bool, p *pb.Propose) (ruling, error) {
	d, err := v.proposed(p)
	if err != nil {
		return keep, err
	}
	switch {
	case v.doc.Founded():
		if bytes.Equal(v.doc.wire.GetClusterId(), d.wire.GetClusterId()) {
			keep.granted = true
			return keep, nil
		}
		return keep, fmt.Errorf("%w: this node belongs to cluster %x already", ErrFounding, v.doc.wire.GetClusterId())
	case v.bound:
		return keep, fmt.Errorf("%w: this node's data directory belongs to a cluster already", ErrFounding)
	case mine && !bytes.Equal(p.GetDocument(), v.vote.GetDocument()):
		return keep, fmt.Errorf("%w: the proposal has changed under its id", ErrFounding)
	case mine:
		keep.granted = true
	case v.vote != nil:
		keep.votedFor = nodeIDOf(v.vote.GetFounderId())
	case v.expect == len(d.newest.Base.Members()):
		keep.granted = true
		keep.vote = &pb.Vote{ProposalId: p.GetProposalId(), FounderId: p.GetFounderId(), Document: p.GetDocument()}
	}
	return keep, nil
}

func (v voter) onDecide(keep ruling, mine bool, p *pb.Propose) (ruling, error) {
	d, err := v.proposed(p)
	if err != nil {
		return keep, err
	}
	switch {
	case v.doc.Founded():
		if !bytes.Equal(v.doc.wire.GetClusterId(), d.wire.GetClusterId()) {
			return keep, fmt.Errorf("%w: this node belongs to cluster %x already", ErrFounding, v.doc.wire.GetClusterId())
		}
	case !mine:
		return keep, fmt.Errorf("%w: this node did not vote for what is said to be decided", ErrFounding)
	case !bytes.Equal(p.GetDocument(), v.vote.GetDocument()):
		return keep, fmt.Errorf("%w: what is said to be decided is not what this node voted for", ErrFounding)
	default:
		keep.adopt = d
	}
	keep.granted = true
	return keep, nil
}

// proposed decodes and checks the document of a founding: epoch 0 of this cluster's name, with this node in it.
func (v voter) proposed(p *pb.Propose) (*Document, error) {
	d, err := DecodeDocument(p.GetDocument())
	switch {
	case err != nil:
		return nil, err
	case d.wire.GetName() != v.cluster:
		return nil, &ConflictError{"cluster name", fmt.Sprintf("%q", v.cluster), fmt.Sprintf("%q", d.wire.GetName())}
	case !d.Founded() || d.newest.Number != 0 || d.newest.Joint():
		return nil, fmt.Errorf("%w: the document is not that of a new cluster", ErrFounding)
	case !d.Names(v.self):
		return nil, fmt.Errorf("%w: %w", ErrFounding, ErrNotMember)
	}
	return d, nil
}

// Propose answers one step of a founding that a peer, or this node itself, proposes. The vote is durable before
// the reply says granted.
func (m *Manager) Propose(ctx context.Context, from ring.NodeID, p *pb.Propose) (*pb.ProposeReply, error) {
	release, err := take(ctx, m.turn)
	if err != nil {
		return nil, err
	}
	v := voter{
		self: m.o.ID, cluster: m.o.Cluster, expect: m.o.Expect, bound: m.o.ClusterID != [16]byte{},
		doc: m.current.Load().doc, vote: m.vote,
	}
	r, err := v.rule(from, p)
	if err == nil && r.vote != m.vote {
		if err = m.setMessage(metaVote, r.vote); err == nil {
			m.vote = r.vote
		}
	}
	release()
	if err == nil && r.adopt != nil {
		_, err = m.offer(ctx, r.adopt)
	}
	if err != nil {
		return nil, err
	}
	reply := &pb.ProposeReply{Granted: r.granted}
	if !r.votedFor.IsZero() {
		reply.VotedFor = r.votedFor[:]
	}
	return reply, nil
}

// nodeIDOf returns the zero id when b has another length.
func nodeIDOf(b []byte) (id ring.NodeID) {
	if len(b) == len(id) {
		copy(id[:], b)
	}
	return id
}
