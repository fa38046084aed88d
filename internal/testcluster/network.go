package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// link is one direction between two nodes.
type link struct{ from, to int }

// network decides what the connections between the peer ports of nodes carry. What is sent into a cut link waits, as
// TCP would send it again and again, and arrives when the link is healed, unless the connection ends before.
type network struct {
	mu      sync.Mutex
	cut     map[link]bool
	down    map[int]bool // nodes that are about to crash
	delay   map[link]time.Duration
	changed chan struct{} // closed, and replaced, at every change
}

func newNetwork() *network {
	return &network{cut: map[link]bool{}, down: map[int]bool{}, delay: map[link]time.Duration{}, changed: make(chan struct{})}
}

func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) state(l link) (cut bool, delay time.Duration, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[l] || n.down[l.from] || n.down[l.to], n.delay[l], n.changed
}

// pass waits until the link carries data, or done is closed.
func (n *network) pass(l link, done <-chan struct{}) error {
	for {
		cut, delay, changed := n.state(l)
		if !cut {
			return pause(delay, done)
		}
		select {
		case <-done:
			return net.ErrClosed
		case <-changed:
		}
	}
}

func pause(d time.Duration, done <-chan struct{}) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return net.ErrClosed
	case <-timer.C:
		return nil
	}
}

// dial connects one node to a port of another. It needs both directions.
func (n *network) dial(ctx context.Context, l link, to *port) (net.Conn, error) {
	back := link{l.to, l.from}
	for _, way := range []link{l, back} {
		if err := n.pass(way, ctx.Done()); err != nil {
			return nil, fmt.Errorf("dial %s: %w", to.addr(), errors.Join(os.ErrDeadlineExceeded, ctx.Err()))
		}
	}
	if !to.serving() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: to.inner.Addr(), Err: syscall.ECONNREFUSED}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to.addr())
	if err != nil {
		return nil, err
	}
	return &linkConn{Conn: conn, network: n, out: l, in: back, done: make(chan struct{})}, nil
}

// linkConn is the dialling end of a connection between nodes. It holds back both directions, so the other end needs
// no wrapping.
type linkConn struct {
	net.Conn
	network *network
	out, in link
	once    sync.Once
	done    chan struct{}
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		return n, err
	}
	return n, c.network.pass(c.in, c.done)
}

func (c *linkConn) Write(b []byte) (int, error) {
	if err := c.network.pass(c.out, c.done); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// isolate cuts a node off until heal is called, which leaves the cuts that were there before.
func (n *network) isolate(i int) (heal func()) {
	n.change(func() { n.down[i] = true })
	return func() { n.change(func() { delete(n.down, i) }) }
}
