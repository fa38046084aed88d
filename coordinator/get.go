package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator/quorum"
)

// GetRequest is one read of one item.
type GetRequest struct {
	Item    causal.ItemKey
	N, R    int
	Policy  causal.Policy
	Strict  bool
	Sync    bool // of the states that are written back
	Explain bool
}

// GetResult is what the replicas that count hold together. An item that was never written has no versions.
type GetResult struct {
	State causal.State
	// AsOf is the moment by which to judge what of State has expired. State has that, too.
	AsOf causal.HLC
	quorum.Count
	Trace *Trace
}

// Get reads an item from R replicas, while its partition moves from R of each of the two layouts: the
// state from one, digests from the others. When they agree
// it returns at once. When they differ it fetches the states, joins them, and sends the join to
// those behind; it returns once N-R+1 owners hold it, so that no later read of a quorum goes back in time
// (with R=1 it does not wait). Answers that come after the reply are compared too, and mended. A read that its replicas refuse
// because the owners have changed since it was planned is planned again.
//
// Errors are *QuorumError: ErrRefused, ErrTooFew, ErrNoOwner or ErrUnstable.
func (c *Coordinator) Get(ctx context.Context, req GetRequest) (GetResult, error) {
	if err := c.enter(); err != nil {
		return GetResult{}, err
	}
	defer c.running.Done()
	for {
		planned := c.Cluster.Epoch().Number
		result, err := c.get(ctx, req)
		if err == nil || !c.again(ctx, planned, err) {
			return result, err
		}
	}
}

// get is one try, planned at one epoch.
func (c *Coordinator) get(ctx context.Context, req GetRequest) (GetResult, error) {
	pl := c.place(req.Item, req.N, nil)
	list, owners := c.readers(pl, req.Strict)
	plan := pl.getPlan(list, owners, req.R)
	if count, refused := plan.Refusal(); refused {
		return GetResult{}, &QuorumError{Op: "get", Kind: ErrRefused, Count: count}
	}
	run := newGetRun(c, req, pl, list, plan)
	run.msgs = c.messageContext(ctx)
	run.until, _ = run.msgs.Deadline()
	run.do(run.tally.Start())
	err := run.await(ctx)
	count := run.tally.Count()
	run.explainDigests()
	result := GetResult{State: run.join, AsOf: c.Clock(), Count: count, Trace: run.trace.done(count.Required, count.Received)}
	run.trace = nil
	if run.inFlight == 0 {
		run.finish()
	} else {
		run.leave()
	}
	return result, err
}

// getRun is one read on its way, used by one goroutine at a time, as putRun is.
type getRun struct {
	mailbox
	req    GetRequest
	pl     *placement
	list   []candidate
	tally  *quorum.Get
	trace  *tracer
	join   causal.State
	states []causal.State // by place, where full[place]
	full   []bool
	causes []Cause

	msgs     context.Context
	inFlight int
	budgets  []getBudget
	waiting  []bool // by place: a read is unanswered
	writing  []bool // by place: a write-back is unanswered
	digests  []digestAnswer
}

// digestAnswer is an answer that a trace has yet to put versions to.
type digestAnswer struct {
	handle int
	digest causal.Digest
}

type getBudget struct {
	place int
	at    time.Time
}

func newGetRun(c *Coordinator, req GetRequest, pl *placement, list []candidate, plan quorum.GetPlan) *getRun {
	flags := make([]bool, 3*len(list))
	r := &getRun{
		mailbox: newMailbox(c), req: req, pl: pl, list: list, tally: quorum.NewGet(plan),
		trace: c.newTracer(req.Explain, pl, req.Strict), states: make([]causal.State, len(list)),
		full: flags[:len(list)], waiting: flags[len(list) : 2*len(list)], writing: flags[2*len(list):],
	}
	r.mailbox.take, r.mailbox.end, r.mailbox.lost = r.takeLate, r.finish, r.unanswered
	return r
}

