package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/grpc"
)

// stream is one connection to a peer, from the attempt to its end, with the calls that were given to it. It takes
// calls while it still connects. Three goroutines: run, which owns it and writes, and a reader; gRPC's beside them.
type stream struct {
	link  *link
	o     *Options
	peer  Peer
	self  Identity // as of the handshake
	count *counters

	ctx    context.Context
	cancel context.CancelCauseFunc
	up     atomic.Bool // Hellos are exchanged
	useful atomic.Bool // a reply has come

	mu      sync.Mutex
	dead    error // why, once it takes no more calls
	queue   queue
	pending map[uint64]*call // sent, by id
	bytes   int64            // of calls in queue and pending
	lastID  uint64
	reaper  *time.Timer // runs at reapAt; nil while no call is alone
	reapAt  time.Time

	wake chan struct{} // something to write, or room to write it
}

type clientStream = grpc.BidiStreamingClient[pb.Frame, pb.Frame]

// submit takes a call, or says at once why not.
func (s *stream) submit(c *call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil {
		return connectError(s.peer, s.dead)
	}
	// A call larger than the whole budget may pass when it is alone.
	if s.queue.length >= s.o.QueueLength || (s.bytes > 0 && s.bytes+c.size > s.o.QueueBytes) {
		s.count.overloads.Add(1)
		return &OverloadError{Peer: s.peer, Waiting: s.queue.length, Bytes: s.bytes}
	}
	s.lastID++
	c.wire.Id = s.lastID
	s.queue.push(c)
	s.bytes += c.size
	if c.alone {
		s.reapBy(c.deadline)
	}
	s.signal()
	return nil
}

// abandon takes a call back from its stream. open is false when its outcome has been decided meanwhile.
func (s *stream) abandon(c *call) (sent, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.queued:
		s.queue.remove(c)
	case s.pending[c.wire.Id] == c:
		delete(s.pending, c.wire.Id)
		s.signal()
	default:
		return false, false
	}
	s.bytes -= c.size
	return c.sent, true
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run connects, carries calls until the stream breaks, and fails those that are left. The link hears of the end
// first, so that a caller that tries again meets the backoff or a new stream, not this one.
func (s *stream) run() {
	defer s.cancel(nil)
	err := s.converse()
	s.link.ended(s, err, s.useful.Load())
	s.fail(err)
}

// fail ends all calls and takes no further ones.
func (s *stream) fail(err error) {
	var over finished
	defer func() { over.tell() }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = err
	if s.reaper != nil {
		s.reaper.Stop()
	}
	for c := s.queue.first; c != nil; {
		next := c.next
		s.queue.remove(c)
		over.add(c, nil, connectError(s.peer, err))
		c = next
	}
	for id, c := range s.pending {
		delete(s.pending, id)
		over.add(c, nil, &UnreachableError{Peer: s.peer, Sent: true, Err: err})
	}
	s.bytes = 0
}

// converse returns why the stream ended.
func (s *stream) converse() error {
	s.count.attempts.Add(1)
	conn, err := dial(s.o, s.peer.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it only ever says that it was closed before
	st, err := s.open(conn)
	if err != nil {
		return err
	}
	s.count.connects.Add(1)
	s.up.Store(true)
	s.o.Logger.Info("connected to a peer", "peer", s.peer, "bulk", s.link.key.bulk)
	return s.pump(st)
}

// open starts the gRPC stream and exchanges Hellos, within ConnectTimeout.
func (s *stream) open(conn *grpc.ClientConn) (clientStream, error) {
	late := time.AfterFunc(s.o.ConnectTimeout, func() {
		s.cancel(fmt.Errorf("no connection within %v", s.o.ConnectTimeout))
	})
	st, err := s.handshake(conn)
	if !late.Stop() && err == nil {
		err = context.Cause(s.ctx)
	}
	if err != nil {
		if refused := refusalFrom(err, s.peer); refused != nil {
			return nil, refused
		}
		if cause := context.Cause(s.ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return st, nil
}

func (s *stream) handshake(conn *grpc.ClientConn) (clientStream, error) {
	begin := pb.NewReplicaClient(conn).Requests
	if s.link.key.bulk {
		begin = pb.NewReplicaClient(conn).Bulk
	}
	st, err := begin(s.ctx)
	if err != nil {
		return nil, err
	}
	asked := s.o.Now()
	// A failed Send says nothing: the reason comes with Recv.
	if err := st.Send(&pb.Frame{Hello: s.self.hello(s.peer.ID, asked), Hlc: s.o.HLC()}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	in := incoming{limit: helloBytes}
	if err := st.RecvMsg(&in); err != nil {
		return nil, err
	}
	answered := s.o.Now()
	h := in.frame.Hello
	if _, refused := s.self.admit(h); refused != nil {
		refused.Peer = s.peer
		return nil, refused
	}
	if NodeID(h.NodeId) != s.peer.ID {
		return nil, &RefusedError{Peer: s.peer, Reason: reasonWrongNode, Message: fmt.Sprintf("node %x answers at its address", h.NodeId)}
	}
	// Read half way between question and answer.
	middle := asked.Add(answered.Sub(asked) / 2)
	s.o.OnWall(s.peer.ID, time.UnixMilli(h.WallMs).Sub(middle))
	return st, nil
}

// pump writes and reads until either fails; the reader knows why a gRPC stream ended, the context why we ended it.
func (s *stream) pump(st clientStream) error {
	readErr := make(chan error, 1)
	go func() {
		err := s.read(st)
		s.cancel(err) // the first cause stays
		readErr <- err
	}()
	err := s.write(st)
	if !errors.Is(err, io.EOF) {
		s.cancel(err)
	}
	<-readErr
	return context.Cause(s.ctx)
}

// read hands replies to their callers.
func (s *stream) read(st clientStream) error {
	for {
		in := incoming{limit: s.o.MessageBytes}
		if err := st.RecvMsg(&in); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the peer closed the stream")
			}
			if refused := refusalFrom(err, s.peer); refused != nil {
				return refused // one side's cluster has changed since the Hello
			}
			return err
		}
		if in.frame.Hello != nil || len(in.frame.Requests) > 0 {
			return errors.New("the peer sent what only a caller may send")
		}
		s.count.bytesReceived.Add(uint64(in.size))
		s.deliver(in.frame)
	}
}

func (s *stream) deliver(f *pb.Frame) {
	clockErr := s.o.ObserveHLC(f.Hlc)
	s.useful.Store(true)
	s.count.framesReceived.Add(1)
	s.count.replies.Add(uint64(len(f.Replies)))
	over := make(finished, 0, len(f.Replies))
	defer func() { over.tell() }()
	s.mu.Lock()
	defer s.mu.Unlock()
	full := len(s.pending) >= s.o.InFlight
	for _, r := range f.Replies {
		c := s.pending[r.GetId()]
		if c == nil {
			s.count.lateReplies.Add(1)
			continue
		}
		delete(s.pending, r.Id)
		s.bytes -= c.size
		if clockErr != nil {
			s.count.clockRefused.Add(1)
			over.add(c, nil, &ClockError{Peer: s.peer, Err: clockErr})
			continue
		}
		reply, err := c.outcome(s.peer, r)
		over.add(c, reply, err)
	}
	if full && s.queue.length > 0 {
		s.signal()
	}
}
