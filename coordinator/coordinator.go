// Package coordinator runs one client request over the replicas of an item: fan-out, deadlines,
// stand-ins, hedges, late answers and repair. Who counts and when it is decided is the business of
// coordinator/quorum, a pure state machine; this package is the shell that drives it with real
// messages and timers. The design follows Dynamo, sections 4.5 and 4.6.
//
// It knows neither disk nor wire: both come in as functions (Replicas, Cluster), so that its tests
// can lose, delay and reorder every message.
package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// Replicas is how the coordinator reaches data, its own node's included. Every function obeys the
// deadline of its context.
//
// Write and Read don't wait: they call done once, before they return or later, from any goroutine, and no later than
// soon after the deadline. done is quick. So a request costs no goroutine for each replica, nor one for those that
// answer after the reply.
type Replicas struct {
	// Mint writes a new version into the own copy of the item and returns before that is durable.
	Mint func(context.Context, MintRequest) (Minted, error)
	// Write merges a state into a replica's copy; done is called once it is as durable as asked.
	Write func(ctx context.Context, to ring.NodeID, req WriteRequest, done func(error))
	// Read gets a replica's state of an item, or its digest alone.
	Read func(ctx context.Context, from ring.NodeID, req ReadRequest, done func(ReadReply, error))
	// Range returns a replica's items between two storage keys.
	Range func(context.Context, ring.NodeID, RangeRequest) (RangeReply, error)
	// ItemOf tells which item a range key addresses.
	ItemOf func(bucket uint64, key []byte) (causal.ItemKey, error)
	// Owe records durably, on the own node, that an owner lacks the item's present state.
	Owe func(context.Context, causal.ItemKey, ring.NodeID, uint64) error
}

// Health is what is known of a node's reachability.
type Health uint8

const (
	// Up: it answers.
	Up Health = iota
	// Slow: it is there and late. A sloppy quorum goes round it; a strict one still needs it.
	Slow
	// Down: it can't be reached.
	Down
)

// Cluster is the coordinator's view of the ring and of its peers. All functions but Learn are called on the
// path of every request and must not block.
type Cluster struct {
	Self   ring.NodeID
	Epoch  func() *ring.Epoch
	Health func(ring.NodeID) Health
	// Latency is the recent round trip to a node, by which reads choose. Zero: unknown.
	Latency func(ring.NodeID) time.Duration
	// Late is told of each replica that let its budget pass.
	Late func(ring.NodeID)
	// Learn brings the ring of this node up to an epoch that another has, or to a later one; it returns by the deadline of
	// ctx. Alone of these functions it may wait. Nil: what is learnt otherwise has to do.
	Learn func(ctx context.Context, from ring.NodeID, epoch uint64) error
}

// Options tune a Coordinator.
type Options struct {
	Cluster  Cluster
	Replicas Replicas
	// SlowWrite is the time after which a fallback stands in for an owner that has not
	// acknowledged. Default 100 ms.
	SlowWrite time.Duration
	// Hedge returns the time after which a read that has not been answered asks one more replica:
	// the recent 95th percentile. Default: 25 ms, always.
	Hedge func(ring.NodeID) time.Duration
	// Linger is how long messages that are on their way may outlive the reply, so that late
	// answers can be counted and repaired. Default 3 s.
	Linger time.Duration
	// Repairs bounds the repairs that run after replies; those beyond are left to the next read.
	// Default 256.
	Repairs int
	Events  Events
	Now     func() time.Time
	// Clock is the clock by which values expire. It is looked at once a read, and not moved. Default: Now.
	Clock func() causal.HLC
}

