package state

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// ballotBox is a voter that nodes 0 and 1 of three may ask, and a valid request of node 0.
func ballotBox(t *testing.T) (voter, *pb.Propose) {
	t.Helper()
	c := newCluster(t, 3, func(o *Options) { o.Expect = 3 })
	var members []Candidate
	for i := range 3 {
		members = append(members, Candidate{NodeAttributes: c.attributes(nodeID(i))})
	}
	d, err := c.node(0).newCluster(members)
	if err != nil {
		t.Fatal(err)
	}
	own, err := emptyDocument("test")
	if err != nil {
		t.Fatal(err)
	}
	founder := nodeID(0)
	return voter{self: nodeID(2), cluster: "test", expect: 3, doc: own}, &pb.Propose{
		Step: pb.Propose_STEP_VOTE, ProposalId: bytes.Repeat([]byte{1}, proposalIDLen), FounderId: founder[:], Document: d.Bytes(),
	}
}

// change decodes a proposal's document, changes it and puts it back.
func change(t *testing.T, p *pb.Propose, f func(*pb.ClusterDocument)) {
	t.Helper()
	d := new(pb.ClusterDocument)
	if err := proto.Unmarshal(p.GetDocument(), d); err != nil {
		t.Fatal(err)
	}
	f(d)
	raw, err := deterministic(d)
	if err != nil {
		t.Fatal(err)
	}
	p.Document = raw
}

func TestAVoterVotesOnce(t *testing.T) {
	v, p := ballotBox(t)
	r, err := v.rule(nodeID(0), p)
	if err != nil || !r.granted || r.vote == nil || r.adopt != nil {
		t.Fatalf("first vote: %+v, %v", r, err)
	}
	v.vote = r.vote
	if r, err := v.rule(nodeID(0), p); err != nil || !r.granted || r.vote != v.vote {
		t.Errorf("asked again: %+v, %v", r, err)
	}
	rival := proto.CloneOf(p)
	id := nodeID(1)
	rival.FounderId, rival.ProposalId = id[:], bytes.Repeat([]byte{2}, proposalIDLen)
	if r, err := v.rule(id, rival); err != nil || r.granted || r.votedFor != nodeID(0) || r.vote != v.vote {
		t.Errorf("a rival: %+v, %v", r, err)
	}
	rival.Step = pb.Propose_STEP_CANCEL
	if r, err := v.rule(id, rival); err != nil || !r.granted || r.vote != v.vote {
		t.Errorf("the rival cancels its own: %+v, %v", r, err)
	}
	rival.Step = pb.Propose_STEP_DECIDE
	if r, err := v.rule(id, rival); !errors.Is(err, ErrFounding) || r.adopt != nil {
		t.Errorf("the rival says that it has won: %+v, %v", r, err)
	}
	p.Step = pb.Propose_STEP_DECIDE
	if r, err := v.rule(nodeID(0), p); err != nil || r.adopt == nil {
		t.Errorf("the decision: %+v, %v", r, err)
	}
	p.Step = pb.Propose_STEP_CANCEL
	if r, err := v.rule(nodeID(0), p); err != nil || !r.granted || r.vote != nil {
		t.Errorf("the founder cancels: %+v, %v", r, err)
	}
}

