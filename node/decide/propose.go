package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/starling-db/starling/internal/paxos"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// Propose has e decided as the epoch of its number, and returns it once it is in this node's document. Proposing what is
// decided already is no error. A node that is no acceptor, or abstains, hands e to one that is.
//
// Errors: *LostError when another epoch has the number; *MajorityError and *ring.SuccessionError, which are refusals; an
// *UnknownError, which wraps ctx's, when time ran out; *paxos.SetupError, ErrStopped and the store's own.
func (d *Decider) Propose(ctx context.Context, e *ring.Epoch) (*ring.Epoch, error) {
	return d.propose(ctx, e, true)
}

func (d *Decider) propose(ctx context.Context, e *ring.Epoch, handOn bool) (*ring.Epoch, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.o.Timeout)
		defer cancel()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.base, func() { cancel(ErrClosed) })()
	release, err := take(ctx, d.proposing)
	if err != nil {
		return nil, fmt.Errorf("epoch %d: not proposed, another proposal is under way at this node: %w", e.Number, context.Cause(ctx))
	}
	defer release()
	now := d.epoch()
	if now == nil {
		return nil, &ring.SuccessionError{Reason: "this node belongs to no cluster yet"}
	}
	if e.Number > now.Number+1 {
		now = d.learn(ctx, now)
	}
	w := &wish{epoch: e, value: ring.AppendEpoch(nil, e)}
	if done, err := d.outcome(w); done {
		return e, err
	}
	if err := now.Follows(e); err != nil {
		return nil, err
	}
	if w.in, err = instanceAfter(now); err != nil {
		return nil, err
	}
	for _, m := range e.Base.Members() {
		w.members = w.members || !w.in.Has(m.ID)
	}
	w.members = w.members || len(e.Base.Members()) != len(w.in.Acceptors())
	switch {
	case w.in.Has(d.o.ID) && !d.o.Abstain():
		err = d.run(ctx, w)
	case handOn:
		err = d.handOver(ctx, w)
	default:
		err = errElsewhere
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// learn asks the acceptors that are alive, one after the other, for an epoch later than now, and returns the newest.
func (d *Decider) learn(ctx context.Context, now *ring.Epoch) *ring.Epoch {
	for _, m := range now.Base.Members() {
		if m.ID == d.o.ID || !d.o.Live(m.ID) {
			continue
		}
		if _, err := d.o.State.Exchange(ctx, m.ID); err == nil && d.epoch().Number > now.Number {
			break
		}
	}
	return d.epoch()
}

// wish is what one proposal wants.
type wish struct {
	epoch *ring.Epoch
	value []byte // its encoding
	in    paxos.Instance
	// members: it changes them.
	members bool
}

// outcome says how the number was decided, once the document knows that.
func (d *Decider) outcome(w *wish) (done bool, err error) {
	now := d.epoch()
	switch {
	case now.Number < w.epoch.Number:
		return false, nil
	case now.Number > w.epoch.Number:
		return true, &UnknownError{Number: w.epoch.Number, Err: fmt.Errorf("%w, at epoch %d", errOvertaken, now.Number)}
	case string(ring.AppendEpoch(nil, now)) == string(w.value):
		return true, nil
	}
	return true, &LostError{Number: w.epoch.Number, Won: now}
}

// lacksMajority is a *MajorityError unless enough acceptors are alive.
func (d *Decider) lacksMajority(in paxos.Instance) error {
	e := &MajorityError{Number: in.Number(), Required: in.Majority(), Members: len(in.Acceptors())}
	for _, id := range in.Acceptors() {
		if id == d.o.ID || d.o.Live(id) {
			e.Live++
		}
	}
	if e.Live < e.Required {
		return e
	}
	return nil
}

// run attempts until the number is decided.
func (d *Decider) run(ctx context.Context, w *wish) error {
	if err := d.lacksMajority(w.in); err != nil {
		return err
	}
	p, err := paxos.NewProposer(d.o.ID, w.in, w.value)
	if err != nil {
		return err
	}
	for pause := d.o.MinPause; ; pause = min(2*pause, d.o.MaxPause) {
		step, err := d.attempt(ctx, w, p)
		if err == nil && step.Do == paxos.Chosen {
			return d.install(ctx, w, step)
		}
		if done, err := d.outcome(w); done {
			return err
		}
		if errors.Is(err, ErrStopped) || errors.Is(err, paxos.ErrSetup) {
			return err
		}
		if err != nil {
			d.o.Logger.Info("the next epoch is not decided yet", "epoch", w.epoch.Number, "error", err)
		}
		// Drawn from half of it to half more: rivals that preempt each other drift apart.
		timer := time.NewTimer(pause/2 + time.Duration(d.o.Rand.Int64N(int64(pause)+1)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &UnknownError{Number: w.epoch.Number, Err: errors.Join(context.Cause(ctx), err)}
		}
	}
}

// install makes what was chosen this node's epoch and tells the others, who would learn it by gossip too.
func (d *Decider) install(ctx context.Context, w *wish, step paxos.Step) error {
	won := w.epoch
	if !step.Own {
		var err error
		if won, err = ring.DecodeEpoch(step.Value); err != nil {
			return &UnknownError{Number: w.epoch.Number, Err: err}
		}
	}
	// Chosen is chosen: that time is up is no reason to leave it to others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.o.Attempt)
	defer cancel()
	if err := d.o.State.Install(ctx, won); err != nil {
		return &UnknownError{Number: w.epoch.Number, Err: err}
	}
	d.o.Logger.Info("decided", "epoch", won.Number, "joint", won.Joint(), "own", step.Own)
	d.tell(w.in)
	if !step.Own {
		return &LostError{Number: w.epoch.Number, Won: won}
	}
	return nil
}

// tell brings the document to who decided it and to all members of the new epoch, as far as they seem to be there.
func (d *Decider) tell(in paxos.Instance) {
	to := slices.Clone(in.Acceptors())
	for _, m := range d.o.State.Snapshot().Members() {
		if !in.Has(m.ID) {
			to = append(to, m.ID)
		}
	}
	for _, id := range to {
		if id != d.o.ID && d.o.Live(id) && d.base.Err() == nil {
			d.tells.Go(func() {
				if _, err := d.o.State.Exchange(d.base, id); err != nil {
					d.o.Logger.Debug("a node was not told of the new epoch", "node", id, "error", err)
				}
			})
		}
	}
}

// answer is one acceptor's.
type answer struct {
	from  ring.NodeID
	reply paxos.Reply
	err   error
}

// attempt runs one ballot. It returns the step that ended it: Chosen, or another one when this attempt came to nothing or
// the document knows more; an error says why some acceptor did not answer. What it sent is over when it returns.
func (d *Decider) attempt(ctx context.Context, w *wish, p *paxos.Proposer) (step paxos.Step, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Attempt+time.Duration(len(w.value)/(4<<20))*time.Second)
	answers := make(chan answer)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	for step = p.Start(); ; {
		switch step.Do {
		case paxos.Chosen:
			return step, nil
		case paxos.BackOff, paxos.Outdated:
			return step, err
		case paxos.Prepare, paxos.Accept:
			ask := step
			for _, to := range step.To {
				calls.Go(func() {
					a := answer{from: to}
					a.reply, a.err = d.ask(ctx, w, to, ask)
					select {
					case answers <- a:
					case <-ctx.Done():
					}
				})
			}
		}
		select {
		case a := <-answers:
			if d.epoch().Number >= w.in.Number() {
				return paxos.Step{}, nil
			}
			if step = (paxos.Step{}); a.err == nil {
				step = p.Handle(a.from, a.reply)
			} else if err = fmt.Errorf("node %s: %w", a.from, a.err); a.from == d.o.ID {
				p.Timeout() // without its own acceptor a proposer can't go on
				return paxos.Step{}, err
			}
		case <-ctx.Done():
			return p.Timeout(), err
		}
	}
}

// maxAsks bounds how often an acceptor is asked again in one attempt, after what kept it from answering was removed.
const maxAsks = 3

// ask sends one step to one acceptor and returns its answer; first it does what the answer demands.
func (d *Decider) ask(ctx context.Context, w *wish, to ring.NodeID, step paxos.Step) (paxos.Reply, error) {
	req := &pb.Decide{Step: pb.Decide_STEP_PREPARE, Instance: w.in.Number(), Counter: step.Ballot.Counter}
	if step.Do == paxos.Accept {
		req.Step, req.Value = pb.Decide_STEP_ACCEPT, step.Value
	}
	for asked := 1; ; asked++ {
		if req.Step == pb.Decide_STEP_ACCEPT {
			req.Document = d.o.State.Fingerprint()
		}
		m, err := d.send(ctx, to, req)
		if err != nil {
			return paxos.Reply{}, err
		}
		again := false
		switch {
		case m.GetKind() == pb.DecideReply_KIND_BEHIND && to != d.o.ID:
			_, err = d.o.State.Exchange(ctx, to)
			again = true
		case m.GetKind() == pb.DecideReply_KIND_UNSETTLED:
			d.settle(ctx, to, m.GetClaims())
			if to != d.o.ID {
				_, err = d.o.State.Exchange(ctx, to)
			}
			again = true
		case m.GetKind() == pb.DecideReply_KIND_PROMISED && w.members && len(m.GetClaims()) > 0:
			d.settle(ctx, to, m.GetClaims()) // while those that grant claims still do
		case len(m.GetDocument()) > 0:
			_, err = d.o.State.Offer(ctx, m.GetDocument())
		}
		switch {
		case err != nil:
			return paxos.Reply{}, err
		case !again:
			return d.replyOf(w, step, m)
		case asked == maxAsks:
			return paxos.Reply{}, fmt.Errorf("answers %v again and again", m.GetKind())
		}
		// A message anew: the one before may still be on its way out.
		req = &pb.Decide{Step: req.Step, Instance: req.Instance, Counter: req.Counter, Value: req.Value, Unsettled: asked+1 == maxAsks}
	}
}

// settle tries to end the creations that an acceptor has open.
func (d *Decider) settle(ctx context.Context, at ring.NodeID, claims []byte) {
	if err := d.o.State.Settle(ctx, claims); err != nil {
		d.o.Logger.Info("creations of buckets could not be settled before the members change", "node", at, "error", err)
	}
}

func (d *Decider) send(ctx context.Context, to ring.NodeID, req *pb.Decide) (*pb.DecideReply, error) {
	if to == d.o.ID {
		return d.Handle(ctx, to, req)
	}
	return d.o.Send(ctx, to, req)
}

// replyOf checks an acceptor's message. A value that can't follow would never be accepted, and so keep this proposer from
// ever getting on.
func (d *Decider) replyOf(w *wish, step paxos.Step, m *pb.DecideReply) (paxos.Reply, error) {
	r := paxos.Reply{Instance: w.in.Number(), Ballot: step.Ballot}
	malformed := func(what string) (paxos.Reply, error) {
		return paxos.Reply{}, &RequestError{"the answer " + m.GetKind().String() + " " + what}
	}
	b, ok := ballotOf(m.GetCounter(), m.GetNodeId())
	if !ok {
		return malformed("names no ballot")
	}
	switch m.GetKind() {
	case pb.DecideReply_KIND_PROMISED:
		r.Kind = paxos.Promised
		if r.Accepted, ok = ballotOf(m.GetAcceptedCounter(), m.GetAcceptedNodeId()); !ok || step.Ballot.Compare(r.Accepted) < 0 {
			return malformed("has an impossible ballot accepted")
		}
		if r.Accepted.IsZero() {
			break
		}
		now := d.epoch()
		if now.Number >= w.in.Number() {
			return paxos.Reply{}, errOvertaken
		}
		var err error
		if _, r.Value, err = value(now, m.GetValue()); err != nil {
			return malformed("comes with what can't have been accepted: " + err.Error())
		}
	case pb.DecideReply_KIND_ACCEPTED:
		r.Kind = paxos.Accepted
	case pb.DecideReply_KIND_REFUSED:
		r.Kind, r.Ballot = paxos.Refused, b
	default: // decided, but the document that came along does not say so
		return malformed("does not say what is known there")
	}
	if m.GetKind() != pb.DecideReply_KIND_REFUSED && b != step.Ballot {
		return malformed("is about another ballot")
	}
	return r, nil
}

// ballotOf reads a ballot; both parts unset are no ballot.
func ballotOf(counter uint64, node []byte) (b paxos.Ballot, ok bool) {
	if counter == 0 && len(node) == 0 {
		return b, true
	}
	if counter == 0 || counter > maxCounter || len(node) != len(b.Node) || ring.NodeID(node).IsZero() {
		return b, false
	}
	return paxos.Ballot{Counter: counter, Node: ring.NodeID(node)}, true
}

// maxCounter is the highest counter that an acceptor takes.
const maxCounter = 1 << 62
