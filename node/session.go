package node

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/node/admission"
	"github.com/starling-db/starling/node/telemetry"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Bounds of a session, as kv.proto documents them.
const (
	maxSessionCalls   = 1024 // under way, and in a frame
	maxSessionFrame   = 1 << 20
	maxSessionFields  = 8
	maxSessionItem    = 1 << 20
	maxSessionReplies = 32 << 20
	// maxWaitingReplies bounds what waits for all sessions of the node, being sent included: whoever opens a thousand and
	// reads from none must not hold a thousand times as much.
	maxWaitingReplies = 256 << 20
	maxSessionTimeout = time.Hour
)

// session serves one stream of calls. Its goroutines: run, which is gRPC's own and only waits, so that it can return
// although the reader waits for the client, or the writer stands before a full window; reader and writer; and the
// node's workers, which carry out the calls.
type session struct {
	kv *kvService
	st grpc.BidiStreamingServer[pb.SessionRequests, pb.SessionReplies]

	ctx    context.Context // of the calls
	cancel context.CancelFunc
	calls  sync.WaitGroup // added to under mu, while not over

	mu       sync.Mutex
	inFlight map[uint64]struct{} // by id, until the reply is on its way
	out      []outgoing          // bounded: a reply for each call in flight, and the refusals of a frame or two
	bytes    int                 // of the replies in out
	draining bool                // no call is begun any more
	over     bool                // nor answered

	wake chan struct{} // the writer has something to do
	room chan struct{} // the reader may go on
}

// sessionCounts are what all sessions of a node have seen.
type sessionCounts struct {
	open          atomic.Int64
	frames, calls atomic.Uint64
}

func (n *Node) sessionFigures() telemetry.Sessions {
	c := &n.sessionCounts
	return telemetry.Sessions{Open: c.open.Load(), Waiting: n.waitingReplies.Load(), Frames: c.frames.Load(), Calls: c.calls.Load()}
}

// outgoing is a reply on its way; of a call that was begun, unless it is a refusal.
type outgoing struct {
	reply *pb.SessionReply
	size  int
	begun bool
}

// errDrained ends a session that has answered all.
var errDrained = errors.New("drained")

// Session serves a stream of calls.
func (s *kvService) Session(st grpc.BidiStreamingServer[pb.SessionRequests, pb.SessionReplies]) error {
	ss := &session{
		kv: s, st: st, inFlight: make(map[uint64]struct{}),
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	ss.ctx, ss.cancel = context.WithCancel(st.Context())
	s.n.sessionCounts.open.Add(1)
	defer s.n.sessionCounts.open.Add(-1)
	return ss.run()
}

// run serves until the client has closed its side or the node begins to stop, and all is answered; or until the stream
// breaks. Reader and writer end soon after, when gRPC has seen it return.
func (s *session) run() error {
	defer s.end()
	n := s.kv.n
	read, wrote := make(chan error, 1), make(chan error, 1)
	n.sessions.Go(func() { read <- s.read() })
	n.sessions.Go(func() { wrote <- s.write() })
	stopping := n.stopping.Done()
	var drained error // what the client is told then
	for {
		select {
		case err := <-read:
			if err != nil {
				return err
			}
			s.drain()
		case <-stopping:
			stopping = nil
			drained = notReady("node %s is stopping", n.cfg.Name)
			s.drain()
		case err := <-wrote:
			if errors.Is(err, errDrained) {
				return drained
			}
			return err
		case <-s.ctx.Done():
			return status.FromContextError(s.ctx.Err()).Err()
		}
	}
}

// drain begins no further call. The writer ends when those under way are answered.
func (s *session) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.signal()
}

// end breaks off what is under way and waits for it.
func (s *session) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.cancel()
	s.calls.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kv.n.waitingReplies.Add(-int64(s.bytes)) // nothing is queued any more
	s.bytes, s.out = 0, nil
}

