package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator/quorum"
)

// collecting gathers the answers of a page.
type collecting struct {
	*rangeRun
	ctx     context.Context
	answers chan rangeAnswer
	waiting []int // places that owe an answer and are not late
	got     []rangeAnswer
	causes  []Cause
}

// collect asks R candidates of each side, and others for those that fail or are late. One of those that answer must be an
// owner, of each side: fallbacks hold only what they took in somebody's stead, and can't tell what else there is. That
// is the rule by which a get says that there is nothing, so that is how each answer is put to its tally: what replicas
// have in common is that they said what they have, and what differs is settled item by item.
func (r *rangeRun) collect(ctx context.Context) ([]rangeAnswer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &collecting{rangeRun: r, ctx: ctx, answers: make(chan rangeAnswer, len(r.list))}
	c.ask(r.tally.Start(), false)
	hedge := time.NewTimer(r.c.Hedge(r.list[c.waiting[0]].node))
	defer hedge.Stop()
	for {
		switch r.tally.Verdict() {
		case quorum.Agreed:
			return c.got, nil
		case quorum.ReadLost:
			return nil, c.failed(ctx.Err())
		}
		select {
		case a := <-c.answers:
			c.take(a)
		case <-hedge.C:
			if last := c.late(); last >= 0 {
				hedge.Reset(r.c.Hedge(r.list[last].node))
			}
		case <-ctx.Done():
			return nil, c.failed(ctx.Err())
		case <-r.c.closing.Done():
			return nil, ErrClosed
		}
	}
}

// ask sends the request to the places of the actions. Each is asked for everything, whatever a get would do.
func (c *collecting) ask(actions []quorum.Action, hedged bool) {
	for _, a := range actions {
		to := c.list[a.Place]
		handle := c.trace.asked(Message{Node: to.node, Fallback: to.fallback(), HintFor: to.hintFor, Hedged: hedged, Action: "range"})
		c.waiting = append(c.waiting, a.Place)
		c.c.linger(func() {
			reply, err := c.c.Replicas.Range(c.ctx, to.node, c.request())
			c.answers <- rangeAnswer{a.Place, handle, reply, err}
		})
	}
}

func (c *collecting) take(a rangeAnswer) {
	if a.err == nil && !a.reply.Exhausted && len(a.reply.Items) == 0 {
		a.err = errNothing
	}
	c.trace.answered(a.handle, a.err, nil)
	c.waiting = slices.DeleteFunc(c.waiting, func(place int) bool { return place == a.place })
	if a.err != nil {
		c.causes = append(c.causes, Cause{c.list[a.place].node.String(), a.err})
		c.ask(c.tally.Fail(a.place), false)
		return
	}
	c.got = append(c.got, a)
	c.ask(c.tally.Replied(a.place, true, causal.Digest{}), false)
}

// late has somebody asked beside the first place that is not known to be late yet and can be helped so. It returns the
// last one asked, -1 if there is nobody left.
func (c *collecting) late() int {
	for len(c.waiting) > 0 {
		place := c.waiting[0]
		c.waiting = c.waiting[1:]
		if actions := c.tally.Slow(place); len(actions) > 0 {
			c.c.Events.Hedge()
			c.ask(actions, true)
			return actions[len(actions)-1].Place
		}
	}
	return -1
}

func (c *collecting) failed(cause error) error {
	kind := ErrTooFew
	if c.tally.Unattested() {
		kind = ErrNoOwner
	}
	return &QuorumError{Op: "range", Kind: kind, Count: c.tally.Count(), Causes: c.causes, Err: cause}
}