// do asks others first: the own node answers at once, and keeps them waiting meanwhile.
func (r *getRun) do(actions []quorum.Action) {
	if len(actions) == 0 || r.msgs.Err() != nil { // closing
		return
	}
	asked := make([]event, len(actions))
	for i, a := range actions {
		asked[i] = r.note(a, false)
	}
	for _, own := range []bool{false, true} {
		for _, ev := range asked {
			if (r.list[ev.place].node == r.c.Cluster.Self) == own {
				r.send(ev)
			}
		}
	}
}

// note makes the event that an answer fills in.
func (r *getRun) note(a quorum.Action, hedged bool) event {
	to := r.list[a.Place]
	m := Message{Node: to.node, Fallback: to.fallback(), HintFor: to.hintFor, Hedged: hedged}
	switch a.Kind {
	case quorum.WriteBack:
		m.Action, m.Versions = "write-back", dots(r.join)
		r.trace.repaired(to.node)
		r.c.Events.WriteBack()
		r.writing[a.Place] = true
	case quorum.ReadDigest:
		m.Action = "digest"
	default:
		m.Action = "read"
	}
	if a.Kind != quorum.WriteBack {
		r.waiting[a.Place] = true
		r.budgets = append(r.budgets, getBudget{a.Place, r.c.Now().Add(r.c.Hedge(to.node))})
	}
	r.inFlight++
	return event{place: a.Place, kind: a.Kind, handle: r.trace.asked(m)}
}

func (r *getRun) send(ev event) {
	to := r.list[ev.place]
	if ev.kind == quorum.WriteBack {
		r.c.Replicas.Write(r.msgs, to.node, r.writeBack(to, r.join), func(err error) {
			ev.err = err
			r.put(ev)
		})
		return
	}
	r.c.Replicas.Read(r.msgs, to.node, ReadRequest{
		Item: r.req.Item, N: r.req.N, Digest: ev.kind == quorum.ReadDigest, Epoch: r.pl.epoch.Number,
	}, func(reply ReadReply, err error) {
		ev.reply, ev.err = reply, err
		r.put(ev)
	})
}

// takeLate asks for nothing more but that the result be stored: there is nobody left to tell.
func (r *getRun) takeLate(ev event) bool {
	r.do(slices.DeleteFunc(r.take(ev), func(a quorum.Action) bool { return a.Kind != quorum.WriteBack }))
	return r.inFlight == 0
}

// unanswered are the failures of all that are still waited for.
func (r *getRun) unanswered() []event {
	var lost []event
	for place := range r.list {
		if r.waiting[place] {
			lost = append(lost, event{place: place, kind: quorum.ReadFull, handle: -1, err: ErrClosed})
		}
		if r.writing[place] {
			lost = append(lost, event{place: place, kind: quorum.WriteBack, handle: -1, err: ErrClosed})
		}
	}
	return lost
}

func (r *getRun) writeBack(to candidate, join causal.State) WriteRequest {
	return WriteRequest{
		Item: r.req.Item, N: r.req.N, Policy: r.req.Policy, State: join, Sync: r.req.Sync,
		HintFor: to.hintFor, Epoch: r.pl.epoch.Number,
	}
}

// await drives the tally until the result is there and stable, or the request's time is up.
func (r *getRun) await(ctx context.Context) error {
	timer := time.NewTimer(r.nextBudget())
	defer timer.Stop()
	for {
		switch r.tally.Verdict() {
		case quorum.Agreed:
			r.join = r.joined()
			return nil
		case quorum.Conflict:
			if !r.tally.Joined() {
				r.join = r.joined()
				r.do(r.tally.Join(r.join.Digest()))
				continue
			}
		case quorum.Stable:
			return nil
		case quorum.ReadLost:
			return r.failed(nil)
		}
		if ev, ok := r.next(); ok {
			r.do(r.take(ev))
			continue
		}
		select {
		case <-r.ready:
		case <-timer.C:
			r.expire(timer)
		case <-ctx.Done():
			return r.failed(ctx.Err())
		case <-r.c.closing.Done():
			return r.failed(ErrClosed)
		}
	}
}

