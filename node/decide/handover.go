package decide

import (
	"context"
	"errors"
	"fmt"

	"github.com/starling-db/starling/internal/paxos"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// handOver has one of the acceptors that are alive propose. To ask a second one after the first has not answered is safe:
// both propose the same.
func (d *Decider) handOver(ctx context.Context, w *wish) error {
	if err := d.lacksMajority(w.in); err != nil {
		return err
	}
	acceptors := w.in.Acceptors()
	last := errElsewhere
	unknown := false
	for _, i := range d.o.Rand.Perm(len(acceptors)) {
		to := acceptors[i]
		if to == d.o.ID || !d.o.Live(to) || ctx.Err() != nil {
			continue
		}
		// It may lack the epoch that this one was planned on.
		_, err := d.o.State.Exchange(ctx, to)
		if err == nil {
			var reply *pb.ProposeEpochReply
			reply, err = d.o.Forward(ctx, to, &pb.ProposeEpoch{Value: w.value})
			// A call that failed may have been heard.
			unknown = unknown || err != nil || reply.GetOutcome() == pb.ProposeEpochReply_OUTCOME_UNKNOWN
			if err == nil {
				err = d.hear(ctx, w, reply)
			}
		}
		if done, err := d.outcome(w); done {
			return err
		}
		if errors.Is(err, ring.ErrSuccession) {
			return err
		}
		if err != nil && !errors.Is(err, errElsewhere) {
			last = fmt.Errorf("node %s: %w", to, err)
		}
	}
	switch majority, refused := errors.AsType[*MajorityError](last); {
	case ctx.Err() != nil:
		return &UnknownError{Number: w.epoch.Number, Err: errors.Join(context.Cause(ctx), last)}
	case refused && !unknown:
		return majority
	default:
		return &UnknownError{Number: w.epoch.Number, Err: last}
	}
}

// hear takes in what became of a wish that another node proposed. What was decided is in its document.
func (d *Decider) hear(ctx context.Context, w *wish, m *pb.ProposeEpochReply) error {
	switch m.GetOutcome() {
	case pb.ProposeEpochReply_OUTCOME_DECIDED, pb.ProposeEpochReply_OUTCOME_LOST:
		_, err := d.o.State.Offer(ctx, m.GetDocument())
		return err
	case pb.ProposeEpochReply_OUTCOME_REFUSED:
		return &MajorityError{
			Number: w.epoch.Number, Required: int(m.GetRequired()), Live: int(m.GetLive()), Members: int(m.GetMembers()),
		}
	case pb.ProposeEpochReply_OUTCOME_INVALID:
		return &ring.SuccessionError{After: w.epoch.Number - 1, Reason: m.GetMessage()}
	case pb.ProposeEpochReply_OUTCOME_ELSEWHERE:
		return errElsewhere
	}
	return errors.New(m.GetMessage())
}

// HandlePropose proposes what another node wishes, which is no acceptor itself. It hands it to nobody else.
func (d *Decider) HandlePropose(ctx context.Context, req *pb.ProposeEpoch) (*pb.ProposeEpochReply, error) {
	if n := len(req.GetValue()); n > paxos.MaxValueBytes {
		return nil, &RequestError{fmt.Sprintf("an epoch of %d bytes, at most %d are allowed", n, paxos.MaxValueBytes)}
	}
	e, err := ring.DecodeEpoch(req.GetValue())
	if err != nil {
		return nil, &RequestError{err.Error()}
	}
	_, err = d.propose(ctx, e, false)
	reply := &pb.ProposeEpochReply{}
	majority, refused := errors.AsType[*MajorityError](err)
	switch {
	case err == nil:
		reply.Outcome, reply.Document = pb.ProposeEpochReply_OUTCOME_DECIDED, d.o.State.Document()
		return reply, nil
	case errors.Is(err, ErrLost):
		reply.Outcome, reply.Document = pb.ProposeEpochReply_OUTCOME_LOST, d.o.State.Document()
	case refused:
		reply.Outcome = pb.ProposeEpochReply_OUTCOME_REFUSED
		reply.Required, reply.Live, reply.Members = uint32(majority.Required), uint32(majority.Live), uint32(majority.Members)
	case errors.Is(err, errElsewhere), errors.Is(err, ErrAbstains), errors.Is(err, ErrStopped):
		reply.Outcome = pb.ProposeEpochReply_OUTCOME_ELSEWHERE
	case errors.Is(err, ring.ErrSuccession):
		reply.Outcome = pb.ProposeEpochReply_OUTCOME_INVALID
	default:
		reply.Outcome = pb.ProposeEpochReply_OUTCOME_UNKNOWN
	}
	reply.Message = err.Error()
	return reply, nil
}
