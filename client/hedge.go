package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Bounds of hedging: a read that takes long is sent to a second node as well, and the first answer counts.
const (
	// DefaultHedgeShare is the share of reads that may be sent twice.
	DefaultHedgeShare = 0.05
	// hedgeBurst is how many may be in a row, when few were before.
	hedgeBurst = 10
	// A read takes long when it takes hedgeFactor times as long as nineteen of twenty recent ones, and at least
	// leastHedge: about one in a hundred does where nothing is wrong.
	hedgeFactor = 2
	leastHedge  = 2 * time.Millisecond
	// hedgeSamples is how many reads a node must have answered before its times count.
	hedgeSamples = 20
)

// HedgeShare replaces DefaultHedgeShare, the share of gets that may be sent to a second node when the first takes longer
// than gets usually do; 0: none. Gets alone are hedged: writes never, nor what is about many items.
func HedgeShare(share float64) Option {
	return func(o *options) { o.hedgeShare = min(max(share, 0), 1) }
}

// hedges is what a Client knows of hedging.
type hedges struct {
	mu    sync.Mutex
	saved float64 // hedges that may be sent now
	// delay is how long a read may take before it is hedged, 0 for not at all. It is found anew when it is older than
	// typicalFor.
	delay time.Duration
	at    time.Time
}

// earn counts a read: so many of them pay for a hedge.
func (h *hedges) earn(share float64) {
	h.mu.Lock()
	h.saved = min(h.saved+share, hedgeBurst)
	h.mu.Unlock()
}

// take reports whether a hedge may be sent, and counts it.
func (h *hedges) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.saved < 1 {
		return false
	}
	h.saved--
	return true
}

// hedgeDelay is how long a read may take before it is hedged; 0: it is not known what is usual.
func (c *Client) hedgeDelay(now time.Time) time.Duration {
	h := &c.hedges
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() || now.Sub(h.at) >= typicalFor {
		h.delay, h.at = hedgeDelayOf(c.pool.longTimes()), now
	}
	return h.delay
}

// hedgeDelayOf is the delay where nineteen of twenty reads of each node take at most so long. The median of the nodes
// counts, or a node that is slow would have every read wait for it.
func hedgeDelayOf(times []time.Duration) time.Duration {
	if len(times) < 2 {
		return 0
	}
	slices.Sort(times)
	return max(hedgeFactor*times[(len(times)-1)/2], leastHedge)
}

// longTimes are the times within which the nodes answer nineteen of twenty reads, of those that are known.
func (p *pool) longTimes() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := make([]time.Duration, 0, len(p.endpoints))
	for _, e := range p.endpoints {
		e.mu.Lock()
		if e.reads.n >= hedgeSamples {
			times = append(times, e.reads.value)
		}
		e.mu.Unlock()
	}
	return times
}

// quantile follows the 95th percentile of a stream of times: it begins with that of the first hedgeSamples, and then goes
// up by nineteen steps for a time that is longer, down by one for a time that is not, which is even where one in twenty
// is longer. It is the arithmetic alone; endpoint locks it.
type quantile struct {
	value time.Duration
	n     int // of times, the first of which are kept
	first [hedgeSamples]time.Duration
}

// quantileSteps is what one step is a part of: many for a steady value, few to follow a change within a hundred times.
const quantileSteps = 80

func (q *quantile) add(d time.Duration) {
	if q.n < hedgeSamples {
		q.first[q.n] = d
		if q.n++; q.n == hedgeSamples {
			slices.Sort(q.first[:])
			q.value = q.first[hedgeSamples-2]
		}
		return
	}
	step := max(q.value/quantileSteps, 1)
	if d > q.value {
		q.value = min(q.value+19*step, d)
	} else {
		q.value = max(q.value-step, d)
	}
}

// sampleRead notes how long a node took over a read, or that it took longer than this.
func (e *endpoint) sampleRead(d time.Duration) {
	e.mu.Lock()
	e.reads.add(d)
	e.mu.Unlock()
}

// sender makes one try of a call on one node.
type sender[T any] func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (T, error)

// sendHedged makes a try on e. If the call is one to hedge and there is no answer after a while, it is sent to the next
// node of the route as well; the answer that comes first counts, and the other node is left: cancel ends ctx, which is
// that of both. by is the node whose answer counts. An error is always that of e.
func sendHedged[T any](ctx context.Context, cancel context.CancelFunc, s *session, e *endpoint, send sender[T], opts ...grpc.CallOption,
) (reply T, by *endpoint, err error) {
	c := s.client
	if !s.call.hedge || c.hedgeShare == 0 {
		reply, err = send(ctx, e, opts...)
		return reply, e, err
	}
	begun := time.Now()
	delay := c.hedgeDelay(begun)
	if delay == 0 || len(s.route) == 1 {
		reply, err = send(ctx, e, opts...)
		c.readDone(e, time.Since(begun), err)
		return reply, e, err
	}
	h := hedge[T]{client: c, addr: s.route[s.next]}
	h.running.Add(1)
	timer := time.AfterFunc(delay, func() { h.run(ctx, cancel, send) })
	reply, err = send(ctx, e, opts...)
	took := time.Since(begun)
	if !timer.Stop() {
		if err == nil {
			cancel()
		}
		h.running.Wait()
	}
	if h.sent {
		s.next = (s.next + 1) % len(s.route)
		s.tries++
	}
	if err == nil || !h.won {
		c.readDone(e, took, err)
		return reply, e, err
	}
	e.sampleRead(took) // it would have taken longer still
	s.measure(e, took, time.Now())
	s.measure(h.by, h.took, time.Now())
	c.readDone(h.by, h.took, nil)
	return h.reply, h.by, nil
}

// readDone counts a read that may have been hedged.
func (c *Client) readDone(by *endpoint, took time.Duration, err error) {
	if err == nil {
		by.sampleRead(took)
		c.hedges.earn(c.hedgeShare)
	}
}

// hedge is the second copy of a read.
type hedge[T any] struct {
	client *Client
	addr   string
	// running is until run has ended. What follows is for whoever has waited for that.
	running sync.WaitGroup
	sent    bool
	won     bool
	by      *endpoint
	reply   T
	took    time.Duration
}

// run sends the copy, if there is a node that is well and the budget has room, and ends the first one if it wins.
func (h *hedge[T]) run(ctx context.Context, cancel context.CancelFunc, send sender[T]) {
	defer h.running.Done()
	begun := time.Now()
	e, err := h.client.pool.get(h.addr)
	if err != nil || e.avoided(begun) || ctx.Err() != nil || !h.client.budget.ample() || !h.client.hedges.take() {
		return
	}
	h.sent, h.by = true, e
	if h.reply, err = send(ctx, e); err == nil {
		h.won, h.took = true, time.Since(begun)
		cancel()
	}
}
