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

	"github.com/starling-db/starling/internal/frames"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// maxMessageBytes bounds a gRPC message in either direction: the largest value with room for siblings.
	maxMessageBytes = 64 << 20
	streamWindow    = 4 << 20
	connWindow      = 16 << 20
	ioBuffer        = 64 << 10
	// avoidFor is how long a node that could not be reached is tried last.
	avoidFor = time.Second
)

// endpoint is one node's client port.
type endpoint struct {
	addr     string
	conn     *grpc.ClientConn
	kv       pb.KVClient
	cluster  pb.ClusterClient
	sessions sessions
	// avoid is the time until which other nodes are tried first, in nanoseconds since 1970.
	avoid atomic.Int64

	mu       sync.Mutex
	standing standing // guarded by mu
	reads    quantile // of the times of gets; guarded by mu
}

func (e *endpoint) failed(now time.Time) { e.avoid.Store(now.Add(avoidFor).UnixNano()) }
func (e *endpoint) answered()            { e.avoid.Store(0) }

// avoided reports whether other nodes are tried first: the node failed a moment ago, or is slow.
func (e *endpoint) avoided(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.standing.aside || now.UnixNano() < e.avoid.Load()
}

// took notes how long a try about one item took, whatever came of it.
func (e *endpoint) took(d, typical time.Duration, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.standing.took(d, typical, now)
}

// pool holds one endpoint per address. Connections are made when first used, and kept until the
// ring names their address no longer.
type pool struct {
	dial func(ctx context.Context, addr string) (net.Conn, error)

	mu        sync.Mutex
	endpoints map[string]*endpoint
	closed    bool

	running sync.WaitGroup // goroutines of sessions
	usual   typicalTime
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
	e.sessions.running = &p.running
	e.sessions.open = func(ctx context.Context) (sessionClient, error) {
		return e.kv.Session(ctx, grpc.ForceCodecV2(frames.NewCodec()))
	}
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

// usualTimes are what the nodes usually take, of those that have answered.
func (p *pool) usualTimes() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := make([]time.Duration, 0, len(p.endpoints))
	for _, e := range p.endpoints {
		e.mu.Lock()
		if e.standing.usual > 0 {
			times = append(times, e.standing.usual)
		}
		e.mu.Unlock()
	}
	return times
}

// due are the nodes that are set aside and should be tried out.
func (p *pool) due(now time.Time) (due []*endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		e.mu.Lock()
		if e.standing.aside && !now.Before(e.standing.due) {
			due = append(due, e)
		}
		e.mu.Unlock()
	}
	return due
}

// keep closes the endpoints whose address is not in the set. A call that is under way on one of
// them fails as if the node had gone, and is tried elsewhere.
func (p *pool) keep(addrs map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, e := range p.endpoints {
		if !addrs[addr] {
			delete(p.endpoints, addr)
			e.sessions.close()
			_ = e.conn.Close() // fails only when closed already
		}
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.keep(nil)
	p.running.Wait()
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
		// Windows that stay as they are: to find better ones gRPC sends a ping with nearly every round of frames.
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessageBytes),
			grpc.MaxCallSendMsgSize(maxMessageBytes),
		),
	)
}
