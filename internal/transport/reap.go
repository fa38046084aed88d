package transport

import (
	"context"
	"time"
)

// reapEvery is how late a call whose deadline nobody else watches may end. One timer does for all calls of a stream,
// and as nearly all are answered long before, it hardly ever runs.
const reapEvery = 20 * time.Millisecond

// reapBy sees to it that the reaper runs soon after t. It is called with s.mu held.
func (s *stream) reapBy(t time.Time) {
	if s.reaper != nil && !t.Before(s.reapAt) {
		return
	}
	s.reapAt = t
	wait := time.Until(t) + reapEvery/2
	if s.reaper == nil {
		s.reaper = time.AfterFunc(wait, s.reap)
	} else {
		s.reaper.Reset(wait)
	}
}

// reap ends the calls whose deadline has passed.
func (s *stream) reap() {
	var over finished
	defer func() { over.tell() }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil {
		return // fail has told them
	}
	now := time.Now()
	var next time.Time
	keep := func(c *call) bool {
		if !c.alone || now.Before(c.deadline) {
			if c.alone && (next.IsZero() || c.deadline.Before(next)) {
				next = c.deadline
			}
			return true
		}
		s.bytes -= c.size
		over.add(c, nil, &ExpiredError{Peer: s.peer, Sent: c.sent, Err: context.DeadlineExceeded})
		return false
	}
	for c := s.queue.first; c != nil; {
		following := c.next
		if !keep(c) {
			s.queue.remove(c)
		}
		c = following
	}
	for id, c := range s.pending {
		if !keep(c) {
			delete(s.pending, id)
		}
	}
	s.reaper = nil
	if !next.IsZero() {
		s.reapBy(maxTime(next, now.Add(reapEvery/2)))
	}
	s.signal() // there may be room to write
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
