package client

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// maxMessageBytes bounds a gRPC message in either direction: the largest value with room for siblings.
	maxMessageBytes = 64 << 20
	// avoidFor is how long a node that could not be reached is tried last.
	avoidFor = time.Second
)

// endpoint is one node's client port.
type endpoint struct {
	addr    string
	conn    *grpc.ClientConn
	kv      pb.KVClient
	cluster pb.ClusterClient
	// avoid is the time until which other nodes are tried first, in nanoseconds since 1970.
	avoid atomic.Int64
}

func (e *endpoint) failed(now time.Time)       { e.avoid.Store(now.Add(avoidFor).UnixNano()) }
func (e *endpoint) answered()                  { e.avoid.Store(0) }
func (e *endpoint) avoided(now time.Time) bool { return now.UnixNano() < e.avoid.Load() }

// pool holds one endpoint per address. Connections are made when first used, and kept until the
// ring names their address no longer.
type pool struct {
	dial func(ctx context.Context, addr string) (net.Conn, error)

	mu        sync.Mutex
	endpoints map[string]*endpoint
	closed    bool
}

func newPool(dial func(ctx context.Context, addr string) (net.Conn, error)) *pool {
	return &pool{dial: dial, endpoints: make(map[string]*endpoint)}
}

// get returns the endpoint of an address; ErrClosed after close.
func (p *pool) get(addr string) (*endpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if e := p.endpoints[addr]; e != nil {
		return e, nil
	}
	conn, err := connect(addr, p.dial)
	if err != nil {
		return nil, err
	}
	e := &endpoint{addr: addr, conn: conn, kv: pb.NewKVClient(conn), cluster: pb.NewClusterClient(conn)}
	p.endpoints[addr] = e
	return e, nil
}

// avoided reports whether the node at an address failed a moment ago.
func (p *pool) avoided(addr string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.endpoints[addr]
	return e != nil && e.avoided(now)
}

// keep closes the endpoints whose address is not in the set. A call that is under way on one of
// them fails as if the node had gone, and is tried elsewhere.
func (p *pool) keep(addrs map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, e := range p.endpoints {
		if !addrs[addr] {
			delete(p.endpoints, addr)
			_ = e.conn.Close() // fails only when closed already
		}
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.keep(nil)
}

// connect is the one place where the client makes connections.
func connect(addr string, dial func(ctx context.Context, addr string) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithDisableServiceConfig(),
		// Tries are counted, spread over nodes and kept within a budget by this package alone.
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second,
			},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessageBytes),
			grpc.MaxCallSendMsgSize(maxMessageBytes),
		),
	)
}