func (s *session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// read takes frames until the client closes its side, which is nil, or the stream breaks.
func (s *session) read() error {
	for s.waitForRoom() {
		var in sessionFrame
		if err := s.st.RecvMsg(&in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if in.err != nil {
			return in.err
		}
		s.kv.n.sessionCounts.frames.Add(1)
		s.kv.n.sessionCounts.calls.Add(uint64(len(in.requests)))
		s.accept(in.requests)
	}
	return status.FromContextError(s.ctx.Err()).Err()
}

// waitForRoom holds the reader back while replies pile up: a client that sends without reading is left to its own flow
// control.
func (s *session) waitForRoom() bool {
	for {
		s.mu.Lock()
		full := len(s.out) >= maxSessionCalls
		s.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-s.room:
		case <-s.ctx.Done():
			return false
		}
	}
}

// accept refuses the calls that can't be begun, and gives the others to workers.
func (s *session) accept(requests []*pb.SessionRequest) {
	now := time.Now()
	for _, m := range s.admit(requests) {
		s.kv.n.workers.Go(func() {
			defer s.calls.Done()
			s.serve(m, now)
		})
	}
}

// admit returns the calls to begin, for each of which something is to be done in s.calls.
func (s *session) admit(requests []*pb.SessionRequest) (begun []*pb.SessionRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	begun = requests[:0]
	for _, m := range requests {
		if err := s.refusal(m); err != nil {
			s.out = append(s.out, outgoing{reply: failedReply(m, err)})
			continue
		}
		s.inFlight[m.GetId()] = struct{}{}
		begun = append(begun, m)
	}
	s.calls.Add(len(begun))
	if len(begun) < len(requests) {
		s.signal()
	}
	return begun
}

// refusal says why a call is not begun. The caller holds mu.
func (s *session) refusal(m *pb.SessionRequest) error {
	n := s.kv.n
	if s.draining {
		return notReady("node %s is stopping", n.cfg.Name)
	}
	if m.GetBody() == nil {
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a call without a body that this node knows")
	}
	if _, taken := s.inFlight[m.GetId()]; taken {
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "call %d is under way: an id is free again when the reply has come", m.GetId())
	}
	if used := len(s.inFlight); used >= maxSessionCalls {
		return n.overloaded(&admission.OverloadError{Bound: admission.Requests, InUse: int64(used), Limit: maxSessionCalls, Asked: 1})
	}
	return nil
}

// serve carries out a call, as if it had come by itself.
func (s *session) serve(m *pb.SessionRequest, read time.Time) {
	ctx := s.ctx
	if m.GetTimeoutUs() > 0 {
		timeout := min(m.GetTimeoutUs(), uint64(maxSessionTimeout.Microseconds()))
		ctx = dueContext{ctx, read.Add(time.Duration(timeout) * time.Microsecond)}
	}
	reply := &pb.SessionReply{Id: m.GetId()}
	var err error
	switch body := m.GetBody().(type) {
	case *pb.SessionRequest_Get:
		var got *pb.GetResponse
		got, err = s.kv.Get(ctx, body.Get)
		reply.Body = &pb.SessionReply_Get{Get: got}
	case *pb.SessionRequest_Put:
		var put *pb.PutResponse
		put, err = s.kv.Put(ctx, body.Put)
		reply.Body = &pb.SessionReply_Put{Put: put}
	case *pb.SessionRequest_Delete:
		var deleted *pb.DeleteResponse
		deleted, err = s.kv.Delete(ctx, body.Delete)
		reply.Body = &pb.SessionReply_Delete{Delete: deleted}
	}
	if err != nil {
		reply = failedReply(m, err)
	}
	s.answer(m, reply)
}

func failedReply(m *pb.SessionRequest, err error) *pb.SessionReply {
	return &pb.SessionReply{Id: m.GetId(), Error: status.Convert(err).Proto()}
}

// dueContext has a deadline that nothing enforces yet: begin makes the one context of a request, with a timer, from it.
type dueContext struct {
	context.Context
	due time.Time
}

// Deadline is when the caller stops waiting.
func (c dueContext) Deadline() (time.Time, bool) { return c.due, true }
