package transport

import (
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// accept answers the requests of a frame that can't be taken and hands the others to the handler. An error ends the
// stream.
func (ss *session) accept(in *incoming) error {
	f := in.frame
	if f.Hello != nil || len(f.Replies) > 0 || len(f.Requests) == 0 {
		return (&RefusedError{Reason: reasonBadHello, Message: "a frame after the first holds requests and nothing else"}).toStatus()
	}
	// Judged at every frame: this node may have been taken into a cluster, or recovered into another incarnation,
	// since the stream was opened.
	self := ss.o.Self()
	founding, refused := self.admit(ss.hello)
	if refused != nil {
		return ss.refuse(refused)
	}
	count := &ss.server.counters
	count.frames.Add(1)
	count.requests.Add(uint64(len(f.Requests)))
	now := time.Now()
	gate := gate{closing: ss.server.isClosing(), founding: founding, candidate: len(self.ClusterID) == 0}
	if err := ss.o.ObserveHLC(f.Hlc); err != nil {
		count.clockRefused.Add(uint64(len(f.Requests)))
		gate.clock = err
	}

	taken := make([]Request, len(f.Requests))
	batch := make([]*Request, 0, len(f.Requests))
	size := int64(in.size / len(f.Requests)) // the frame's bytes in equal parts: their sum is what counts
	for i, m := range f.Requests {
		if err := gate.refuses(m); err != nil {
			ss.reject(m, err)
			continue
		}
		if !ss.take(size) {
			count.overloads.Add(1)
			ss.reject(m, peerError(pb.Reason_REASON_OVERLOADED, "too many requests are in flight: try again later"))
			continue
		}
		r := &taken[i]
		r.Message, r.session, r.size = m, ss, size
		r.deadline = now.Add(timeout(m))
		batch = append(batch, r)
	}
	if len(batch) > 0 {
		ss.server.workers.Go(func() { ss.handle(batch) })
	}
	return nil
}

// timeout is how long the caller still waits, counted from when the frame was read. What the frame spent on its way, or
// in the buffers of a node that was stopped, is not seen: clocks of two nodes can't be compared finely enough. Windows and
// bounds keep such stale work small.
func timeout(m *pb.PeerRequest) time.Duration {
	return time.Duration(min(m.TimeoutUs, uint64(maxTimeout.Microseconds()))) * time.Microsecond
}

// handle runs the handler on what has not expired meanwhile: work that nobody waits for is not begun.
func (ss *session) handle(batch []*Request) {
	now := time.Now()
	live := batch[:0]
	for _, r := range batch {
		if now.Before(r.deadline) {
			live = append(live, r)
			continue
		}
		ss.server.counters.expired.Add(1)
		ss.release(outgoing{request: r})
	}
	if len(live) > 0 {
		ss.server.handler.Handle(ss.ctx, ss.from, ss.hello, live)
	}
}

// take claims a place among the requests in flight, of this stream and of all.
func (ss *session) take(size int64) bool {
	if ss.inFlight.Load() >= int64(ss.o.InFlight) || !ss.server.load.take(size) {
		return false
	}
	ss.inFlight.Add(1) // by the reader alone, so the check above holds
	return true
}

func (ss *session) release(out outgoing) {
	if out.request != nil {
		ss.inFlight.Add(-1)
		ss.server.load.release(out.request.size)
	}
}

// gate is what turns requests away before they cost anything.
type gate struct {
	closing   bool
	founding  bool  // one side has no cluster id yet
	candidate bool  // this side has none
	clock     error // the frame's hlc was refused
}

func (g gate) refuses(m *pb.PeerRequest) *pb.PeerError {
	switch {
	case m.GetBody() == nil:
		return peerError(pb.Reason_REASON_INVALID_ARGUMENT, "a request without a body that this node knows: upgrade the older node")
	case m.TimeoutUs == 0:
		return peerError(pb.Reason_REASON_INVALID_ARGUMENT, "a request without a deadline")
	case g.closing:
		return peerError(pb.Reason_REASON_NOT_READY, "the node is stopping")
	case g.clock != nil:
		return peerError(pb.Reason_REASON_CLOCK_OFFSET, g.clock.Error())
	case g.founding && !foundsClusters(m) && g.candidate:
		return peerError(pb.Reason_REASON_NOT_READY, "no cluster has taken this node in yet")
	case g.founding && !foundsClusters(m):
		return peerError(pb.Reason_REASON_WRONG_CLUSTER, "no cluster has taken the caller in yet")
	}
	return nil
}

func peerError(reason pb.Reason, message string) *pb.PeerError {
	return &pb.PeerError{Reason: reasonName(reason), Message: message}
}
