// Package gossipnet is a small lossy network in memory for gossip: a memberlist.Transport per node, with
// latency, loss, cuts in either direction and sudden death. It has no clock of its own, so it runs under
// the fake time of testing/synctest. memberlist's own MockNetwork won't do: writes to a stopped peer
// block there for ever.
package gossipnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options shape a network. The zero value is one without loss or latency.
type Options struct {
	// Rand draws losses and latencies. Nil: a fixed seed.
	Rand *rand.Rand
	// Loss is the probability, 0 to 1, that a packet is lost. Streams lose nothing.
	Loss float64
	// Duplicate is the probability, 0 to 1, that a packet arrives a second time, after a latency of its own.
	Duplicate float64
	// MinLatency and MaxLatency bound the one-way delay of packets and of connecting. Packets overtake one another.
	MinLatency, MaxLatency time.Duration
}

// Network connects transports by their addresses. All methods may be called at any time.
type Network struct {
	mu    sync.Mutex
	o     Options
	nodes map[netip.AddrPort]*Transport
	cuts  map[link]bool
	conns map[*conn]link

	bytes atomic.Uint64
}

// link is one direction between two hosts. Ports don't matter: a broken cable knows none.
type link struct{ from, to netip.Addr }

// New returns an empty network.
func New(o Options) *Network {
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(1, 2))
	}
	return &Network{
		o:     o,
		nodes: map[netip.AddrPort]*Transport{},
		cuts:  map[link]bool{},
		conns: map[*conn]link{},
	}
}

// Listen adds a node at addr, an IP address and port. A node that was shut down or killed may come back.
func (n *Network) Listen(addr string) (*Transport, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("gossipnet: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.nodes[at]; taken {
		return nil, fmt.Errorf("gossipnet: listen %s: address in use", at)
	}
	t := newTransport(n, at)
	n.nodes[at] = t
	return t, nil
}

// SetLoss changes the probability that a packet is lost.
func (n *Network) SetLoss(p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.o.Loss = p
}

// SetDuplicate changes the probability that a packet arrives twice.
func (n *Network) SetDuplicate(p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.o.Duplicate = p
}

// Bytes counts what was sent so far, in packets and streams, lost or not.
func (n *Network) Bytes() uint64 { return n.bytes.Load() }

// twice says whether a packet is to arrive a second time.
func (n *Network) twice() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.o.Duplicate > 0 && n.o.Rand.Float64() < n.o.Duplicate
}

// Restore undoes one cut.
func (n *Network) Restore(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, link{netip.MustParseAddr(from), netip.MustParseAddr(to)})
}

// Cut stops everything that from sends to to; open streams between them break. Addresses are IPs.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	l := link{netip.MustParseAddr(from), netip.MustParseAddr(to)}
	n.cuts[l] = true
	broken := n.between(func(c link) bool { return c == l || c == link{l.to, l.from} })
	n.mu.Unlock()
	closeAll(broken)
}

// Partition cuts, in both directions, every host of one group from every host of the others.
func (n *Network) Partition(groups ...[]string) {
	for i, a := range groups {
		for _, b := range groups[i+1:] {
			for _, from := range a {
				for _, to := range b {
					n.Cut(from, to)
					n.Cut(to, from)
				}
			}
		}
	}
}

// Heal undoes all cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
}

// Kill takes the node at addr off the network at once, as kill -9 does: its streams break, connecting to
// it is refused, packets to it vanish. What runs on the transport goes on, unheard.
func (n *Network) Kill(addr string) {
	at := netip.MustParseAddrPort(addr)
	n.mu.Lock()
	t := n.nodes[at]
	delete(n.nodes, at)
	broken := n.between(func(l link) bool { return l.from == at.Addr() || l.to == at.Addr() })
	n.mu.Unlock()
	if t != nil {
		t.close()
	}
	closeAll(broken)
}

// between collects the streams whose link matches. The caller holds the lock.
func (n *Network) between(match func(link) bool) []*conn {
	var found []*conn
	for c, l := range n.conns {
		if match(l) {
			found = append(found, c)
		}
	}
	return found
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// reach says whether a packet gets from one address to another, how long it takes, and who is there.
func (n *Network) reach(from, to netip.AddrPort, lossy bool) (t *Transport, latency time.Duration, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	latency = n.o.MinLatency
	if spread := n.o.MaxLatency - n.o.MinLatency; spread > 0 {
		latency += time.Duration(n.o.Rand.Int64N(int64(spread)))
	}
	cut = n.cuts[link{from.Addr(), to.Addr()}] || lossy && n.o.Loss > 0 && n.o.Rand.Float64() < n.o.Loss
	return n.nodes[to], latency, cut
}

// mutual says whether a stream can be made: both directions are needed.
func (n *Network) mutual(a, b netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cuts[link{a, b}] && !n.cuts[link{b, a}]
}

func (n *Network) track(l link, ends ...*conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range ends {
		n.conns[c] = l
	}
}

func (n *Network) untrack(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func (n *Network) remove(t *Transport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[t.at] == t {
		delete(n.nodes, t.at)
	}
}

// Addrs lists the addresses that listen, sorted.
func (n *Network) Addrs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for at := range n.nodes {
		all = append(all, at.String())
	}
	slices.Sort(all)
	return all
}

// conn is one end of a stream, with the addresses that net.Pipe lacks.
type conn struct {
	net.Conn
	network       *Network
	local, remote net.Addr
}

func (c *conn) Write(b []byte) (int, error) {
	c.network.bytes.Add(uint64(len(b)))
	return c.Conn.Write(b)
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Close() error {
	c.network.untrack(c)
	return c.Conn.Close()
}
