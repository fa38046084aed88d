package testcluster

import (
	"net"
	"sync"
)

// port is a TCP port that outlives the nodes that listen on it, so that nobody else can take it between a crash and
// the restart. While no node listens, connections are closed as soon as they are made.
type port struct {
	inner net.Listener
	loop  sync.WaitGroup

	mu    sync.Mutex
	to    *portListener // nil: no node listens
	conns map[*portConn]struct{}
}

func newPort() (*port, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &port{inner: l, conns: map[*portConn]struct{}{}}
	p.loop.Go(p.accept)
	return p, nil
}

func (p *port) addr() string { return p.inner.Addr().String() }

func (p *port) accept() {
	for {
		conn, err := p.inner.Accept()
		if err != nil {
			return
		}
		if to, wrapped := p.take(conn); to != nil {
			select {
			case to.queue <- wrapped:
				continue
			case <-to.done:
			}
			_ = wrapped.Close()
			continue
		}
		_ = conn.Close()
	}
}

func (p *port) take(conn net.Conn) (*portListener, *portConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.to == nil {
		return nil, nil
	}
	wrapped := &portConn{Conn: conn, port: p}
	p.conns[wrapped] = struct{}{}
	return p.to, wrapped
}

// serving says whether a node listens.
func (p *port) serving() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to != nil
}

// listen is a node's net.Listen.
func (p *port) listen() net.Listener {
	l := &portListener{port: p, queue: make(chan net.Conn), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = l
	return l
}

// sever ends all connections at once and takes no new ones, while the node's listener, which knows nothing of it,
// stays open: so a crash looks from outside.
func (p *port) sever() {
	p.mu.Lock()
	p.to = nil
	conns := make([]*portConn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

func (p *port) close() {
	_ = p.inner.Close()
	p.loop.Wait()
}

// portListener is what one run of a node listens on.
type portListener struct {
	port  *port
	queue chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *portListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *portListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.port.mu.Lock()
		if l.port.to == l {
			l.port.to = nil
		}
		l.port.mu.Unlock()
	})
	return nil
}

func (l *portListener) Addr() net.Addr { return l.port.inner.Addr() }

// portConn is the accepting end of a connection.
type portConn struct {
	net.Conn
	port *port
}

func (c *portConn) Close() error {
	c.port.mu.Lock()
	delete(c.port.conns, c)
	c.port.mu.Unlock()
	return c.Conn.Close()
}
