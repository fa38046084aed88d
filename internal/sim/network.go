package sim

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// place is where a host is in the network: a node's number, or clients.
type place int

// clients is the place that all clients are at.
const clients place = -1

// link is one direction between two places.
type link struct{ from, to place }

// weather is what a link does to what is sent through it.
type weather struct {
	// cut links carry nothing. The ends see no error: what was sent waits, as TCP would send it again and again, and
	// arrives when the link is whole again, unless a connection is given up before.
	cut bool
	// delay holds everything back, and up to jitter more.
	delay, jitter time.Duration
}

// network carries connections between places. Data takes time, links can be cut and slowed in either direction, and
// everything at a place can be severed at once. It has no goroutines; its time is that of the bubble.
type network struct {
	mu      sync.Mutex
	rng     *rand.Rand
	base    weather
	special map[link]weather
	changed chan struct{} // closed, and replaced, when a link is whole again
	ports   map[string]*listener
	conns   map[*conn]struct{}
	tap     tap // nil: nobody looks; set before anybody dials
}

func newNetwork(rng *rand.Rand, base weather) *network {
	return &network{
		rng: rng, base: base, special: map[link]weather{}, changed: make(chan struct{}),
		ports: map[string]*listener{}, conns: map[*conn]struct{}{},
	}
}

// set changes a link. The zero weather puts the normal one back.
func (n *network) set(l link, w weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w == (weather{}) {
		delete(n.special, l)
	} else {
		n.special[l] = w
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// cut says whether a link carries nothing now. If so, the channel tells when to ask again.
func (n *network) cut(l link) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.special[l].cut, n.changed
}

// latency draws how long a message takes through a link.
func (n *network) latency(l link) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.special[l]
	d := n.base.delay + w.delay
	if spread := n.base.jitter + w.jitter; spread > 0 {
		d += time.Duration(n.rng.Int64N(int64(spread)))
	}
	return d
}

// pass waits until a link carries data, or done is closed.
func (n *network) pass(l link, done <-chan struct{}) error {
	for {
		cut, changed := n.cut(l)
		if !cut {
			return nil
		}
		select {
		case <-done:
			return os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

// listen opens a port at a place.
func (n *network) listen(at place, addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.ports[addr]; taken {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: address(addr), Err: syscall.EADDRINUSE}
	}
	l := &listener{network: n, at: at, addr: address(addr), queue: make(chan *conn, backlog), done: make(chan struct{})}
	n.ports[addr] = l
	return l, nil
}

// backlog is how many connections may wait for a listener.
const backlog = 64

// dial connects a place to a port. Both directions must be whole; a cut one lets it hang until ctx ends.
func (n *network) dial(ctx context.Context, from place, addr string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: address(addr), Err: syscall.ECONNREFUSED}
	n.mu.Lock()
	l := n.ports[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, refused
	}
	out, back := link{from, l.at}, link{l.at, from}
	for _, way := range []link{out, back} {
		if err := n.pass(way, ctx.Done()); err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address(addr), Err: err}
		}
		if err := sleep(ctx, n.latency(way)); err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address(addr), Err: err}
		}
	}
	there, here := newStream(n, out), newStream(n, back)
	near := &conn{network: n, local: place(from), remote: l.at, addr: l.addr, in: here, out: there}
	far := &conn{network: n, local: l.at, remote: place(from), addr: l.addr, in: there, out: here}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[addr] != l {
		return nil, refused
	}
	if n.tap != nil && strings.HasSuffix(addr, peerPort) {
		tapBoth(n, near, far)
	}
	select {
	case l.queue <- far:
	default:
		return nil, refused
	}
	n.conns[near], n.conns[far] = struct{}{}, struct{}{}
	return near, nil
}

// sever takes a place off the network at once, as a power cut does: its ports are gone and its connections broken.
func (n *network) sever(at place) {
	n.mu.Lock()
	for addr, l := range n.ports {
		if l.at == at {
			delete(n.ports, addr)
		}
	}
	var broken []*conn
	for c := range n.conns {
		if c.local == at || c.remote == at {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		c.reset()
	}
}

func (n *network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// address is a net.Addr of a host and a port.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// listener is an open port.
type listener struct {
	network *network
	at      place
	addr    address
	queue   chan *conn
	once    sync.Once
	done    chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.network.mu.Lock()
		if l.network.ports[string(l.addr)] == l {
			delete(l.network.ports, string(l.addr))
		}
		l.network.mu.Unlock()
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// conn is one end of a connection.
type conn struct {
	network       *network
	local, remote place
	addr          address
	in, out       *stream
	tapped        *tapped // nil: nobody looks
	once          sync.Once
}

func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

func (c *conn) Write(b []byte) (int, error) {
	if c.tapped != nil && c.tapped.wrote(b) == breaks {
		c.reset()
	}
	return c.out.write(b)
}

// Close ends the connection; what was written still arrives.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.network.forget(c)
		c.out.end(io.EOF)
		c.in.abandon()
	})
	return nil
}

// reset breaks both directions at once, and nothing that was on its way arrives.
func (c *conn) reset() {
	c.network.forget(c)
	c.out.fail(syscall.ECONNRESET)
	c.in.fail(syscall.ECONNRESET)
}

func (c *conn) LocalAddr() net.Addr  { return c.addr }
func (c *conn) RemoteAddr() net.Addr { return c.addr }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.readBy(t)
	c.out.writeBy(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error  { c.in.readBy(t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.writeBy(t); return nil }
