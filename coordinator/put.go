package coordinator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/ring"
)

// PutRequest is one write of one item. A delete is a write of a tombstone.
type PutRequest struct {
	Item    causal.ItemKey
	N, W    int
	Policy  causal.Policy
	Strict  bool
	Sync    bool
	Write   causal.Write
	Explain bool
	// Avoid are nodes that this request found unreachable on its way here.
	Avoid []ring.NodeID
}

// PutResult is what a write that reached its quorum left.
type PutResult struct {
	Version causal.Version
	// State is the item on the coordinator, the new version included.
	State    causal.State
	Repeated bool
	quorum.Count
	Trace *Trace
}

// Put mints a version on this node, which must be an owner of the item or, in a sloppy quorum, a
// fallback while an owner is down, and sends the item's whole state to the other owners while the
// own copy syncs. It returns once W owners, or stand-ins for distinct owners, have acknowledged; while
// the partition moves, W of each of the two layouts. A write that was planned at an epoch which is over by the time that it
// reaches its replicas is planned again from nothing: it carries one request id, so what it left counts as the same write.
//
// A *QuorumError of kind ErrRefused means that nothing was written; of kind ErrUnknown, that the
// write may still take effect, and that trying again with the same request id is safe. It is ErrNotCoordinator too when
// this node ceased to be one in the midst of it. Errors of Mint are returned as they are: nothing was written.
func (c *Coordinator) Put(ctx context.Context, req PutRequest) (PutResult, error) {
	if err := c.enter(); err != nil {
		return PutResult{}, err
	}
	defer c.running.Done()
	var above causal.HLC
	var unknown *QuorumError // the first try that left something
	for {
		planned := c.Cluster.Epoch().Number
		result, err := c.put(ctx, req, above)
		if err == nil {
			return result, nil
		}
		if q, ok := errors.AsType[*QuorumError](err); ok && unknown == nil && errors.Is(q, ErrUnknown) {
			unknown = q
		}
		if late := tooLate(err); late != nil && above == 0 && ctx.Err() == nil {
			above = late.Floor
			continue
		}
		if c.again(ctx, planned, err) {
			continue
		}
		if unknown == nil {
			return result, err
		}
		// What fails later may not say more than is known: the first version is there.
		if errors.Is(err, ErrNotCoordinator) {
			unknown.Err = err
		}
		return result, unknown
	}
}

// tooLate is the highest floor that kept replicas from taking the write, nil if none did.
func tooLate(err error) (highest *TooLateError) {
	q, ok := errors.AsType[*QuorumError](err)
	if !ok {
		return nil
	}
	for _, c := range q.Causes {
		if late, ok := errors.AsType[*TooLateError](c.Err); ok && (highest == nil || late.Floor > highest.Floor) {
			highest = late
		}
	}
	return highest
}

// put is one attempt. A write that was minted before is minted again unless its version is above that HLC.
func (c *Coordinator) put(ctx context.Context, req PutRequest, above causal.HLC) (PutResult, error) {
	pl := c.place(req.Item, req.N, req.Avoid)
	if pl.self < 0 || req.Strict && pl.self >= pl.owners {
		return PutResult{}, ErrNotCoordinator
	}
	plan := pl.putPlan(req.W, req.Strict)
	if count, refused := plan.Refusal(); refused {
		return PutResult{}, &QuorumError{Op: "put", Kind: ErrRefused, Count: count}
	}
	run := newPutRun(c, req, pl, plan)
	if err := run.start(ctx, above); err != nil {
		return PutResult{}, err
	}
	err := run.await(ctx)
	count := run.tally.Count()
	result := PutResult{
		Version: run.minted.Version, State: run.minted.State, Repeated: run.minted.Repeated,
		Count: count, Trace: run.trace.done(count.Required, count.Received),
	}
	run.trace = nil // what comes later is not in it
	if run.inFlight == 0 {
		run.finish()
	} else {
		run.leave()
	}
	return result, err
}

// putRun is one write on its way. It is used by one goroutine at a time: the owner of its mailbox.
type putRun struct {
	mailbox
	req    PutRequest
	pl     *placement
	tally  *quorum.Put
	trace  *tracer
	minted Minted
	causes []Cause

	msgs     context.Context // of the messages: outlives the request
	inFlight int
	sent     []sentState
	budgets  []budget // of unanswered sends, oldest first
}

type sentState struct {
	asked    bool
	answered bool
	handle   int
}

// budget is when a place becomes slow.
type budget struct {
	place int
	at    time.Time
}

func newPutRun(c *Coordinator, req PutRequest, pl *placement, plan quorum.PutPlan) *putRun {
	r := &putRun{
		mailbox: newMailbox(c), req: req, pl: pl, tally: quorum.NewPut(plan),
		trace: c.newTracer(req.Explain, pl, req.Strict), sent: make([]sentState, len(pl.places)),
	}
	r.mailbox.take, r.mailbox.end, r.mailbox.lost = r.takeLate, r.finish, r.unanswered
	return r
}

// start mints and sends. After an error nothing was written and nothing is on its way.
func (r *putRun) start(ctx context.Context, above causal.HLC) error {
	sends := r.tally.Start()
	standIn, owes := r.ownHints(sends)
	minted, err := r.c.Replicas.Mint(ctx, MintRequest{
		Item: r.req.Item, Policy: r.req.Policy, Write: r.req.Write, Sync: r.req.Sync,
		HintFor: standIn, Owes: owes, N: r.req.N, Above: above, Epoch: r.pl.epoch.Number,
	})
	if err != nil {
		return err
	}
	r.minted = minted
	r.msgs = r.c.messageContext(ctx)
	r.until, _ = r.msgs.Deadline()
	r.send(sends)
	return nil
}

