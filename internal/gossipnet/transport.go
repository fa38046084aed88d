package gossipnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// packetQueue and streamQueue bound what waits for a node; beyond, packets are lost and connecting is
	// refused, as by a kernel.
	packetQueue = 1024
	streamQueue = 64
	// firstPort is where the ports of dialling ends begin.
	firstPort = 40000
)

var (
	errRefused = errors.New("connection refused")
	errClosed  = errors.New("transport is shut down")
)

// Transport is one node's end of a Network.
type Transport struct {
	network *Network
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn

	once sync.Once
	done chan struct{}
}

var _ memberlist.Transport = (*Transport)(nil)

func newTransport(n *Network, at netip.AddrPort) *Transport {
	return &Transport{
		network: n,
		at:      at,
		packets: make(chan *memberlist.Packet, packetQueue),
		streams: make(chan net.Conn, streamQueue),
		done:    make(chan struct{}),
	}
}

// Addr is the address that the transport listens on, IP and port.
func (t *Transport) Addr() string { return t.at.String() }

// FinalAdvertiseAddr returns the transport's own address, whatever is asked for.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(t.at.Addr().AsSlice()), int(t.at.Port()), nil
}

// WriteTo sends a packet. As with UDP, no error means nothing.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return now, err
	}
	if t.closed() {
		return now, errClosed
	}
	b = slices.Clone(b)
	t.network.bytes.Add(uint64(len(b)))
	t.send(b, to)
	if t.network.twice() {
		t.send(slices.Clone(b), to)
	}
	return now, nil
}

// send is one try at delivering a packet.
func (t *Transport) send(b []byte, to netip.AddrPort) {
	_, latency, lost := t.network.reach(t.at, to, true)
	if lost {
		return
	}
	deliver := func() {
		// Who is there counts when the packet arrives, not when it leaves.
		if peer, _, _ := t.network.reach(t.at, to, false); peer != nil {
			peer.receive(b, t.at)
		}
	}
	if latency == 0 {
		deliver()
	} else {
		time.AfterFunc(latency, deliver)
	}
}

func (t *Transport) receive(b []byte, from netip.AddrPort) {
	if t.closed() {
		return
	}
	p := &memberlist.Packet{Buf: b, From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
	select {
	case t.packets <- p:
	default:
	}
}

// PacketCh yields the packets that arrive.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout opens a stream. A host that is cut off lets it time out, a dead one refuses it.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, t.dialError(nil, err)
	}
	remote := net.TCPAddrFromAddrPort(to)
	if !t.network.mutual(t.at.Addr(), to.Addr()) {
		if err := t.sleep(timeout); err != nil {
			return nil, t.dialError(remote, err)
		}
		return nil, t.dialError(remote, os.ErrDeadlineExceeded)
	}
	peer, latency, _ := t.network.reach(t.at, to, false)
	if err := t.sleep(latency); err != nil {
		return nil, t.dialError(remote, err)
	}
	if peer == nil || peer.closed() || t.closed() {
		return nil, t.dialError(remote, errRefused)
	}
	local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.at.Addr(), firstPort))
	a, b := net.Pipe()
	near := &conn{Conn: a, network: t.network, local: local, remote: remote}
	far := &conn{Conn: b, network: t.network, local: remote, remote: local}
	t.network.track(link{t.at.Addr(), to.Addr()}, near, far)
	select {
	case peer.streams <- far:
		return near, nil
	default:
		closeAll([]*conn{near, far})
		return nil, t.dialError(remote, errRefused)
	}
}

// dialError wraps err as package net would, since memberlist tells failures apart by that.
func (t *Transport) dialError(remote net.Addr, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: remote, Err: err}
}

func (t *Transport) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.done:
		return errClosed
	}
}

// StreamCh yields the streams that others open.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown takes the node off the network.
func (t *Transport) Shutdown() error {
	t.network.remove(t)
	t.close()
	return nil
}

func (t *Transport) close() {
	t.once.Do(func() { close(t.done) })
	for {
		select {
		case c := <-t.streams:
			_ = c.Close()
		default:
			return
		}
	}
}

func (t *Transport) closed() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}
