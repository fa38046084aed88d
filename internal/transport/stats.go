package transport

import (
	"bytes"
	"slices"
	"sync/atomic"
)

// counters only grow, over all streams of a link.
type counters struct {
	attempts, connects                            atomic.Uint64
	overloads, lateReplies, clockRefused          atomic.Uint64
	framesSent, requests, framesReceived, replies atomic.Uint64
	bytesSent, bytesReceived                      atomic.Uint64
}

// LinkStats are the figures of one link: requests or bulk, to one peer. Counters run from the pool's start, or from
// when the peer was last forgotten.
type LinkStats struct {
	Peer      NodeID
	Bulk      bool
	Connected bool
	// Queued requests wait to be sent, InFlight ones for their reply; Bytes is what both hold.
	Queued, InFlight int
	Bytes            int64

	// Attempts to connect, and Connects that came to a Hello: all but the first are reconnections.
	Attempts, Connects uint64
	// Overloads are calls shed because the queue was full.
	Overloads uint64
	// LateReplies came when nobody waited any more; ClockRefused ones with an hlc too far ahead.
	LateReplies, ClockRefused uint64
	// RequestsSent / FramesSent is the mean size of a frame.
	FramesSent, RequestsSent, FramesReceived, RepliesReceived uint64
	// BytesSent and BytesReceived are those of the frames of requests and of replies.
	BytesSent, BytesReceived uint64
}

// Stats are the figures of all links, by peer, requests before bulk.
func (p *Pool) Stats() []LinkStats {
	p.mu.RLock()
	stats := make([]LinkStats, 0, len(p.links))
	for _, l := range p.links {
		stats = append(stats, l.stats())
	}
	p.mu.RUnlock()
	slices.SortFunc(stats, func(a, b LinkStats) int {
		if c := bytes.Compare(a.Peer[:], b.Peer[:]); c != 0 {
			return c
		}
		if a.Bulk == b.Bulk {
			return 0
		}
		if b.Bulk {
			return -1
		}
		return 1
	})
	return stats
}

func (l *link) stats() LinkStats {
	c := &l.counters
	st := LinkStats{
		Peer: l.key.id, Bulk: l.key.bulk,
		Attempts: c.attempts.Load(), Connects: c.connects.Load(),
		Overloads: c.overloads.Load(), LateReplies: c.lateReplies.Load(), ClockRefused: c.clockRefused.Load(),
		FramesSent: c.framesSent.Load(), RequestsSent: c.requests.Load(),
		FramesReceived: c.framesReceived.Load(), RepliesReceived: c.replies.Load(),
		BytesSent: c.bytesSent.Load(), BytesReceived: c.bytesReceived.Load(),
	}
	l.mu.Lock()
	cur := l.cur
	l.mu.Unlock()
	if cur != nil {
		cur.mu.Lock()
		st.Connected = cur.up.Load() && cur.dead == nil
		st.Queued, st.InFlight, st.Bytes = cur.queue.length, len(cur.pending), cur.bytes
		cur.mu.Unlock()
	}
	return st
}

// ServerStats are the figures of a Server. Counters run from its start.
type ServerStats struct {
	// Streams that are open; InFlight requests taken and not yet answered, with Bytes between them.
	Streams, InFlight, Bytes int64

	// HellosRefused are streams that were turned away.
	HellosRefused uint64
	// Requests / Frames is the mean size of a frame received.
	Frames, Requests uint64
	// Overloads are requests answered OVERLOADED by the transport; Expired ones dropped unstarted, or answered too late
	// for the reply to be worth sending; ClockRefused ones came with an hlc too far ahead.
	Overloads, Expired, ClockRefused uint64
}

type serverCounters struct {
	streams                          atomic.Int64
	hellosRefused, frames, requests  atomic.Uint64
	overloads, expired, clockRefused atomic.Uint64
}

// Stats are the present figures.
func (s *Server) Stats() ServerStats {
	c := &s.counters
	inFlight, bytes := s.load.now()
	return ServerStats{
		Streams: c.streams.Load(), InFlight: inFlight, Bytes: bytes,
		HellosRefused: c.hellosRefused.Load(), Frames: c.frames.Load(), Requests: c.requests.Load(),
		Overloads: c.overloads.Load(), Expired: c.expired.Load(), ClockRefused: c.clockRefused.Load(),
	}
}