func (r *getRun) take(ev event) []quorum.Action {
	r.inFlight--
	if ev.err != nil {
		r.trace.answered(ev.handle, ev.err, nil)
		r.causes = append(r.causes, Cause{r.list[ev.place].node.String(), ev.err})
	}
	if ev.kind == quorum.WriteBack {
		r.writing[ev.place] = false
		if ev.err != nil {
			return r.tally.WriteFailed(ev.place)
		}
		r.trace.answered(ev.handle, nil, nil)
		return r.tally.Wrote(ev.place)
	}
	r.waiting[ev.place] = false
	if ev.err != nil {
		return r.tally.Fail(ev.place)
	}
	full := ev.kind == quorum.ReadFull
	if full {
		r.states[ev.place], r.full[ev.place] = ev.reply.State, true
		r.trace.answered(ev.handle, nil, dots(ev.reply.State))
	} else {
		r.trace.answered(ev.handle, nil, nil)
		r.digests = append(r.digests, digestAnswer{ev.handle, ev.reply.Digest})
	}
	return r.tally.Replied(ev.place, full, ev.reply.Digest)
}

// explainDigests puts to each digest in the trace the versions of the state that has it.
func (r *getRun) explainDigests() {
	if r.trace == nil {
		return
	}
	for _, d := range r.digests {
		for place, full := range r.full {
			if full && r.states[place].Digest() == d.digest {
				r.trace.Messages[d.handle].Versions = dots(r.states[place])
			}
		}
	}
}

// joined is the join of the states that answered in full.
func (r *getRun) joined() causal.State {
	var out causal.State
	for place, ok := range r.full {
		if ok && r.tally.Counts(place) {
			out = causal.Merge(r.req.Policy, out, r.states[place])
		}
	}
	return out
}

func (r *getRun) nextBudget() time.Duration {
	if len(r.budgets) == 0 {
		return time.Hour // nothing is waited for but the events
	}
	next := r.budgets[0].at
	for _, b := range r.budgets[1:] {
		if b.at.Before(next) {
			next = b.at
		}
	}
	return max(next.Sub(r.c.Now()), time.Millisecond)
}

// expire asks somebody else where an answer is late.
func (r *getRun) expire(timer *time.Timer) {
	now := r.c.Now()
	var late []int
	rest := r.budgets[:0]
	for _, b := range r.budgets {
		if b.at.After(now) {
			rest = append(rest, b)
		} else if r.waiting[b.place] {
			late = append(late, b.place)
		}
	}
	r.budgets = rest
	for _, place := range late {
		for _, a := range r.tally.Slow(place) {
			r.c.Events.Hedge()
			r.send(r.note(a, true))
		}
	}
	timer.Reset(r.nextBudget())
}

func (r *getRun) failed(cause error) error {
	kind, count := ErrTooFew, r.tally.Count()
	switch {
	case r.tally.Joined():
		kind = ErrUnstable
	case r.tally.Unattested():
		kind = ErrNoOwner
	}
	return &QuorumError{Op: "get", Kind: kind, Count: count, Causes: r.causes, Err: cause}
}

// finish, once all answers are there, repairs whoever was behind, unless too much is being
// repaired already: then the next read of the item sees to it.
func (r *getRun) finish() {
	verdict := r.tally.Verdict()
	if verdict != quorum.Agreed && verdict != quorum.Stable {
		r.states = nil
		return
	}
	behind := r.tally.Behind()
	if len(behind) == 0 {
		r.states = nil // an answer that never comes may hold on to the run
		return
	}
	if verdict == quorum.Agreed {
		r.join = r.joined() // it may have come about after the request had failed
	}
	r.c.linger(func() {
		for _, place := range behind {
			select {
			case r.c.repairs <- struct{}{}:
			default:
				r.c.Events.RepairSkipped()
				continue
			}
			r.repair(place)
			<-r.c.repairs
		}
	})
}

// repair sends the result to a place that answered late with something else. What it holds that
// the result lacks is not lost: replicas merge.
func (r *getRun) repair(place int) {
	ctx, cancel := context.WithTimeout(context.Background(), r.c.Linger)
	defer cancel()
	r.c.Events.Repair()
	if r.c.write(ctx, r.list[place].node, r.writeBack(r.list[place], r.join)) != nil {
		r.c.Events.RepairSkipped()
	}
}
