package transport

import (
	"context"
	"runtime"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// maxTimeout is the longest deadline that travels.
const maxTimeout = time.Hour

// write sends what waits, a frame at a time, until the stream ends.
func (s *stream) write(st clientStream) error {
	for {
		batch := s.take()
		if len(batch) == 0 {
			return context.Cause(s.ctx)
		}
		s.count.framesSent.Add(1)
		s.count.requests.Add(uint64(len(batch)))
		// Blocks while the peer's window is full: then the queue fills, and submit sheds.
		out := measured{frame: &pb.Frame{Hlc: s.o.HLC(), Requests: batch}}
		if err := st.SendMsg(&out); err != nil {
			return err
		}
		s.count.bytesSent.Add(uint64(out.size))
	}
}

// take waits for calls and returns the requests of the next frame; none when the stream has ended.
func (s *stream) take() []*pb.PeerRequest {
	for {
		if s.ctx.Err() != nil {
			return nil
		}
		if batch := s.drain(); len(batch) > 0 {
			return batch
		}
		select {
		case <-s.wake:
			s.gather()
		case <-s.ctx.Done():
			return nil
		}
	}
}

// gather lets company for a first request arrive: callers that are ready to run get their turn, and with a linger
// those of the next moment too.
func (s *stream) gather() {
	gather(s.ctx, s.o.Linger)
}

func gather(ctx context.Context, linger time.Duration) {
	if linger <= 0 {
		runtime.Gosched()
		return
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// drain moves calls from the queue to those under way, as many as make a frame. From here on they count as sent.
func (s *stream) drain() []*pb.PeerRequest {
	var over finished
	defer func() { over.tell() }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.length == 0 {
		return nil
	}
	now := time.Now()
	var bytes int64
	batch := make([]*pb.PeerRequest, 0, min(s.queue.length, s.o.FrameRequests))
	for len(batch) < s.o.FrameRequests && len(s.pending) < s.o.InFlight {
		c := s.queue.first
		if c == nil || (len(batch) > 0 && bytes+c.size > int64(s.o.FrameBytes)) {
			break
		}
		s.queue.remove(c)
		left := c.deadline.Sub(now)
		if left <= 0 {
			s.bytes -= c.size
			over.add(c, nil, &ExpiredError{Peer: s.peer, Err: context.DeadlineExceeded})
			continue
		}
		c.sent = true
		c.wire.TimeoutUs = uint64(max(1, min(left, maxTimeout).Microseconds()))
		s.pending[c.wire.Id] = c
		bytes += c.size
		batch = append(batch, &c.wire)
	}
	return batch
}
