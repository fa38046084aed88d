package transport

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

// memNet is a network in memory whose addresses can be killed (connections break, new ones are refused) and
// frozen (as a process stopped by SIGSTOP: connections stay, nothing is read or written).
type memNet struct {
	mu    sync.Mutex
	hosts map[string]*memHost
	dials int
}

type memHost struct {
	net.Listener
	buf   *bufconn.Listener
	mu    sync.Mutex
	conns []net.Conn
	gate  chan struct{} // closed: running
}

func newMemNet() *memNet { return &memNet{hosts: make(map[string]*memHost)} }

func (n *memNet) listen(addr string) net.Listener {
	h := &memHost{buf: bufconn.Listen(64 << 10), gate: make(chan struct{})}
	close(h.gate)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[addr] = h
	h.Listener = h.buf
	return h
}

func (n *memNet) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	h := n.hosts[addr]
	n.dials++
	n.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("%s: connection refused", addr)
	}
	return h.buf.DialContext(ctx)
}

func (n *memNet) dialCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (n *memNet) host(addr string) *memHost {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[addr]
}

// kill breaks all connections to an address and refuses further ones, until listen is called again.
func (n *memNet) kill(addr string) {
	n.mu.Lock()
	h := n.hosts[addr]
	delete(n.hosts, addr)
	n.mu.Unlock()
	_ = h.buf.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.Close()
	}
}

func (h *memHost) freeze() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = make(chan struct{})
}

func (h *memHost) thaw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.gate)
}

func (h *memHost) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &gatedConn{Conn: c, host: h, closed: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns = append(h.conns, g)
	return g, nil
}

type gatedConn struct {
	net.Conn
	host   *memHost
	once   sync.Once
	closed chan struct{}
}

func (c *gatedConn) pass() {
	c.host.mu.Lock()
	gate := c.host.gate
	c.host.mu.Unlock()
	select {
	case <-gate:
	case <-c.closed:
	}
}

func (c *gatedConn) Read(b []byte) (int, error) {
	c.pass()
	n, err := c.Conn.Read(b)
	c.pass()
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	c.pass()
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
