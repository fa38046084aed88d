package client

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/internal/frames"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// sessionStream is one session, from the attempt to its end, with the calls that were given to it. It takes calls while
// it still connects. Two goroutines: run, which owns it and writes, and a reader.
type sessionStream struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	dead    *status.Status // why, once it takes no more calls
	queue   []*sessionCall
	bytes   int // of the bodies in queue
	pending map[uint64]*sessionCall
	lastID  uint64

	wake chan struct{} // something to write, or room to write it
}

// submit takes a call, or says at once why not: nothing was sent then.
func (s *sessionStream) submit(c *sessionCall) error {
	if c.err != nil {
		return c.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil {
		return unsent(s.dead)
	}
	if len(s.queue) >= sessionQueue || s.bytes > 0 && s.bytes+len(c.body) > sessionQueueBytes {
		return &sessionError{status: status.New(codes.Unavailable, "too many calls wait for this node to take them")}
	}
	s.lastID++
	c.id = s.lastID
	s.queue = append(s.queue, c)
	s.bytes += len(c.body)
	s.signal()
	return nil
}

// abandon takes a call back. open is false when its outcome has been decided meanwhile.
func (s *sessionStream) abandon(c *sessionCall) (sent, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.sent {
		i := slices.Index(s.queue, c)
		if i < 0 {
			return false, false
		}
		s.queue = slices.Delete(s.queue, i, i+1)
		s.bytes -= len(c.body)
		return false, true
	}
	if s.pending[c.id] != c {
		return true, false
	}
	delete(s.pending, c.id)
	s.signal()
	return true, true
}

func (s *sessionStream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// unsent is how the end of a stream looks to a call that it never wrote.
func unsent(end *status.Status) error {
	if end.Code() == codes.Unimplemented {
		return errUnary
	}
	return &sessionError{status: end}
}

// unanswered is how it looks to a call that was written. A node that ends a session because it stops has done nothing of
// what it has not answered, and says so; after any other end nobody knows.
func unanswered(end *status.Status) error {
	switch {
	case end.Code() == codes.Unimplemented:
		return errUnary // gRPC says so before anything is read
	case newError("", "", end).Reason == reasonNotReady:
	default:
		end = status.New(end.Code(), end.Message()) // what the end of the session is for is no reason for the call
	}
	return &sessionError{status: end, sent: true}
}

// fail ends all calls and takes no further ones.
func (s *sessionStream) fail(end *status.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = end
	for _, c := range s.queue {
		c.finish(nil, unsent(end))
	}
	for _, c := range s.pending {
		c.finish(nil, unanswered(end))
	}
	s.queue, s.pending, s.bytes = nil, nil, 0
}

// converse returns why the stream ended.
func (s *sessionStream) converse(open func(context.Context) (sessionClient, error)) *status.Status {
	st, err := open(s.ctx)
	if err != nil {
		return endOf(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := s.read(st)
		s.cancel() // also when the writer waits
		ended <- err
	}()
	s.write(st)
	s.cancel()
	return endOf(<-ended) // the reader knows why a stream ended
}

// endOf is the status of a session that came to its end. What an end of the whole session is called tells nothing of
// its calls: they are to be tried elsewhere, as after a broken connection.
func endOf(err error) *status.Status {
	if errors.Is(err, io.EOF) {
		return status.New(codes.Unavailable, "the node closed the session")
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.Unavailable, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated:
		return st
	}
	return status.New(codes.Unavailable, "the session broke: "+st.Code().String()+": "+st.Message())
}

// write sends what waits, a frame at a time, until the stream ends.
func (s *sessionStream) write(st sessionClient) {
	for s.ctx.Err() == nil {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
		runtime.Gosched() // callers that are ready to run get their turn: their calls go along
		for {
			frame := s.take()
			if frame == nil {
				break
			}
			// Waits while the node's window is full: then the queue fills, and submit sheds.
			if err := st.SendMsg(&frames.Outgoing{Bytes: frame}); err != nil {
				return
			}
		}
	}
}

// take moves calls from the queue to those under way, as many as make a frame; nil if there is nothing to send. From here
// on they count as sent.
func (s *sessionStream) take() mem.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	count, bytes := 0, 0
	for _, c := range s.queue {
		more := len(c.body) + headBytes
		if count+len(s.pending) >= sessionCalls || count > 0 && bytes+more > sessionFrame {
			break
		}
		count++
		bytes += more
	}
	if count == 0 {
		return nil
	}
	calls := s.queue[:count]
	frame := frameOf(calls, bytes, time.Now())
	for _, c := range calls {
		s.bytes -= len(c.body)
		c.sent, c.body = true, nil
		s.pending[c.id] = c
	}
	left := copy(s.queue, s.queue[count:])
	clear(s.queue[left:])
	s.queue = s.queue[:left]
	return frame
}

// read hands replies to their callers until the stream ends.
func (s *sessionStream) read(st sessionClient) error {
	var done []*sessionCall
	for {
		frame, err := st.Recv()
		if err != nil {
			return err
		}
		done = s.match(frame.GetReplies(), done[:0])
		for _, c := range done {
			c.done <- struct{}{} // has room
		}
		clear(done)
	}
}

// match gives calls their replies. Those of calls that nobody waits for are dropped.
func (s *sessionStream) match(replies []*pb.SessionReply, done []*sessionCall) []*sessionCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 && len(s.pending) >= sessionCalls {
		s.signal()
	}
	for _, r := range replies {
		if c := s.pending[r.GetId()]; c != nil {
			delete(s.pending, r.GetId())
			c.reply = r
			done = append(done, c)
		}
	}
	return done
}
