package coordinator

import (
	"context"
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
	quorum.Count
	Trace *Trace
}

// Get reads an item from R replicas: the state from one, digests from the others. When they agree
// it returns at once. When they differ it fetches the states, joins them, and sends the join to
// those behind; it returns once N-R+1 owners hold it, so that no later read of a quorum goes back in time
// (with R=1 it does not wait). Answers that come after the reply are compared too, and mended.
//
// Errors are *QuorumError: ErrRefused, ErrTooFew or ErrUnstable.
func (c *Coordinator) Get(ctx context.Context, req GetRequest) (GetResult, error) {
	if err := c.enter(); err != nil {
		return GetResult{}, err
	}
	defer c.running.Done()
	pl := c.place(req.Item, req.N, nil)
	list, owners := c.readers(pl, req.Strict)
	plan := quorum.GetPlan{N: pl.n, R: req.R, Candidates: len(list), Owners: owners}
	if count, refused := plan.Refusal(); refused {
		return GetResult{}, &QuorumError{Op: "get", Kind: ErrRefused, Count: count}
	}
	run := newGetRun(c, req, pl, list, plan)
	run.msgs, run.cancel = c.messageContext(ctx)
	run.do(run.tally.Start())
	err := run.await(ctx)
	count := run.tally.Count()
	run.explainDigests()
	result := GetResult{State: run.join, Count: count, Trace: run.trace.done(count.Required, count.Received)}
	run.trace = nil
	if run.inFlight == 0 && len(run.tally.Behind()) == 0 {
		run.cancel()
		return result, err
	}
	c.linger(run.finish)
	return result, err
}

// getRun is one read on its way, used by one goroutine at a time, as putRun is.
type getRun struct {
	c      *Coordinator
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
	cancel   context.CancelFunc
	events   chan getEvent
	inFlight int
	budgets  []getBudget
	waiting  []bool // by place: a read is unanswered
	digests  []digestAnswer
}

// digestAnswer is an answer that a trace has yet to put versions to.
type digestAnswer struct {
	handle int
	digest causal.Digest
}

type getEvent struct {
	quorum.Action
	handle int
	reply  ReadReply
	err    error
}

type getBudget struct {
	place int
	at    time.Time
}

func newGetRun(c *Coordinator, req GetRequest, pl *placement, list []candidate, plan quorum.GetPlan) *getRun {
	return &getRun{
		c: c, req: req, pl: pl, list: list, tally: quorum.NewGet(plan), trace: c.newTracer(req.Explain, pl, req.Strict),
		states: make([]causal.State, len(list)), full: make([]bool, len(list)), waiting: make([]bool, len(list)),
		// A place is asked for a digest, for the state and to take the join, and repaired: four at most.
		events: make(chan getEvent, 4*len(list)),
	}
}

func (r *getRun) do(actions []quorum.Action) {
	for _, a := range actions {
		r.ask(a, false)
	}
}

func (r *getRun) ask(a quorum.Action, hedged bool) {
	to := r.list[a.Place]
	m := Message{Node: to.node, Fallback: to.fallback(), HintFor: to.hintFor, Hedged: hedged}
	switch a.Kind {
	case quorum.WriteBack:
		m.Action, m.Versions = "write-back", dots(r.join)
		r.trace.repaired(to.node)
		r.c.Events.WriteBack()
	case quorum.ReadDigest:
		m.Action = "digest"
	default:
		m.Action = "read"
	}
	if a.Kind != quorum.WriteBack {
		r.waiting[a.Place] = true
		r.budgets = append(r.budgets, getBudget{a.Place, r.c.Now().Add(r.c.Hedge(to.node))})
	}
	handle, join := r.trace.asked(m), r.join
	r.inFlight++
	go func() { // ends by r.msgs; finish waits for its event
		ev := getEvent{Action: a, handle: handle}
		if a.Kind == quorum.WriteBack {
			ev.err = r.c.Replicas.Write(r.msgs, to.node, r.writeBack(to, join))
		} else {
			ev.reply, ev.err = r.c.Replicas.Read(r.msgs, to.node, ReadRequest{
				Item: r.req.Item, N: r.req.N, Digest: a.Kind == quorum.ReadDigest, Epoch: r.pl.epoch.Number,
			})
		}
		r.events <- ev
	}()
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
		select {
		case ev := <-r.events:
			r.do(r.take(ev))
		case <-timer.C:
			r.expire(timer)
		case <-ctx.Done():
			return r.failed(ctx.Err())
		case <-r.msgs.Done(): // only a coordinator that is closing ends them before the request
			return r.failed(ErrClosed)
		}
	}
}

func (r *getRun) take(ev getEvent) []quorum.Action {
	r.inFlight--
	if ev.err != nil {
		r.trace.answered(ev.handle, ev.err, nil)
		r.causes = append(r.causes, Cause{r.list[ev.Place].node.String(), ev.err})
	}
	if ev.Kind == quorum.WriteBack {
		if ev.err != nil {
			return r.tally.WriteFailed(ev.Place)
		}
		r.trace.answered(ev.handle, nil, nil)
		return r.tally.Wrote(ev.Place)
	}
	r.waiting[ev.Place] = false
	if ev.err != nil {
		return r.tally.Fail(ev.Place)
	}
	full := ev.Kind == quorum.ReadFull
	if full {
		r.states[ev.Place], r.full[ev.Place] = ev.reply.State, true
		r.trace.answered(ev.handle, nil, dots(ev.reply.State))
	} else {
		r.trace.answered(ev.handle, nil, nil)
		r.digests = append(r.digests, digestAnswer{ev.handle, ev.reply.Digest})
	}
	return r.tally.Replied(ev.Place, full, ev.reply.Digest)
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
			r.ask(a, true)
		}
	}
	timer.Reset(r.nextBudget())
}

func (r *getRun) failed(cause error) error {
	kind := ErrTooFew
	if r.tally.Joined() {
		kind = ErrUnstable
	}
	return &QuorumError{Op: "get", Kind: kind, Count: r.tally.Count(), Causes: r.causes, Err: cause}
}

// finish collects the late answers and repairs whoever was behind, unless too much is being
// repaired already: then the next read of the item sees to it.
func (r *getRun) finish() {
	defer r.cancel()
	for r.inFlight > 0 {
		r.do(r.take(<-r.events))
	}
	verdict := r.tally.Verdict()
	if verdict != quorum.Agreed && verdict != quorum.Stable {
		return
	}
	for _, place := range r.tally.Behind() {
		select {
		case r.c.repairs <- struct{}{}:
		default:
			r.c.Events.RepairSkipped()
			continue
		}
		r.repair(place)
		<-r.c.repairs
	}
}

// repair sends the result to a place that answered late with something else. What it holds that
// the result lacks is not lost: replicas merge.
func (r *getRun) repair(place int) {
	ctx, cancel := context.WithTimeout(context.Background(), r.c.Linger)
	defer cancel()
	stop := context.AfterFunc(r.c.closing, cancel)
	defer stop()
	r.c.Events.Repair()
	if r.c.Replicas.Write(ctx, r.list[place].node, r.writeBack(r.list[place], r.join)) != nil {
		r.c.Events.RepairSkipped()
	}
}
