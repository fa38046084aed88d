package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Pool calls peers. It is safe for concurrent use.
type Pool struct {
	o      Options
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // streams

	mu     sync.RWMutex
	links  map[linkKey]*link
	closed bool
}

type linkKey struct {
	id   NodeID
	bulk bool
}

// NewPool returns a pool without connections. The options must have passed Validate.
func NewPool(o Options) *Pool {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Pool{o: o.EnsureDefaults(), ctx: ctx, cancel: cancel, links: make(map[linkKey]*link)}
}

// Call sends a request and waits for its reply, until ctx ends (Options.DefaultTimeout when it has no deadline).
// What is left of the deadline travels with the request. A request of BulkThreshold bytes or more goes over the bulk
// stream. Id and TimeoutUs of req are ignored; what req refers to must never be modified afterwards, not even when
// Call has returned, since it may still be on its way out.
//
// A reply has the body that belongs to the request's. Errors are *UnreachableError, *ExpiredError, *OverloadError,
// *RefusedError, *SizeError, *ClockError, or *PeerError with what the peer answered.
func (p *Pool) Call(ctx context.Context, peer Peer, req *pb.PeerRequest) (*pb.PeerReply, error) {
	size := requestSize(req)
	bulk := size >= p.o.BulkThreshold
	reply, err := p.call(ctx, peer, req, size, bulk)
	if pe := (*PeerError)(nil); !bulk && errors.As(err, &pe) && wantsBulk(pe.Err) && reads(req) {
		return p.call(ctx, peer, req, size, true)
	}
	return reply, err
}

// CallBulk is Call over the peer's bulk stream: for hints, repair, transfer and whatever else may be large and late.
func (p *Pool) CallBulk(ctx context.Context, peer Peer, req *pb.PeerRequest) (*pb.PeerReply, error) {
	return p.call(ctx, peer, req, requestSize(req), true)
}

func (p *Pool) call(ctx context.Context, peer Peer, req *pb.PeerRequest, size int, bulk bool) (*pb.PeerReply, error) {
	if err := ctx.Err(); err != nil {
		return nil, &ExpiredError{Peer: peer, Err: err}
	}
	ctx, deadline, cancel := withDeadline(ctx, p.o.DefaultTimeout)
	defer cancel()
	var (
		done  = make(chan struct{})
		reply *pb.PeerReply
		err   error
	)
	s, c, refused := p.submit(deadline, peer, req, size, bulk, false, func(r *pb.PeerReply, e error) {
		reply, err = r, e
		close(done)
	})
	if refused != nil {
		return nil, refused
	}
	select {
	case <-done:
	case <-ctx.Done():
		if sent, open := s.abandon(c); open {
			return nil, &ExpiredError{Peer: peer, Sent: sent, Err: ctx.Err()}
		}
		<-done
	}
	return reply, err
}

// submit gives a call to the peer's stream. After an error done is never called.
func (p *Pool) submit(deadline time.Time, peer Peer, req *pb.PeerRequest, size int, bulk, alone bool, done func(*pb.PeerReply, error)) (*stream, *call, error) {
	if limit := p.o.MessageBytes - frameOverhead; size > limit {
		return nil, nil, &SizeError{Size: size, Limit: limit}
	}
	s, err := p.stream(peer, bulk)
	if err != nil {
		return nil, nil, err
	}
	c := newCall(req, size, deadline, done)
	c.alone = alone
	if err := s.submit(c); err != nil {
		return nil, nil, err
	}
	return s, c, nil
}

// Start is Call without the wait: done is called once with what Call would return, before Start returns or later, from
// whatever goroutine finds out, which it must not hold up. A deadline that passes is noticed up to reapEvery late. It
// must be set.
func (p *Pool) Start(deadline time.Time, peer Peer, req *pb.PeerRequest, done func(*pb.PeerReply, error)) {
	if !time.Now().Before(deadline) {
		done(nil, &ExpiredError{Peer: peer, Err: context.DeadlineExceeded})
		return
	}
	size := requestSize(req)
	bulk := size >= p.o.BulkThreshold
	first := done
	if !bulk && reads(req) {
		first = func(reply *pb.PeerReply, err error) {
			if pe := (*PeerError)(nil); errors.As(err, &pe) && wantsBulk(pe.Err) {
				p.start(deadline, peer, req, size, true, done)
				return
			}
			done(reply, err)
		}
	}
	p.start(deadline, peer, req, size, bulk, first)
}

func (p *Pool) start(deadline time.Time, peer Peer, req *pb.PeerRequest, size int, bulk bool, done func(*pb.PeerReply, error)) {
	if _, _, err := p.submit(deadline, peer, req, size, bulk, true, done); err != nil {
		done(nil, err)
	}
}

// stream is the present stream to a peer, or a new one if the link's backoff allows one.
func (p *Pool) stream(peer Peer, bulk bool) (*stream, error) {
	if peer.ID == (NodeID{}) || peer.Addr == "" {
		return nil, &UnreachableError{Peer: peer, Err: fmt.Errorf("a peer needs an id and an address")}
	}
	key := linkKey{id: peer.ID, bulk: bulk}
	p.mu.RLock()
	l, closed := p.links[key], p.closed
	p.mu.RUnlock()
	if l == nil && !closed {
		p.mu.Lock()
		closed = p.closed
		if l = p.links[key]; l == nil && !closed {
			l = &link{pool: p, key: key}
			p.links[key] = l
		}
		p.mu.Unlock()
	}
	if closed {
		return nil, &UnreachableError{Peer: peer, Err: ErrClosed}
	}
	return l.current(peer)
}

// Wake lets the next call to a peer connect at once, whatever its backoff: gossip has said that it is back.
func (p *Pool) Wake(id NodeID) {
	for _, l := range p.linksOf(id) {
		l.wake()
	}
}

// Forget closes the connections to a peer and drops what is kept about it. Calls under way fail.
func (p *Pool) Forget(id NodeID) {
	links := p.linksOf(id)
	p.mu.Lock()
	delete(p.links, linkKey{id: id})
	delete(p.links, linkKey{id: id, bulk: true})
	p.mu.Unlock()
	for _, l := range links {
		l.close(errForgotten)
	}
}

func (p *Pool) linksOf(id NodeID) []*link {
	p.mu.RLock()
	defer p.mu.RUnlock()
	found := []*link{p.links[linkKey{id: id}], p.links[linkKey{id: id, bulk: true}]}
	return slices.DeleteFunc(found, func(l *link) bool { return l == nil })
}

// Close fails all calls, closes all connections and waits until their goroutines have ended. Calls after it fail.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	links := p.links
	p.links = nil
	p.mu.Unlock()
	for _, l := range links {
		l.close(ErrClosed)
	}
	p.cancel(ErrClosed)
	p.wg.Wait()
}