// ownHints are the owners for which the own copy is kept as a hint from the first: the one that this node stands in
// for, if it is a fallback, and those that are down with nobody to stand in for them. They go into the mint's own
// batch, so that a crash right after it forgets none.
func (r *putRun) ownHints(sends []quorum.Send) (standIn ring.NodeID, owes []ring.NodeID) {
	served := make([]bool, r.pl.owners)
	for _, s := range sends {
		if s.Place == r.pl.self && s.For != s.Place {
			standIn = r.pl.places[s.For]
		}
		served[s.For] = true
	}
	for owner, ok := range served {
		if !ok {
			owes = append(owes, r.pl.places[owner])
		}
	}
	return standIn, owes
}

// send does what the tally asks for. Once the messages' time is over it does nothing: whoever is left out is owed.
func (r *putRun) send(sends []quorum.Send) {
	if r.msgs.Err() != nil {
		return
	}
	for _, s := range sends {
		m := Message{Node: r.pl.places[s.Place], Fallback: s.Place >= r.pl.owners, Action: "write", Versions: dots(r.minted.State)}
		write := WriteRequest{
			Item: r.req.Item, N: r.req.N, Policy: r.req.Policy, State: r.minted.State, Sync: r.req.Sync, Epoch: r.pl.epoch.Number,
			Fresh: r.minted.Version.Dot.HLC,
		}
		if s.For != s.Place {
			write.HintFor = r.pl.places[s.For]
			m.HintFor = write.HintFor
			r.c.Events.StandIn()
		}
		r.sent[s.Place] = sentState{asked: true, handle: r.trace.asked(m)}
		r.budgets = append(r.budgets, budget{s.Place, r.c.Now().Add(r.c.SlowWrite)})
		r.inFlight++
		done := func(err error) { r.put(event{place: s.Place, err: err}) }
		if s.Place == r.pl.self {
			r.minted.Durable(r.msgs, done)
			continue
		}
		r.c.Replicas.Write(r.msgs, r.pl.places[s.Place], write, done)
	}
}

// await drives the tally until it is decided or the request's time is up.
func (r *putRun) await(ctx context.Context) error {
	timer := time.NewTimer(r.c.SlowWrite)
	defer timer.Stop()
	for r.tally.Verdict() == quorum.Pending {
		if ev, ok := r.next(); ok {
			r.take(ev)
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
	if r.tally.Verdict() == quorum.Lost {
		return r.failed(nil)
	}
	return nil
}

func (r *putRun) takeLate(ev event) bool {
	r.take(ev)
	return r.inFlight == 0
}

// unanswered are the failures of all that are still waited for.
func (r *putRun) unanswered() []event {
	var lost []event
	for place, s := range r.sent {
		if s.asked && !s.answered {
			lost = append(lost, event{place: place, err: ErrClosed})
		}
	}
	return lost
}

func (r *putRun) take(ev event) {
	r.inFlight--
	r.sent[ev.place].answered = true
	r.trace.answered(r.sent[ev.place].handle, ev.err, nil)
	if ev.err == nil {
		r.send(r.tally.Ack(ev.place))
		return
	}
	r.causes = append(r.causes, Cause{r.pl.places[ev.place].String(), ev.err})
	r.send(r.tally.Fail(ev.place))
}

// expire tells the tally of the places whose budget has passed.
func (r *putRun) expire(timer *time.Timer) {
	now := r.c.Now()
	for len(r.budgets) > 0 && !r.budgets[0].at.After(now) {
		place := r.budgets[0].place
		r.budgets = r.budgets[1:]
		if !r.sent[place].answered {
			if place != r.pl.self {
				r.c.Cluster.Late(r.pl.places[place])
			}
			r.send(r.tally.Slow(place))
		}
	}
	if len(r.budgets) > 0 {
		timer.Reset(max(r.budgets[0].at.Sub(now), time.Millisecond))
	}
}

func (r *putRun) failed(cause error) error {
	return &QuorumError{Op: "put", Kind: ErrUnknown, Count: r.tally.Count(), Causes: r.causes, Err: cause}
}

// finish, once nothing more is waited for, sees to it that every owner that has neither
// acknowledged nor got a stand-in is reminded by this node, so that handoff mends it in seconds.
func (r *putRun) finish() {
	owed := slices.DeleteFunc(r.tally.Owed(), func(owner int) bool {
		return owner == r.pl.self // its own copy is here, if not known to be durable yet
	})
	if len(owed) == 0 {
		return
	}
	r.c.linger(func() {
		for _, owner := range owed {
			r.owe(r.pl.places[owner])
		}
	})
}

func (r *putRun) owe(owner ring.NodeID) {
	ctx, cancel := context.WithTimeout(context.Background(), r.c.Linger)
	defer cancel()
	r.c.Events.Owed()
	err := r.c.Replicas.Owe(ctx, r.req.Item, owner, r.pl.epoch.Number)
	if err != nil && !errors.Is(err, context.Canceled) {
		r.c.Events.OweFailed()
	}
}
