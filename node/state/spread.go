package state

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// tally counts for how many members a change is durable.
type tally struct {
	MajorityError
	self ring.NodeID
	// others are the members to ask: all that live but this node.
	others []ring.NodeID
}

// newTally counts the members of the base layout, the acceptors of every decision.
func (m *Manager) newTally(op, bucket string) *tally {
	return m.tallyOf(op, bucket, m.Snapshot().Epoch.Base)
}

func (m *Manager) tallyOf(op, bucket string, base *ring.Layout) *tally {
	members := base.Members()
	t := &tally{self: m.o.ID, MajorityError: MajorityError{
		Op: op, Bucket: bucket, Members: len(members), Required: len(members)/2 + 1,
	}}
	for _, n := range members {
		switch {
		case n.ID == t.self:
			t.Live++
			t.Received++ // what is asked of others is durable here first
		case m.o.Live(n.ID):
			t.Live++
			t.others = append(t.others, n.ID)
		}
	}
	return t
}

func (t *tally) won() bool { return t.Received >= t.Required }

// majorityLives refuses an act that can't succeed before it changes anything.
func (m *Manager) majorityLives(op, bucket string) error {
	if t := m.newTally(op, bucket); t.Live < t.Required {
		t.Refused = true
		return &t.MajorityError
	}
	return nil
}

type answer struct {
	from  ring.NodeID
	reply *pb.PushStateReply
	err   error
}

// ask sends req to the nodes side by side and hands hear their answers, one at a time, until hear says that it
// has heard enough, all have answered or failed, or ctx is done. Calls that are still under way then go on until
// CallTimeout, so that the slower members get the request too.
func (m *Manager) ask(ctx context.Context, nodes []ring.NodeID, req *pb.PushState, hear func(answer) (enough bool)) error {
	answers := make(chan answer, len(nodes))
	for _, n := range nodes {
		m.calls.Go(func() {
			callCtx, cancel := context.WithTimeout(m.base, m.o.CallTimeout)
			defer cancel()
			reply, err := m.o.Push(callCtx, n, req)
			answers <- answer{n, reply, err}
		})
	}
	for range nodes {
		select {
		case a := <-answers:
			if hear(a) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ballot claims an entry here and at the other members of the base layout. It returns claimWon, claimRival, claimOvertaken or
// claimSplit; while none of these is certain a *MajorityError.
func (m *Manager) ballot(ctx context.Context, asked *pb.BucketEntry, base *ring.Layout) (outcome, *pb.BucketEntry, error) {
	name := asked.GetBucket().GetName()
	t := m.tallyOf(opCreate, name, base)
	p := &poll{asked: asked, members: t.Members, required: t.Required, answers: make(map[ring.NodeID]*pb.BucketEntry)}
	own, err := m.claim(ctx, asked, base.Version())
	if err != nil {
		return claimOpen, nil, err
	}
	doc := m.current.Load().doc
	if isMember(base, t.self) {
		p.answers[t.self] = own
	}
	raw, err := proto.Marshal(claimDocument(doc, asked))
	if err != nil {
		return claimOpen, nil, fmt.Errorf("create bucket %q: encode the claim: %w", name, err)
	}
	err = m.ask(ctx, t.others, &pb.PushState{Document: raw, CreateBucket: name, BaseVersion: base.Version()}, func(a answer) bool {
		if a.err == nil {
			var e *pb.BucketEntry
			if e, _, a.err = claimed(a.reply.GetDocument(), name); a.err == nil {
				p.answers[a.from] = e
			}
		}
		if a.err != nil {
			t.Causes = append(t.Causes, Cause{a.from, a.err})
		}
		o, _ := p.outcome()
		return o != claimOpen
	})
	if o, e := p.outcome(); o != claimOpen {
		return o, e, nil
	}
	t.Received, t.answered = 0, len(p.answers)
	for _, e := range p.answers {
		if !isClaim(e) && e.GetGeneration() >= asked.GetGeneration() {
			return claimOvertaken, e, nil // it has won already
		}
		if agrees(e, asked) {
			t.Received++
		}
	}
	return claimOpen, nil, errors.Join(&t.MajorityError, err)
}

// commit makes an entry part of the document here and on a majority of the members of the layout that is in force when it
// begins. Who may have accepted an epoch with other members before it heard of the entry does not count: see fence.go.
func (m *Manager) commit(ctx context.Context, op string, e *pb.BucketEntry) (*Bucket, error) {
	return m.commitUnder(ctx, op, e, m.Snapshot().Epoch.Base)
}

// commitUnder is commit for an entry that a majority of this layout's members granted.
func (m *Manager) commitUnder(ctx context.Context, op string, e *pb.BucketEntry, base *ring.Layout) (*Bucket, error) {
	if err := m.learn(ctx, e); err != nil {
		return nil, err
	}
	t := m.tallyOf(op, e.GetBucket().GetName(), base)
	if now, changing := m.standing(); changing || now != base.Version() {
		return nil, fmt.Errorf("%s %q: its outcome is unknown: %w", op, e.GetBucket().GetName(), ErrMembersChange)
	}
	req := &pb.PushState{Document: m.Document()}
	err := m.ask(ctx, t.others, req, func(a answer) bool {
		if a.err == nil && (a.reply.GetMembersChange() || a.reply.GetBaseVersion() != base.Version()) {
			a.err = ErrMembersChange
		}
		if a.err != nil {
			t.Causes = append(t.Causes, Cause{a.from, a.err})
			return false
		}
		t.Received++
		return t.won()
	})
	if !t.won() {
		return nil, errors.Join(&t.MajorityError, err)
	}
	return newBucket(e), nil
}

// learn makes an entry part of this node's document.
func (m *Manager) learn(ctx context.Context, e *pb.BucketEntry) error {
	_, err := m.update(ctx, func(own *Document) (*Document, error) {
		next, err := own.withEntry(e)
		if err == nil && next.print == own.print {
			next = own
		}
		return next, err
	})
	return err
}

// Exchange gives the node this one's document and merges what it returns. A node whose fingerprint differs wants
// one; changed says whether it taught this node anything.
func (m *Manager) Exchange(ctx context.Context, with ring.NodeID) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.CallTimeout)
	defer cancel()
	reply, err := m.o.Push(ctx, with, &pb.PushState{Document: m.Document()})
	if err != nil {
		return false, fmt.Errorf("exchange the cluster's state with %s: %w", with, err)
	}
	return m.Offer(ctx, reply.GetDocument())
}

// PushState answers a peer that offers its document, or claims a bucket's settings.
func (m *Manager) PushState(ctx context.Context, _ ring.NodeID, req *pb.PushState) (*pb.PushStateReply, error) {
	if req.GetCreateBucket() != "" {
		return m.hearClaim(ctx, req)
	}
	if _, err := m.Offer(ctx, req.GetDocument()); err != nil {
		return nil, err
	}
	reply := &pb.PushStateReply{}
	reply.BaseVersion, reply.MembersChange = m.standing() // after the merge: see fence.go
	reply.Document = m.Document()
	return reply, nil
}

// PullState answers a peer that asks for the document.
func (m *Manager) PullState(context.Context, ring.NodeID, *pb.PullState) (*pb.PullStateReply, error) {
	return &pb.PullStateReply{Document: m.Document()}, nil
}
