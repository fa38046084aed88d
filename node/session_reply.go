package node

import (
	"runtime"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/internal/frames"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// smallReply is the size up to which a reply has room in its session: their number is bounded.
	smallReply = 4 << 10
	// tinyReply is the size up to which a reply has room on the node, whatever waits there: a refusal takes no less.
	tinyReply = 256
)

// answer queues the reply of a call that was begun.
func (s *session) answer(m *pb.SessionRequest, reply *pb.SessionReply) {
	out := outgoing{reply: reply, size: proto.Size(reply), begun: true}
	if _, reads := m.GetBody().(*pb.SessionRequest_Get); reads && out.size > maxSessionItem {
		out = refusedReply(m, askByItself(out.size))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	waiting := &s.kv.n.waitingReplies
	sessionFull := out.size > smallReply && s.bytes > 0 && s.bytes+out.size > maxSessionReplies
	nodeFull := out.size > tinyReply && waiting.Load()+int64(out.size) > maxWaitingReplies
	if sessionFull || nodeFull {
		out = refusedReply(m, tooManyReplies(m))
	}
	s.out = append(s.out, out)
	s.bytes += out.size
	waiting.Add(int64(out.size))
	s.signal()
}

// refusedReply stands in for a reply that can't be sent.
func refusedReply(m *pb.SessionRequest, f *fault) outgoing {
	reply := failedReply(m, f)
	return outgoing{reply: reply, size: proto.Size(reply), begun: true}
}

// askByItself sends a large item out of the way of others.
func askByItself(size int) *fault {
	f := invalid(pb.Reason_REASON_VALUE_TOO_LARGE, "an item of %d bytes is too large for a session: ask for it by itself", size)
	f.metadata = map[string]string{"ask_again_by": "Get"}
	return f
}

// tooManyReplies is what becomes of a call whose reply has no room: of what may have been done the client must not think
// that it was not.
func tooManyReplies(m *pb.SessionRequest) *fault {
	f := &fault{
		code: codes.ResourceExhausted, reason: pb.Reason_REASON_OVERLOADED,
		message: "the replies that wait to be read hold too many bytes",
	}
	if _, reads := m.GetBody().(*pb.SessionRequest_Get); !reads {
		f.code, f.reason = codes.Unavailable, pb.Reason_REASON_OUTCOME_UNKNOWN
	}
	return f
}

// write sends what waits, a frame at a time, until the session is drained, which is errDrained, or breaks.
func (s *session) write() error {
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return status.FromContextError(s.ctx.Err()).Err()
		}
		runtime.Gosched() // workers that are about to answer get their turn: their replies go along
		for {
			frame, size, drained := s.take()
			if drained {
				return errDrained
			}
			if frame == nil {
				break
			}
			err := s.st.Send(frame)
			s.kv.n.waitingReplies.Add(-int64(size))
			if err != nil {
				return err
			}
		}
	}
}

// take returns the next frame and its size, nil if nothing waits; drained says that nothing ever will.
func (s *session) take() (frame *pb.SessionReplies, size int, drained bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) == 0 {
		// From here on nothing is read any more either, so that nothing is begun that would not be answered.
		s.over = s.over || s.draining && len(s.inFlight) == 0
		return nil, 0, s.over
	}
	count, size := s.frameOf()
	frame = &pb.SessionReplies{Replies: make([]*pb.SessionReply, count)}
	for i, out := range s.out[:count] {
		frame.Replies[i] = out.reply
		if out.begun {
			// Before it is sent: with the reply in hand the client may use the id again.
			delete(s.inFlight, out.reply.GetId())
		}
	}
	s.bytes -= size
	left := copy(s.out, s.out[count:])
	clear(s.out[left:])
	s.out = s.out[:left]
	select {
	case s.room <- struct{}{}:
	default:
	}
	return frame, size, false
}

// frameOf says how many of the waiting replies make the next frame, and how long they are.
func (s *session) frameOf() (count, size int) {
	for _, out := range s.out {
		if count > 0 && (count == maxSessionCalls || size+out.size > maxSessionFrame) {
			break
		}
		count++
		size += out.size
	}
	return count, size
}

// sessionFrame is a frame to receive. What is wrong with it ends the session with err, and not as gRPC would say it.
type sessionFrame struct {
	requests []*pb.SessionRequest
	err      error
}

// Receive implements frames.Incoming.
func (f *sessionFrame) Receive(b []byte) error {
	var err error
	if f.requests, err = decodeCalls(b); err != nil {
		f.err = invalid(pb.Reason_REASON_INVALID_ARGUMENT, "session: %v", err)
	}
	return nil
}

// requestsField is the number of SessionRequests.requests.
const requestsField = 1

// decodeCalls checks the bounds of a frame before anything of it is decoded.
func decodeCalls(b []byte) ([]*pb.SessionRequest, error) {
	most := maxSessionCalls
	if len(b) > maxSessionFrame {
		most = 1
	}
	err := frames.Walk(b, most, func(field protowire.Number, call []byte) error {
		if field != requestsField { // of a client that knows more
			return nil
		}
		return frames.Walk(call, maxSessionFields, nil)
	})
	if err != nil {
		return nil, err
	}
	var m pb.SessionRequests
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	return m.GetRequests(), nil
}
