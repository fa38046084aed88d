package transport

import (
	"context"
	"sync"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Request is one request that a peer sent, to be answered with Reply.
type Request struct {
	// Message is what was asked. Its body is set, and nothing else refers to it.
	Message *pb.PeerRequest

	deadline time.Time
	session  *session
	size     int64

	mu      sync.Mutex
	ctx     context.Context // made when it is first asked for
	cancel  context.CancelFunc
	replied bool

	reply pb.PeerReply
}

// Deadline is when the caller stops waiting, by this node's monotonic clock.
func (r *Request) Deadline() time.Time { return r.deadline }

// Context ends at the deadline, with the reply, when the caller's stream breaks, and when the server is closed.
// It is made at the first call: who does not ask does not pay for it.
func (r *Request) Context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithDeadline(r.session.ctx, r.deadline)
		if r.replied {
			r.cancel()
		}
	}
	return r.ctx
}

// Reply answers the request. Every request must be answered, once, from any goroutine, also after Handle has returned:
// until then it holds its place among those in flight. Further replies are ignored. Of reply only Error and Body are
// used; what they refer to must not be modified afterwards. Reply never waits. A reply that comes after the deadline,
// or whose stream has broken, is dropped.
func (r *Request) Reply(reply *pb.PeerReply) {
	r.mu.Lock()
	if r.replied {
		r.mu.Unlock()
		return
	}
	r.replied = true
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	r.reply.Id = r.Message.Id
	r.reply.Error = reply.GetError()
	r.reply.Body = reply.GetBody()
	r.session.answer(r)
}

// Fail answers the request with an error.
func (r *Request) Fail(err *pb.PeerError) { r.Reply(&pb.PeerReply{Error: err}) }
