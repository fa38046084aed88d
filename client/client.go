package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/pace"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// refreshTimeout bounds one node's answer about the ring.
const refreshTimeout = 3 * time.Second

// Client is a connection to a cluster. It is safe for concurrent use.
type Client struct {
	options
	seeds    []string
	pool     *pool
	clock    serverClock
	budget   budget
	hedges   hedges
	pace     *pace.Gate
	topology atomic.Pointer[topology]
	// fresh are the buckets that this Client has just made.
	fresh freshBuckets
	// turn counts calls, so that nodes take turns.
	turn atomic.Uint64

	// kick asks the refresher for a new ring now.
	kick chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup
}

// Open connects to a cluster by the addresses ("host:port") of some of its nodes; the others are
// learned from them. It fails with ErrConnect if none of them answers before ctx ends, or within
// DefaultTimeout. A node that is still waiting for its cluster counts as an answer. Close the Client
// after use.
func Open(ctx context.Context, addrs []string, opts ...Option) (*Client, error) {
	o := defaultOptions()
	for _, opt := range opts {
		opt(&o)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("open: no address: %w", ErrInvalidArgument)
	}
	if o.timeout <= 0 || o.refresh <= 0 {
		return nil, fmt.Errorf("open: timeout %v and refresh interval %v must be positive: %w",
			o.timeout, o.refresh, ErrInvalidArgument)
	}
	c := &Client{
		options: o,
		seeds:   slices.Clone(addrs),
		pool:    newPool(o.dial),
		clock:   serverClock{now: time.Now},
		pace:    pace.NewGate(pace.Options{Min: minPace, Start: startPace, Max: maxPace}, time.Now),
		kick:    make(chan struct{}, 1),
	}
	c.topology.Store(&topology{})
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := c.refreshRing(ctx); err != nil && !answered(err) {
		c.pool.close()
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() { c.refreshLoop(run) })
	c.done.Go(func() { c.tryOutLoop(run) })
	return c, nil
}

// Close ends the Client. Calls under way fail.
func (c *Client) Close() error {
	c.stop()
	c.pool.close()
	c.done.Wait()
	return nil
}

// NewRequestID draws an id for WithRequestID. It is good for one write, from now on for a minute.
func (c *Client) NewRequestID() (RequestID, error) {
	id, err := causal.NewRequestID(c.clock.nowMillis(), c.rand)
	if err != nil {
		return id, &Error{Op: "request id", Code: codes.Internal, Message: "no randomness: " + err.Error()}
	}
	return id, nil
}

// refreshLoop keeps the ring and the server's clock fresh until ctx ends.
func (c *Client) refreshLoop(ctx context.Context) {
	ticker := time.NewTicker(c.refresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-c.kick:
		}
		// An error means that no node answers: calls find that out for themselves.
		_ = c.refreshRing(ctx)
		// Kicks come in crowds, when a node dies.
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const (
	// tryOutEvery is how often it is looked which slow nodes are due to be tried out.
	tryOutEvery = 250 * time.Millisecond
	// tryOuts is how many quick answers in a row a slow node is taken back for: one may be luck.
	tryOuts = 3
)

// tryOutLoop asks nodes that were set aside whether they are quick again, so that no call of a user has to find out.
func (c *Client) tryOutLoop(ctx context.Context) {
	ticker := time.NewTicker(tryOutEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, e := range c.pool.due(time.Now()) {
			well := c.tryOut(ctx, e)
			e.mu.Lock()
			e.standing.tried(well, time.Now())
			e.mu.Unlock()
		}
	}
}

// tryOut reports whether a node answers as quickly as it should, some times in a row.
func (c *Client) tryOut(ctx context.Context, e *endpoint) bool {
	for range tryOuts {
		ctx, cancel := context.WithTimeout(ctx, slowAt(c.pool.typical(time.Now())))
		_, err := e.cluster.Ring(ctx, &pb.RingRequest{KnownEpoch: c.topology.Load().known()})
		cancel()
		if err != nil {
			return false
		}
	}
	return true
}

// wantRefresh asks for a refresh soon, without waiting for it.
func (c *Client) wantRefresh() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// refreshRing asks node after node for the ring until one answers.
func (c *Client) refreshRing(ctx context.Context) error {
	var last error
	for _, addr := range c.route(target{}) {
		if ctx.Err() != nil {
			break
		}
		err := c.fetchRing(ctx, addr)
		if err == nil {
			return nil
		}
		if last == nil || answered(err) {
			last = err
		}
	}
	if last == nil {
		return contextError(ctx, "open")
	}
	return last
}

// fetchRing takes the ring from one node.
func (c *Client) fetchRing(ctx context.Context, addr string) error {
	e, err := c.pool.get(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	previous := c.topology.Load()
	sent := time.Now()
	reply, err := e.cluster.Ring(ctx, &pb.RingRequest{KnownEpoch: previous.known()})
	if err != nil {
		failure := newError("open", addr, status.Convert(err))
		if !answered(failure) {
			e.failed(time.Now())
			failure.matches = []error{ErrConnect}
		}
		return failure
	}
	e.answered()
	c.clock.learn(reply.GetServerTimeMs(), sent, time.Now())
	next, err := newTopology(reply, previous)
	if err != nil {
		return &Error{Op: "open", Addr: addr, Code: codes.Internal, Message: "the node's ring: " + err.Error()}
	}
	c.topology.Store(next)
	c.pool.keep(c.addresses(next))
	return nil
}

// addresses are those that a topology or the caller of Open names.
func (c *Client) addresses(t *topology) map[string]bool {
	addrs := make(map[string]bool, len(t.rows)+len(c.seeds))
	for _, row := range t.rows {
		addrs[row.addr] = true
	}
	for _, addr := range c.seeds {
		addrs[addr] = true
	}
	return addrs
}

// answered reports whether an error was made by a Starling server.
func answered(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason != ""
}
