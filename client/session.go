package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Bounds of a session. The first two are the protocol's, as kv.proto documents them.
const (
	sessionCalls = 1024 // under way, and in a frame
	sessionFrame = 1 << 20
	// sessionQueue and sessionQueueBytes are what may wait while the node takes no more.
	sessionQueue      = 4096
	sessionQueueBytes = 64 << 20
	// maxInSession is the largest request that goes over a session: a larger one would stand in front of others.
	maxInSession = 256 << 10
	// unaryFor is how long calls go by themselves to a node that knows no sessions; largeFor is how long gets of a bucket
	// do after one whose reply was too large: the values of a bucket are often alike.
	unaryFor = time.Minute
	largeFor = 10 * time.Second
)

// sessions carries the calls to one node that are about one item: many on one stream, which costs both sides much less
// than a stream for each. It opens the stream with the first call, and anew with the first call after it broke; how soon
// a node that can't be reached is tried again is up to gRPC's connection.
type sessions struct {
	open func(ctx context.Context) (sessionClient, error)
	// running are the goroutines of all sessions of a pool.
	running *sync.WaitGroup
	// unaryUntil is the time until which the node gets no session, in nanoseconds since 1970.
	unaryUntil atomic.Int64
	// large are the buckets with large values: string -> time.Time until which their gets go by themselves.
	large sync.Map

	mu     sync.Mutex
	cur    *sessionStream // nil when there is none
	closed bool
}

type sessionClient = grpc.BidiStreamingClient[pb.SessionRequests, pb.SessionReplies]

// errUnary says that a call must be made by itself, since the node knows no sessions; errLargeReply, that a get must, since
// its reply would be too large for one.
var (
	errUnary      = errors.New("the node knows no sessions")
	errLargeReply = errors.New("the reply is too large for a session")
)

// errClosing is what a call is told when its connection is closed by this side.
var errClosing = status.New(codes.Canceled, "the connection is closing")

// sessionError is the end of a call that no reply came for, or a reply that is an error.
type sessionError struct {
	status *status.Status
	// sent: the request may have reached the node.
	sent bool
}

func (e *sessionError) Error() string { return e.status.String() }

// GRPCStatus lets callers see no difference to the error of a call by itself.
func (e *sessionError) GRPCStatus() *status.Status { return e.status }

// sentInSession reports whether a call over a session that failed may have reached its node.
func sentInSession(err error) bool {
	var e *sessionError
	return errors.As(err, &e) && e.sent
}

// Kinds of requests: the numbers of their fields in a SessionRequest.
const (
	kindOfGet    protowire.Number = 3
	kindOfPut    protowire.Number = 4
	kindOfDelete protowire.Number = 5
)

// sendGet, sendPut and sendDelete make one try of a call, over the session if it is fit for that.
func (e *endpoint) sendGet(ctx context.Context, r *pb.GetRequest, opts ...grpc.CallOption) (*pb.GetResponse, error) {
	if until, large := e.sessions.large.Load(r.GetBucket()); large {
		if time.Now().Before(until.(time.Time)) {
			return e.kv.Get(ctx, r, opts...)
		}
		e.sessions.large.Delete(r.GetBucket())
	}
	reply, err := send(ctx, e, kindOfGet, r, (*pb.SessionReply).GetGet, e.kv.Get, opts)
	if errors.Is(err, errLargeReply) {
		e.sessions.large.Store(r.GetBucket(), time.Now().Add(largeFor))
		return e.kv.Get(ctx, r, opts...)
	}
	return reply, err
}

func (e *endpoint) sendPut(ctx context.Context, r *pb.PutRequest, opts ...grpc.CallOption) (*pb.PutResponse, error) {
	return send(ctx, e, kindOfPut, r, (*pb.SessionReply).GetPut, e.kv.Put, opts)
}

func (e *endpoint) sendDelete(ctx context.Context, r *pb.DeleteRequest, opts ...grpc.CallOption) (*pb.DeleteResponse, error) {
	return send(ctx, e, kindOfDelete, r, (*pb.SessionReply).GetDelete, e.kv.Delete, opts)
}

func send[Q proto.Message, R any](ctx context.Context, e *endpoint, kind protowire.Number, request Q,
	body func(*pb.SessionReply) *R, alone func(context.Context, Q, ...grpc.CallOption) (*R, error), opts []grpc.CallOption,
) (*R, error) {
	size := proto.Size(request)
	if !e.sessions.takes(size) {
		return alone(ctx, request, opts...)
	}
	reply, err := e.sessions.do(ctx, newSessionCall(kind, request, size))
	if errors.Is(err, errUnary) {
		return alone(ctx, request, opts...)
	}
	if err != nil {
		return nil, err
	}
	if got := body(reply); got != nil {
		return got, nil
	}
	return nil, &sessionError{status: status.New(codes.Internal, "the node answered with a reply of another kind"), sent: true}
}

// takes reports whether a request of so many bytes goes over the session.
func (s *sessions) takes(size int) bool {
	if size > maxInSession {
		return false
	}
	until := s.unaryUntil.Load()
	return until == 0 || time.Now().UnixNano() >= until
}

// do makes a call and waits for its reply, until ctx ends: then the node goes on with it until the deadline that it was
// told, and its reply is dropped. An error is errUnary, errLargeReply or
// a *sessionError.
func (s *sessions) do(ctx context.Context, c *sessionCall) (*pb.SessionReply, error) {
	if err := ctx.Err(); err != nil {
		return nil, &sessionError{status: status.FromContextError(err)}
	}
	c.deadline, _ = ctx.Deadline()
	st, err := s.stream()
	if err != nil {
		return nil, err
	}
	if err := st.submit(c); err != nil {
		return nil, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if sent, open := st.abandon(c); open {
			return nil, &sessionError{status: status.FromContextError(ctx.Err()), sent: sent}
		}
		<-c.done
	}
	return c.outcome()
}

// stream returns the present stream, or begins one.
func (s *sessions) stream() (*sessionStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &sessionError{status: errClosing}
	}
	if s.cur == nil {
		st := &sessionStream{pending: make(map[uint64]*sessionCall), wake: make(chan struct{}, 1)}
		st.ctx, st.cancel = context.WithCancel(context.Background())
		s.cur = st
		s.running.Go(func() { s.run(st) })
	}
	return s.cur, nil
}

// run serves a stream until it breaks. Its calls are failed last, so that who tries again finds it gone.
func (s *sessions) run(st *sessionStream) {
	defer st.cancel()
	end := st.converse(s.open)
	s.mu.Lock()
	if s.cur == st {
		s.cur = nil
	}
	if s.closed {
		end = errClosing
	}
	s.mu.Unlock()
	if end.Code() == codes.Unimplemented {
		s.unaryUntil.Store(time.Now().Add(unaryFor).UnixNano())
	}
	st.fail(end)
}

// close ends the session. It does not wait for its goroutines.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.cur != nil {
		s.cur.cancel()
	}
}
