package transport

import (
	"context"
	"fmt"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// call is one request on its way. Until it is finished its stream owns it.
type call struct {
	// wire is what is sent: the caller's body under an id of ours, so that one body may go to many peers.
	wire     pb.PeerRequest
	size     int64
	deadline time.Time
	alone    bool // nobody watches the deadline but the stream
	queued   bool
	sent     bool // may have left this node

	prev, next *call // in the queue

	// done is told of the outcome, once, with no lock held.
	done func(*pb.PeerReply, error)
}

func newCall(req *pb.PeerRequest, size int, deadline time.Time, done func(*pb.PeerReply, error)) *call {
	c := &call{size: int64(size), deadline: deadline, done: done}
	c.wire.Epoch = req.Epoch
	c.wire.Body = req.Body
	return c
}

// finished are calls that are over, to be told so when no lock is held any more.
type finished []outcome

type outcome struct {
	call  *call
	reply *pb.PeerReply
	err   error
}

func (f *finished) add(c *call, reply *pb.PeerReply, err error) {
	*f = append(*f, outcome{c, reply, err})
}

func (f finished) tell() {
	for _, o := range f {
		o.call.done(o.reply, o.err)
	}
}

// queue is a list of calls that gives up any of them at once, so that expired ones hold no place.
type queue struct {
	first, last *call
	length      int
}

func (q *queue) push(c *call) {
	c.prev = q.last
	if q.last == nil {
		q.first = c
	} else {
		q.last.next = c
	}
	q.last = c
	q.length++
	c.queued = true
}

func (q *queue) remove(c *call) {
	if c.prev == nil {
		q.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	q.length--
	c.queued = false
}

// requestBody and replyBody are the oneofs of what is asked and answered: a request's field and its reply's have
// one number.
var (
	requestBody = (*pb.PeerRequest)(nil).ProtoReflect().Descriptor().Oneofs().ByName("body")
	replyBody   = (*pb.PeerReply)(nil).ProtoReflect().Descriptor().Oneofs().ByName("body")
)

func bodyNumber(m protoreflect.Message, body protoreflect.OneofDescriptor) protoreflect.FieldNumber {
	if f := m.WhichOneof(body); f != nil {
		return f.Number()
	}
	return 0
}

// outcome is what a peer's reply means to its caller: callers may rely on the reply's body being of their request's kind.
func (c *call) outcome(peer Peer, reply *pb.PeerReply) (*pb.PeerReply, error) {
	if reply.Error != nil {
		return nil, &PeerError{Peer: peer, Err: reply.Error}
	}
	switch c.wire.Body.(type) { // nearly all: reflection, below, takes more time than the rest of a reply
	case *pb.PeerRequest_Write:
		if _, ok := reply.Body.(*pb.PeerReply_Write); ok {
			return reply, nil
		}
	case *pb.PeerRequest_Read:
		if _, ok := reply.Body.(*pb.PeerReply_Read); ok {
			return reply, nil
		}
	}
	asked := bodyNumber(c.wire.ProtoReflect(), requestBody)
	if got := bodyNumber(reply.ProtoReflect(), replyBody); got != asked {
		return nil, &PeerError{Peer: peer, Err: &pb.PeerError{
			Reason:  reasonName(pb.Reason_REASON_INTERNAL),
			Message: fmt.Sprintf("a request of kind %d was answered with kind %d", asked, got),
		}}
	}
	return reply, nil
}

// bulkHint marks the VALUE_TOO_LARGE that a server answers to a read on the request stream whose reply belongs on
// the bulk stream.
const bulkHint = "ask_again_on"

func wantsBulk(err *pb.PeerError) bool { return err.GetMetadata()[bulkHint] == "bulk" }

func askOnBulk(size int) *pb.PeerError {
	return &pb.PeerError{
		Reason:   reasonName(pb.Reason_REASON_VALUE_TOO_LARGE),
		Message:  fmt.Sprintf("a reply of %d bytes belongs on the bulk stream", size),
		Metadata: map[string]string{bulkHint: "bulk"},
	}
}

// reads says whether a request only reads, so that asking it again is free of consequences.
func reads(r *pb.PeerRequest) bool {
	switch r.Body.(type) {
	case *pb.PeerRequest_Read, *pb.PeerRequest_Range, *pb.PeerRequest_ListHints, *pb.PeerRequest_PullState,
		*pb.PeerRequest_CompareRoots, *pb.PeerRequest_CompareNodes, *pb.PeerRequest_CompareItems:
		return true
	}
	return false
}

// requestSize is the length of a request's encoding, apart from the few bytes of its id and deadline.
func requestSize(r *pb.PeerRequest) int { return proto.Size(r) }

// withDeadline gives ctx the default timeout when it has no deadline of its own.
func withDeadline(ctx context.Context, timeout time.Duration) (context.Context, time.Time, context.CancelFunc) {
	if d, ok := ctx.Deadline(); ok {
		return ctx, d, func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	d, _ := ctx.Deadline()
	return ctx, d, cancel
}
