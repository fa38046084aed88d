package seam

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Dial connects to another node's peer port. Only the calling side of a connection is wrapped: it holds back both
// directions.
func (s *Seams) Dial(ctx context.Context, addr string) (net.Conn, error) {
	for _, w := range []way{{addr, true}, {addr, false}} { // a handshake needs both
		if err := s.pass(w, ctx.Done(), nil); err != nil {
			return nil, fmt.Errorf("dial %s: %w", addr, os.ErrDeadlineExceeded)
		}
	}
	var plain net.Dialer
	inner, err := plain.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return newConn(s, inner, addr), nil
}

// pass waits until a direction carries data, or done is closed, or the deadline passes, if there is one.
func (s *Seams) pass(w way, done <-chan struct{}, by *deadline) error {
	for {
		cut, changed := s.cut(w)
		if !cut {
			return nil
		}
		passed, moved := by.wait()
		select {
		case <-changed:
		case <-moved:
		case <-done:
			return net.ErrClosed
		case <-passed:
			return os.ErrDeadlineExceeded
		}
	}
}

// deadline is one of a connection's. The nil deadline never passes.
type deadline struct {
	mu    sync.Mutex
	at    time.Time
	moved chan struct{} // closed, and replaced, when it is set
}

func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	close(d.moved)
	d.moved = make(chan struct{})
}

// wait returns what fires when the deadline passes and what when it is set anew.
func (d *deadline) wait() (passed <-chan time.Time, moved <-chan struct{}) {
	if d == nil {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.at.IsZero() {
		passed = time.After(time.Until(d.at))
	}
	return passed, d.moved
}

// conn is the calling side of a connection. What is written into a cut direction waits, as TCP would send it again and
// again, and what comes from one is kept back. One goroutine reads at a time, as gRPC and memberlist do.
type conn struct {
	net.Conn
	seams   *Seams
	addr    string
	kept    []byte // read, and held back
	keptErr error

	readBy, writeBy *deadline
	once            sync.Once
	done            chan struct{}
}

func newConn(s *Seams, inner net.Conn, addr string) *conn {
	return &conn{
		Conn: inner, seams: s, addr: addr, done: make(chan struct{}),
		readBy: &deadline{moved: make(chan struct{})}, writeBy: &deadline{moved: make(chan struct{})},
	}
}

func (c *conn) Read(b []byte) (int, error) {
	from := way{c.addr, false}
	for {
		if err := c.seams.pass(from, c.done, c.readBy); err != nil {
			return 0, err
		}
		if len(c.kept) > 0 {
			n := copy(b, c.kept)
			c.kept = c.kept[n:]
			return n, nil
		}
		if c.keptErr != nil {
			return 0, c.keptErr
		}
		n, err := c.Conn.Read(b)
		cut, _ := c.seams.cut(from)
		if !cut {
			return n, err
		}
		c.kept = slices.Clone(b[:n])
		if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
			c.keptErr = err
		}
	}
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.seams.pass(way{c.addr, true}, c.done, c.writeBy); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.readBy.set(t)
	c.writeBy.set(t)
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.readBy.set(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writeBy.set(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// Gossip wraps gossip's transport. Packets into a cut direction are lost.
func (s *Seams) Gossip(inner memberlist.Transport) memberlist.Transport { return &gossip{inner, s} }

type gossip struct {
	memberlist.Transport
	seams *Seams
}

func (g *gossip) WriteTo(b []byte, addr string) (time.Time, error) {
	if cut, _ := g.seams.cut(way{addr, true}); cut {
		return time.Now(), nil
	}
	return g.Transport.WriteTo(b, addr)
}

func (g *gossip) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	by := &deadline{at: time.Now().Add(timeout), moved: make(chan struct{})}
	for _, w := range []way{{addr, true}, {addr, false}} {
		if err := g.seams.pass(w, nil, by); err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
	}
	inner, err := g.Transport.DialTimeout(addr, time.Until(by.at))
	if err != nil {
		return nil, err
	}
	return newConn(g.seams, inner, addr), nil
}
