package transport

import (
	"fmt"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/protobuf/proto"
)

// smallReply is the size up to which a reply always has room: their number is bounded.
const smallReply = 4 << 10

// answer queues a request's reply, or drops it when nobody waits for it any more.
func (ss *session) answer(r *Request) {
	out := outgoing{reply: &r.reply, request: r}
	if !time.Now().Before(r.deadline) {
		ss.server.counters.expired.Add(1)
		ss.release(out)
		return
	}
	out.size = proto.Size(&r.reply)
	if err := ss.tooLarge(r, out.size); err != nil {
		r.reply.Error, r.reply.Body = err, nil
		out.size = proto.Size(&r.reply)
	}
	if !ss.enqueue(out) {
		ss.release(out)
	}
}

func (ss *session) tooLarge(r *Request, size int) *pb.PeerError {
	switch limit := ss.o.MessageBytes - frameOverhead; {
	case size > limit:
		return peerError(pb.Reason_REASON_VALUE_TOO_LARGE, fmt.Sprintf("a reply of %d bytes is larger than the %d that nodes send each other", size, limit))
	case !ss.bulk && size >= ss.o.BulkThreshold && reads(r.Message):
		return askOnBulk(size)
	}
	return nil
}

// reject queues the refusal of a request that was never taken.
func (ss *session) reject(m *pb.PeerRequest, err *pb.PeerError) {
	ss.enqueue(outgoing{reply: &pb.PeerReply{Id: m.GetId(), Error: err}})
}

// enqueue says false when the session is over.
func (ss *session) enqueue(out outgoing) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ctx.Err() != nil {
		return false
	}
	if out.size > smallReply && ss.bytes > 0 && ss.bytes+int64(out.size) > ss.o.ReplyBytes {
		ss.server.counters.overloads.Add(1)
		// What only read may be asked again; of anything else the caller must not think that it was not done.
		reason := pb.Reason_REASON_OVERLOADED
		if out.request == nil || !reads(out.request.Message) {
			reason = pb.Reason_REASON_OUTCOME_UNKNOWN
		}
		out.reply.Body = nil
		out.reply.Error = peerError(reason, "the replies that wait for this stream hold too many bytes")
		out.size = 0
	}
	ss.bytes += int64(out.size)
	ss.out = append(ss.out, out)
	select {
	case ss.wake <- struct{}{}:
	default:
	}
	return true
}

// swap takes all waiting replies.
func (ss *session) swap() []outgoing {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	out := ss.out
	ss.out = nil
	return out
}

// write says Hello, then sends replies, a frame at a time, until the session ends.
func (ss *session) write() error {
	self := ss.o.Self()
	if err := ss.st.Send(&pb.Frame{Hlc: ss.o.HLC(), Hello: self.hello(ss.from.ID, ss.o.Now())}); err != nil {
		return err
	}
	for {
		select {
		case <-ss.ctx.Done():
			return errStopping
		case <-ss.wake:
		}
		gather(ss.ctx, ss.o.Linger)
		waiting := ss.swap()
		select {
		case ss.room <- struct{}{}:
		default:
		}
		for len(waiting) > 0 {
			n := ss.frameOf(waiting)
			err := ss.send(waiting[:n])
			waiting = waiting[n:]
			if err != nil {
				for _, out := range waiting {
					ss.release(out)
				}
				return err
			}
		}
	}
}

// frameOf says how many of the waiting replies make the next frame.
func (ss *session) frameOf(waiting []outgoing) int {
	bytes := 0
	for i, out := range waiting {
		if bytes += out.size; i > 0 && (i == ss.o.FrameRequests || bytes > ss.o.FrameBytes) {
			return i
		}
	}
	return len(waiting)
}

// send writes one frame and frees the places of its requests, sent or not.
func (ss *session) send(part []outgoing) error {
	f := &pb.Frame{Hlc: ss.o.HLC(), Replies: make([]*pb.PeerReply, len(part))}
	bytes := int64(0)
	for i, out := range part {
		f.Replies[i] = out.reply
		bytes += int64(out.size)
	}
	err := ss.st.Send(f)
	ss.mu.Lock()
	ss.bytes -= bytes
	ss.mu.Unlock()
	for _, out := range part {
		ss.release(out)
	}
	return err
}
