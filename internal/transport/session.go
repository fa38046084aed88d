package transport

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

type serverStream = grpc.BidiStreamingServer[pb.Frame, pb.Frame]

// session is the answering side of one stream. Its goroutines: run, which is gRPC's own and only waits, so that it can
// return although the writer is stuck in a full window; a reader; a writer; and one for each frame that is being handled.
type session struct {
	server *Server
	o      *Options
	st     serverStream
	bulk   bool
	from   Peer
	hello  *pb.Hello // set before greeted is closed

	ctx    context.Context
	cancel context.CancelFunc

	inFlight atomic.Int64

	mu    sync.Mutex
	out   []outgoing // bounded: one for each request in flight, and the refusals of about two frames
	bytes int64      // of the bodies in out

	wake chan struct{} // something to write
	room chan struct{} // out has been emptied
}

// outgoing is a reply on its way; request is set when it holds a place among those in flight until it is sent.
type outgoing struct {
	reply   *pb.PeerReply
	size    int
	request *Request
}

func newSession(s *Server, st serverStream, bulk bool) *session {
	ss := &session{
		server: s, o: &s.o, st: st, bulk: bulk,
		wake: make(chan struct{}, 1),
		room: make(chan struct{}, 1),
	}
	if p, ok := peer.FromContext(st.Context()); ok {
		ss.from.Addr = p.Addr.String()
	}
	// Not only the stream's context: that ends when run returns, too late to make it return.
	ss.ctx, ss.cancel = context.WithCancel(s.ctx)
	return ss
}

// run serves the stream until either side ends it. Reader and writer end soon after, when gRPC has seen run return.
func (ss *session) run() error {
	defer ss.cancel()
	defer ss.abandon()
	greeted := make(chan error, 1)
	readErr := make(chan error, 1)
	ss.server.wg.Go(func() { readErr <- ss.read(greeted) })

	late := time.NewTimer(ss.o.ConnectTimeout)
	defer late.Stop()
	select {
	case err := <-greeted:
		if err != nil {
			return err
		}
	case <-late.C:
		return status.Error(codes.DeadlineExceeded, "no Hello came")
	case <-ss.ctx.Done():
		return errStopping
	}
	writeErr := make(chan error, 1)
	ss.server.wg.Go(func() { writeErr <- ss.write() })
	select {
	case err := <-readErr:
		return err
	case err := <-writeErr:
		return err
	case <-ss.ctx.Done():
		return errStopping
	}
}

var errStopping = status.Error(codes.Unavailable, "the node is stopping")

// read greets the peer, then hands its frames to the handler.
func (ss *session) read(greeted chan<- error) error {
	err := ss.greet()
	greeted <- err
	if err != nil {
		return err
	}
	for ss.waitForRoom() {
		in := incoming{limit: ss.o.MessageBytes}
		if err := ss.st.RecvMsg(&in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := ss.accept(&in); err != nil {
			return err
		}
	}
	return errStopping
}

// greet receives and judges the peer's Hello.
func (ss *session) greet() error {
	in := incoming{limit: helloBytes}
	if err := ss.st.RecvMsg(&in); err != nil {
		return err
	}
	h := in.frame.Hello
	if len(in.frame.Requests)+len(in.frame.Replies) > 0 {
		return ss.refuse(&RefusedError{Reason: reasonBadHello, Message: "the first frame must hold a Hello and nothing else"})
	}
	if _, refused := ss.o.Self().admit(h); refused != nil {
		return ss.refuse(refused)
	}
	ss.hello = h
	ss.from.ID = NodeID(h.NodeId)
	ss.o.OnWall(ss.from.ID, time.UnixMilli(h.WallMs).Sub(ss.o.Now()))
	return nil
}

func (ss *session) refuse(refused *RefusedError) error {
	ss.server.counters.hellosRefused.Add(1)
	ss.o.Logger.Warn("refused a peer", "addr", ss.from.Addr, "reason", refused.Reason, "error", refused.Message)
	return refused.toStatus()
}

// waitForRoom holds the reader back while refusals pile up: a peer that sends without reading is left to its own
// flow control.
func (ss *session) waitForRoom() bool {
	for {
		ss.mu.Lock()
		full := len(ss.out) > ss.o.InFlight
		ss.mu.Unlock()
		if !full {
			return ss.ctx.Err() == nil
		}
		select {
		case <-ss.room:
		case <-ss.ctx.Done():
			return false
		}
	}
}

// abandon frees the places of replies that will not be sent.
func (ss *session) abandon() {
	ss.cancel() // from here on answer keeps nothing
	for _, out := range ss.swap() {
		ss.release(out)
	}
}
