package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"
)

// link is what a pool keeps about one peer, for requests or for bulk: the present stream, and when the next may
// be tried after a failure.
type link struct {
	pool *Pool
	key  linkKey

	mu       sync.Mutex
	cur      *stream // nil when there is none
	closed   error   // why, after close
	addr     string  // of the last attempt
	failures int     // attempts in a row that came to nothing
	retryAt  time.Time
	lastErr  error

	counters counters
}

// current returns the present stream, or begins one. During backoff it fails with the error of the last attempt,
// unless the peer has another address by now, which deserves an attempt at once.
func (l *link) current(peer Peer) (*stream, error) {
	self := l.pool.o.Self()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return nil, &UnreachableError{Peer: peer, Err: l.closed}
	}
	if l.cur != nil {
		// A stream that stands has proved to lead to this node id: a changed address does not matter to it.
		if l.cur.self.sameCluster(self) {
			return l.cur, nil
		}
		l.cur.cancel(errIdentityChanged)
		l.cur = nil
	}
	if time.Now().Before(l.retryAt) && l.addr == peer.Addr {
		return nil, connectError(peer, l.lastErr)
	}
	l.addr = peer.Addr
	l.cur = newStream(l, peer, self)
	l.pool.wg.Go(l.cur.run)
	return l.cur, nil
}

// connectError is how a failed attempt looks to a call that was never sent.
func connectError(peer Peer, err error) error {
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		return refused
	}
	return &UnreachableError{Peer: peer, Err: err}
}

// ended notes that a stream is over. One that was of use may be followed by another at once; one that was not
// makes the link wait, longer each time.
func (l *link) ended(s *stream, err error, useful bool) {
	if l.note(s, err, useful) {
		l.pool.o.Logger.Warn("no connection to a peer", "peer", s.peer, "bulk", l.key.bulk, "error", err)
	}
}

// note reports whether the end is worth a line in the log: of a row of failures only the first is.
func (l *link) note(s *stream, err error, useful bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur != s {
		return false // replaced or closed by ourselves: no failure of the peer
	}
	l.cur = nil
	l.lastErr = err
	if useful {
		l.failures = 0
		l.retryAt = time.Time{}
		return true
	}
	l.retryAt = time.Now().Add(l.pool.o.pause(l.failures))
	l.failures++
	return l.failures == 1
}

// pause is the backoff after so many failures before: doubling, of which half is chance, so that peers of a node
// that restarts do not come back in step.
func (o *Options) pause(failures int) time.Duration {
	d := o.MaxBackoff
	if failures < 30 && o.MinBackoff<<failures>>failures == o.MinBackoff {
		d = min(d, o.MinBackoff<<failures)
	}
	var b [8]byte
	if _, err := io.ReadFull(o.Rand, b[:]); err != nil || d < 2 {
		return d
	}
	half := d / 2
	return d - time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(half))
}

func (l *link) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = 0
	l.retryAt = time.Time{}
}

// close ends the link for good. It does not wait for the stream's goroutines; Pool.Close does.
func (l *link) close(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = why
	if l.cur != nil {
		l.cur.cancel(why)
		l.cur = nil
	}
}

// newStream must be called with l.mu held.
func newStream(l *link, peer Peer, self Identity) *stream {
	s := &stream{
		link: l, o: &l.pool.o, peer: peer, self: self, count: &l.counters,
		pending: make(map[uint64]*call),
		wake:    make(chan struct{}, 1),
	}
	s.ctx, s.cancel = context.WithCancelCause(l.pool.ctx)
	return s
}
