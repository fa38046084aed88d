//go:build unix

package proctest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxies stand between a client and the nodes, one TCP proxy for each address that the client dials. Armed, they
// let requests through and cut the connection instead of passing the next reply on.
type proxies struct {
	t     testing.TB
	armed atomic.Bool
	cuts  atomic.Int64

	mu        sync.Mutex
	listeners map[string]net.Listener // by the node's address
	conns     []net.Conn
	running   sync.WaitGroup
}

func newProxies(t testing.TB) *proxies {
	p := &proxies{t: t, listeners: make(map[string]net.Listener)}
	t.Cleanup(p.close)
	return p
}

// dial is for client.DialWith.
func (p *proxies) dial(ctx context.Context, addr string) (net.Conn, error) {
	lis, err := p.listener(addr)
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", lis.Addr().String())
}

func (p *proxies) listener(addr string) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lis := p.listeners[addr]; lis != nil {
		return lis, nil
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.listeners[addr] = lis
	p.running.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return // closed
			}
			p.running.Go(func() { p.serve(in, addr) })
		}
	})
	return lis, nil
}

// serve carries one connection until either side or the proxy ends it.
func (p *proxies) serve(in net.Conn, addr string) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	p.mu.Lock()
	p.conns = append(p.conns, in, out)
	p.mu.Unlock()
	up := make(chan struct{})
	go func() { // ends with either connection, both of which serve closes
		defer close(up)
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	p.passReplies(in, out)
	_ = in.Close()
	_ = out.Close()
	<-up
}

const (
	frameHeader = 9 // of HTTP/2: length (3), type, flags, stream (4)
	// The types of the frames that replies consist of: data alone on a session that has answered before.
	frameData    = 0
	frameHeaders = 1
)

// passReplies copies HTTP/2 frames, whole ones only, so that it can tell a reply from what keeps a connection going.
func (p *proxies) passReplies(to io.Writer, from io.Reader) {
	for {
		var head [frameHeader]byte
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		if (head[3] == frameHeaders || head[3] == frameData) && p.armed.CompareAndSwap(true, false) {
			p.cuts.Add(1)
			return
		}
		if _, err := to.Write(head[:]); err != nil {
			return
		}
		size := int64(binary.BigEndian.Uint32(head[:]) >> 8)
		if _, err := io.CopyN(to, from, size); err != nil {
			return
		}
	}
}

func (p *proxies) close() {
	p.mu.Lock()
	for _, lis := range p.listeners {
		_ = lis.Close()
	}
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}
