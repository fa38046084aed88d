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
	delay   map[link]time.Duration
	changed chan struct{} // closed, and replaced, at every change
}

func newNetwork() *network {
	return &network{cut: map[link]bool{}, delay: map[link]time.Duration{}, changed: make(chan struct{})}
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
	return n.cut[l], n.delay[l], n.changed
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

// dialler makes the connections of one run of a node to the peer ports of others.
type dialler struct {
	network *network
	mu      sync.Mutex
	severed bool
	conns   map[*linkConn]struct{}
}

// dial connects to a port of another node. It needs both directions of the link.
func (d *dialler) dial(ctx context.Context, l link, to *port) (net.Conn, error) {
	back := link{l.to, l.from}
	for _, way := range []link{l, back} {
		if err := d.network.pass(way, ctx.Done()); err != nil {
			return nil, fmt.Errorf("dial %s: %w", to.addr(), errors.Join(os.ErrDeadlineExceeded, ctx.Err()))
		}
	}
	if !to.serving() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: to.inner.Addr(), Err: syscall.ECONNREFUSED}
	}
	var plain net.Dialer
	conn, err := plain.DialContext(ctx, "tcp", to.addr())
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, dialler: d, out: l, in: back, done: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.severed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	d.conns[c] = struct{}{}
	return c, nil
}

// sever ends all connections at once, and allows no new ones.
func (d *dialler) sever() {
	d.mu.Lock()
	d.severed = true
	conns := make([]*linkConn, 0, len(d.conns))
	for c := range d.conns {
		conns = append(conns, c)
	}
	d.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// linkConn is the dialling end of a connection between nodes. It holds back both directions, so the other end needs
// no wrapping.
type linkConn struct {
	net.Conn
	dialler *dialler
	out, in link
	once    sync.Once
	done    chan struct{}
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		return n, err
	}
	return n, c.dialler.network.pass(c.in, c.done)
}

func (c *linkConn) Write(b []byte) (int, error) {
	if err := c.dialler.network.pass(c.out, c.done); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.dialler.mu.Lock()
		delete(c.dialler.conns, c)
		c.dialler.mu.Unlock()
	})
	return c.Conn.Close()
}