// EnsureDefaults fills in what is zero.
func (o *Options) EnsureDefaults() {
	if o.SlowWrite == 0 {
		o.SlowWrite = 100 * time.Millisecond
	}
	if o.Hedge == nil {
		o.Hedge = func(ring.NodeID) time.Duration { return 25 * time.Millisecond }
	}
	if o.Linger == 0 {
		o.Linger = 3 * time.Second
	}
	if o.Repairs == 0 {
		o.Repairs = 256
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Clock == nil {
		now := o.Now
		o.Clock = func() causal.HLC { return causal.NewHLC(now().UnixMilli(), 0) }
	}
	o.Events.ensureDefaults()
	if o.Cluster.Late == nil {
		o.Cluster.Late = func(ring.NodeID) {}
	}
	if o.Cluster.Learn == nil {
		o.Cluster.Learn = func(context.Context, ring.NodeID, uint64) error { return nil }
	}
}

// Events are told of what a coordinator does beside answering, for metrics. They must be quick.
type Events struct {
	WriteBack     func() // a state was sent to a replica that was behind, before the reply
	Repair        func() // the same, after the reply
	RepairSkipped func() // a repair failed, or too many were running
	Hedge         func() // one more replica was asked because another was slow
	StandIn       func() // a fallback was sent a state in the place of an owner
	Owed          func() // this node keeps a hint for an owner that nobody stood in for
	OweFailed     func() // such a hint could not be stored
}

func (e *Events) ensureDefaults() {
	for _, f := range []*func(){&e.WriteBack, &e.Repair, &e.RepairSkipped, &e.Hedge, &e.StandIn, &e.Owed, &e.OweFailed} {
		if *f == nil {
			*f = func() {}
		}
	}
}

// Coordinator runs requests. Its methods may be called from any number of goroutines.
type Coordinator struct {
	Options
	repairs chan struct{} // a token per repair that runs after a reply

	mu      sync.Mutex
	closed  bool
	late    map[*mailbox]struct{} // of requests that have replied and still wait for answers
	sweeper *time.Timer           // over late; nil while there are none
	running sync.WaitGroup        // requests and what lingers of them
	closing context.Context
	cancel  context.CancelFunc
}

// ErrClosed is returned by a coordinator that is stopping. Nothing was done.
var ErrClosed = errors.New("coordinator is closed")

// New returns a Coordinator. Close it.
func New(o Options) *Coordinator {
	o.EnsureDefaults()
	c := &Coordinator{Options: o, repairs: make(chan struct{}, o.Repairs), late: make(map[*mailbox]struct{})}
	c.closing, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close refuses new requests, gives up the messages still on their way and returns when nothing of
// any request runs any more.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.closed = true
	late := c.late
	c.late = nil // what comes to it from now on ends at once
	if c.sweeper != nil {
		c.sweeper.Stop()
	}
	c.mu.Unlock()
	c.cancel()
	for m := range late {
		m.giveUp()
	}
	c.running.Wait()
}

// enter registers a request; the caller calls c.running.Done when it has returned. Whatever the
// request leaves behind registers itself while the request is still counted.
func (c *Coordinator) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.running.Add(1)
	return nil
}

// linger runs f behind the reply, owned by the Coordinator. Only a registered request may call it.
func (c *Coordinator) linger(f func()) {
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		f()
	}()
}

// messageContext is the context of a request's messages: they outlive the request itself by up to
// Linger, but not the coordinator. It keeps no timer: its deadline is for whoever carries the messages.
func (c *Coordinator) messageContext(ctx context.Context) context.Context {
	until := time.Now().Add(c.Linger) // not by Options.Now: a wrong wall clock must not shorten a deadline
	if deadline, ok := ctx.Deadline(); ok && deadline.After(until) {
		until = deadline
	}
	return lasting{c.closing, until}
}

type lasting struct {
	context.Context
	until time.Time
}

// Deadline is when nobody waits for an answer any more.
func (l lasting) Deadline() (time.Time, bool) { return l.until, true }

// Err also tells that the deadline has passed, though nothing is closed then.
func (l lasting) Err() error {
	if err := l.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(l.until) {
		return context.DeadlineExceeded
	}
	return nil
}

// write is Replicas.Write for those who wait.
func (c *Coordinator) write(ctx context.Context, to ring.NodeID, req WriteRequest) error {
	done := make(chan error, 1)
	c.Replicas.Write(ctx, to, req, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closing.Done():
		return ErrClosed
	}
}
