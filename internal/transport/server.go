package transport

import (
	"context"
	"sync"
	"time"

	"github.com/starling-db/starling/internal/workers"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Handler does what peers ask.
type Handler interface {
	// Handle is given all requests of one frame, on a goroutine of their own: it may block, and one that does
	// stands in nobody's way. It must answer each request, before or after it returns. ctx ends when the stream breaks
	// or the server is closed; hello is what the peer said of itself, not to be modified. A batch is never empty.
	Handle(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request) {
	f(ctx, from, hello, batch)
}

// Server answers peers: a pb.ReplicaServer, to be registered with a gRPC server made with ServerOptions.
type Server struct {
	pb.UnimplementedReplicaServer

	o       Options
	handler Handler
	load    load

	ctx    context.Context // ends in Close, and with it all sessions
	cancel context.CancelFunc

	mu      sync.Mutex
	closing bool
	wg      sync.WaitGroup // sessions and their readers

	workers *workers.Pool // Handle

	counters serverCounters
}

var _ pb.ReplicaServer = (*Server)(nil)

// keptWorkers bounds the goroutines that are kept for the next frames, and keptFor is for how long.
const (
	keptWorkers = 256
	keptFor     = 5 * time.Second
)

// NewServer returns a server. The options must have passed Validate.
func NewServer(o Options, h Handler) *Server {
	s := &Server{o: o.EnsureDefaults(), handler: h}
	s.load.maxCount, s.load.maxBytes = int64(s.o.ServerInFlight), s.o.ServerBytes
	s.load.idle = make(chan struct{}, 1)
	s.workers = workers.New(keptWorkers, keptFor)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Requests implements pb.ReplicaServer.
func (s *Server) Requests(st grpc.BidiStreamingServer[pb.Frame, pb.Frame]) error {
	return s.serve(st, false)
}

// Bulk implements pb.ReplicaServer.
func (s *Server) Bulk(st grpc.BidiStreamingServer[pb.Frame, pb.Frame]) error {
	return s.serve(st, true)
}

func (s *Server) serve(st serverStream, bulk bool) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return status.Error(codes.Unavailable, "the node is stopping")
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	s.counters.streams.Add(1)
	defer s.counters.streams.Add(-1)
	return newSession(s, st, bulk).run()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// Close takes no further streams and answers further requests NOT_READY; waits until those in flight are answered, or ctx
// ends; then ends all streams and waits for every goroutine, Handle included. It returns ctx's error when that came first.
// Call it before the gRPC server is stopped.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	err := s.load.wait(ctx)
	s.cancel()
	s.wg.Wait()
	s.workers.Close()
	return err
}

// load counts the requests of all streams that are taken and not yet answered.
type load struct {
	maxCount, maxBytes int64
	idle               chan struct{} // a token when the count has come to zero

	mu           sync.Mutex
	count, bytes int64
}

// take makes room for a request of so many bytes, or refuses. One that is larger than the whole budget may pass alone.
func (l *load) take(bytes int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= l.maxCount || (l.count > 0 && l.bytes+bytes > l.maxBytes) {
		return false
	}
	l.count++
	l.bytes += bytes
	return true
}

func (l *load) release(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count--
	l.bytes -= bytes
	if l.count == 0 {
		select {
		case l.idle <- struct{}{}:
		default:
		}
	}
}

func (l *load) now() (count, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.bytes
}

func (l *load) wait(ctx context.Context) error {
	for {
		if count, _ := l.now(); count == 0 {
			return nil
		}
		select {
		case <-l.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
