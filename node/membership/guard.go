package membership

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/time/rate"
)

const (
	// labelPrefix begins the label of all our gossip, so that another cluster of ours can be told from
	// noise.
	labelPrefix = "starling:"
	// maxStreams bounds the streams that others have open with us. Beyond, they are closed at once.
	maxStreams = 128
	// labelTimeout is how long a stream may take to say of which cluster it is.
	labelTimeout = 5 * time.Second
	// logEvery is the pause between two log lines about one kind of refusal.
	logEvery = 10 * time.Second
)

// guard stands between the network and memberlist. It lets only gossip of our own cluster in, and counts
// the rest: memberlist does the same check, but tells of it only in its log. It also bounds the streams.
type guard struct {
	inner memberlist.Transport
	label string
	log   *slog.Logger

	foreign, garbage, excess atomic.Uint64
	foreignLog, garbageLog   rate.Sometimes

	packets chan *memberlist.Packet
	streams chan net.Conn
	slots   chan struct{}

	// closing ends handing over, closed ends the loops: between the two they discard, since the inner
	// transport's shutdown waits for its own handing over.
	once            sync.Once
	closing, closed chan struct{}
	wg              sync.WaitGroup
	mu              sync.Mutex
	conns           map[*guardedConn]struct{}
}

var _ memberlist.NodeAwareTransport = (*guard)(nil)

func clusterLabel(cluster string) string { return labelPrefix + cluster }

func newGuard(inner memberlist.Transport, label string, log *slog.Logger) *guard {
	g := &guard{
		inner: inner, label: label, log: log,
		foreignLog: rate.Sometimes{Interval: logEvery},
		garbageLog: rate.Sometimes{Interval: logEvery},
		packets:    make(chan *memberlist.Packet),
		streams:    make(chan net.Conn),
		slots:      make(chan struct{}, maxStreams),
		closing:    make(chan struct{}),
		closed:     make(chan struct{}),
		conns:      map[*guardedConn]struct{}{},
	}
	g.wg.Go(g.packetLoop)
	g.wg.Go(g.streamLoop)
	return g
}

func (g *guard) packetLoop() {
	for {
		select {
		case <-g.closed:
			return
		case p := <-g.inner.PacketCh():
			rest, label, err := memberlist.RemoveLabelHeaderFromPacket(p.Buf)
			if err != nil || label != g.label {
				g.refuse(label, p.From)
				continue
			}
			select {
			case g.packets <- &memberlist.Packet{Buf: rest, From: p.From, Timestamp: p.Timestamp}:
			case <-g.closing:
			}
		}
	}
}

func (g *guard) streamLoop() {
	for {
		select {
		case <-g.closed:
			return
		case c := <-g.inner.StreamCh():
			gc := g.admit(c)
			if gc == nil {
				_ = c.Close()
				continue
			}
			g.wg.Go(func() { g.screen(gc) })
		}
	}
}

// screen hands a stream to memberlist once it has shown our label. It waits for that, so it has a
// goroutine of its own.
func (g *guard) screen(c *guardedConn) {
	_ = c.SetReadDeadline(time.Now().Add(labelTimeout))
	rest, label, err := memberlist.RemoveLabelHeaderFromStream(c)
	if err != nil || label != g.label {
		g.refuse(label, c.RemoteAddr())
		_ = c.Close()
		return
	}
	select {
	case g.streams <- rest:
	case <-g.closing:
		_ = c.Close()
	}
}

// refuse counts and logs gossip that is not ours.
func (g *guard) refuse(label string, from net.Addr) {
	if cluster, ours := strings.CutPrefix(label, labelPrefix); ours {
		n := g.foreign.Add(1)
		g.foreignLog.Do(func() {
			g.log.Warn("refused gossip from another cluster", "cluster", cluster, "from", addrText(from), "refused_so_far", n)
		})
		return
	}
	n := g.garbage.Add(1)
	g.garbageLog.Do(func() {
		g.log.Warn("refused what is no gossip", "from", addrText(from), "refused_so_far", n)
	})
}

func addrText(a net.Addr) string {
	if a == nil {
		return "unknown"
	}
	return a.String()
}

// admit takes a slot for a stream, or returns nil when there is none.
func (g *guard) admit(c net.Conn) *guardedConn {
	select {
	case <-g.closing:
		return nil
	case g.slots <- struct{}{}:
	default:
		g.excess.Add(1)
		return nil
	}
	gc := &guardedConn{Conn: c, guard: g}
	g.mu.Lock()
	g.conns[gc] = struct{}{}
	g.mu.Unlock()
	return gc
}

// guardedConn gives its slot back when it is closed.
type guardedConn struct {
	net.Conn
	guard *guard
	once  sync.Once
}

func (c *guardedConn) Close() error {
	c.once.Do(func() {
		c.guard.mu.Lock()
		delete(c.guard.conns, c)
		c.guard.mu.Unlock()
		<-c.guard.slots
	})
	return c.Conn.Close()
}

func (g *guard) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	return g.inner.FinalAdvertiseAddr(ip, port)
}

func (g *guard) WriteTo(b []byte, addr string) (time.Time, error) { return g.inner.WriteTo(b, addr) }

func (g *guard) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return g.inner.WriteTo(b, a.Addr)
}

func (g *guard) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return g.inner.DialTimeout(addr, timeout)
}

func (g *guard) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.inner.DialTimeout(a.Addr, timeout)
}

func (g *guard) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *guard) StreamCh() <-chan net.Conn           { return g.streams }

// Shutdown closes the inner transport and every stream, and waits for the guard's own goroutines.
func (g *guard) Shutdown() error {
	var err error
	g.once.Do(func() {
		close(g.closing)
		err = g.inner.Shutdown()
		close(g.closed)
		g.mu.Lock()
		var open []*guardedConn
		for c := range g.conns {
			open = append(open, c)
		}
		g.mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
		g.wg.Wait()
	})
	if err != nil {
		return fmt.Errorf("shutting gossip's transport down: %w", err)
	}
	return nil
}