func TestAVoterChecksWhatItVotesFor(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(t *testing.T, v *voter, p *pb.Propose)
		want  error // nil: no error and no grant
	}{
		"a short proposal id": {func(_ *testing.T, _ *voter, p *pb.Propose) { p.ProposalId = p.ProposalId[1:] }, ErrFounding},
		"another's proposal":  {func(_ *testing.T, _ *voter, p *pb.Propose) { p.FounderId = bytes.Repeat([]byte{9}, 16) }, ErrFounding},
		"no step":             {func(_ *testing.T, _ *voter, p *pb.Propose) { p.Step = 0 }, ErrFounding},
		"garbage":             {func(_ *testing.T, _ *voter, p *pb.Propose) { p.Document = []byte("garbage") }, ErrDocument},
		"no document":         {func(_ *testing.T, _ *voter, p *pb.Propose) { p.Document = nil }, ErrDocument},
		"another cluster's": {func(t *testing.T, _ *voter, p *pb.Propose) {
			change(t, p, func(d *pb.ClusterDocument) { d.Name = "another" })
		}, ErrConflict},
		"of no cluster": {func(t *testing.T, _ *voter, p *pb.Propose) {
			change(t, p, func(d *pb.ClusterDocument) { d.ClusterId, d.Epochs, d.Buckets = nil, nil, nil })
		}, ErrFounding},
		"without this node": {func(_ *testing.T, v *voter, _ *pb.Propose) { v.self = ring.NodeID{77} }, ErrNotMember},
		"to a founded node": {func(t *testing.T, v *voter, p *pb.Propose) { v.doc = foundedDocument(t) }, ErrFounding},
		"to one with data":  {func(_ *testing.T, v *voter, _ *pb.Propose) { v.bound = true }, ErrFounding},
		"of another size":   {func(_ *testing.T, v *voter, _ *pb.Propose) { v.expect = 5 }, nil},
		"to a late node":    {func(_ *testing.T, v *voter, _ *pb.Propose) { v.expect = 0 }, nil},
		"changed under its id": {func(t *testing.T, v *voter, p *pb.Propose) {
			v.vote = &pb.Vote{ProposalId: p.GetProposalId(), FounderId: p.GetFounderId(), Document: p.GetDocument()}
			change(t, p, func(d *pb.ClusterDocument) { d.ClusterId[0]++ })
		}, ErrFounding},
		"decided, not voted for": {func(_ *testing.T, _ *voter, p *pb.Propose) { p.Step = pb.Propose_STEP_DECIDE }, ErrFounding},
		"decided, but changed": {func(t *testing.T, v *voter, p *pb.Propose) {
			v.vote = &pb.Vote{ProposalId: p.GetProposalId(), FounderId: p.GetFounderId(), Document: p.GetDocument()}
			p.Step = pb.Propose_STEP_DECIDE
			change(t, p, func(d *pb.ClusterDocument) { d.ClusterId[0]++ })
		}, ErrFounding},
		"decided for another cluster": {func(t *testing.T, v *voter, p *pb.Propose) {
			v.doc, p.Step = foundedDocument(t), pb.Propose_STEP_DECIDE
		}, ErrFounding},
	} {
		v, p := ballotBox(t)
		c.spoil(t, &v, p)
		r, err := v.rule(nodeID(0), p)
		if r.granted || r.adopt != nil || r.vote != v.vote || !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
}

func foundedDocument(t *testing.T) *Document {
	for u := newUniverse(t, 5); ; {
		if d := u.draw(t); d.Founded() {
			return d
		}
	}
}

func TestErrorsSayWhatAndHowMany(t *testing.T) {
	for want, err := range map[string]error{
		"needs 2 of 3 members, 1 are alive; nothing was changed": &MajorityError{Op: opCreate, Bucket: "b", Required: 2, Live: 1, Members: 3, Refused: true},
		"durable on 1 members, needs 2 of 3 (3 alive)":           &MajorityError{Op: opDrop, Bucket: "b", Required: 2, Received: 1, Live: 3, Members: 3, Causes: []Cause{{nodeID(1), errLost}}},
		`bucket "b": unknown bucket`:                             &BucketError{"b", ErrUnknownBucket},
		`bucket "b": n must be`:                                  &InvalidError{"b", "n", "must be 1 to 7"},
		"epoch 4 is x here and y in the other":                   &ConflictError{"epoch 4", "x", "y"},
		"malformed cluster document: torn":                       &DocumentError{What: "torn"},
		"torn: the message was lost":                             &DocumentError{What: "torn", Err: errLost},
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%T says %q, want %q in it", err, err, want)
		}
	}
}
