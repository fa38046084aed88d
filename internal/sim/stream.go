package sim

import (
	"net"
	"os"
	"sync"
	"time"
)

// window bounds what may be on its way in one direction of a connection; then writers wait, as for a kernel's buffers.
const window = 1 << 20

// stream is one direction of a connection: bytes in order, each chunk with the time at which it arrives.
type stream struct {
	network *network
	link    link

	mu            sync.Mutex
	chunks        []chunk
	size          int
	last          time.Time     // when the newest chunk arrives: none overtakes another
	final         error         // what reads return after the last chunk; nil: more may come
	broken        error         // set at once, for both ends
	deaf          bool          // the reading end was closed: what is written vanishes
	wake          chan struct{} // closed, and replaced, at every change
	readAt, wrote time.Time     // deadlines; zero: none
}

type chunk struct {
	at   time.Time
	data []byte
}

func newStream(n *network, l link) *stream {
	return &stream{network: n, link: l, wake: make(chan struct{})}
}

// change wakes whoever waits. The caller holds the lock.
func (s *stream) change() {
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *stream) write(b []byte) (int, error) {
	latency := s.network.latency(s.link)
	for {
		s.mu.Lock()
		switch {
		case s.broken != nil:
			defer s.mu.Unlock()
			return 0, s.broken
		case s.final != nil:
			defer s.mu.Unlock()
			return 0, net.ErrClosed
		case s.deaf:
			defer s.mu.Unlock()
			return len(b), nil
		case s.size < window:
			defer s.mu.Unlock()
			at := time.Now().Add(latency)
			if at.Before(s.last) {
				at = s.last
			}
			s.last = at
			s.chunks = append(s.chunks, chunk{at, append([]byte(nil), b...)})
			s.size += len(b)
			s.change()
			return len(b), nil
		}
		wake, deadline := s.wake, s.wrote
		s.mu.Unlock()
		if err := await(deadline, time.Time{}, wake, nil); err != nil {
			return 0, err
		}
	}
}

func (s *stream) read(b []byte) (int, error) {
	for {
		cut, whole := s.network.cut(s.link)
		s.mu.Lock()
		if s.broken != nil {
			defer s.mu.Unlock()
			return 0, s.broken
		}
		if s.deaf {
			defer s.mu.Unlock()
			return 0, net.ErrClosed
		}
		var next time.Time
		if !cut {
			whole = nil
			if len(s.chunks) == 0 && s.final != nil {
				defer s.mu.Unlock()
				return 0, s.final
			}
			if len(s.chunks) > 0 {
				if next = s.chunks[0].at; !next.After(time.Now()) {
					defer s.mu.Unlock()
					return s.take(b), nil
				}
			}
		}
		wake, deadline := s.wake, s.readAt
		s.mu.Unlock()
		if err := await(deadline, next, wake, whole); err != nil {
			return 0, err
		}
	}
}

// take copies what has arrived. The caller holds the lock.
func (s *stream) take(b []byte) (n int) {
	now := time.Now()
	for n < len(b) && len(s.chunks) > 0 && !s.chunks[0].at.After(now) {
		first := &s.chunks[0]
		k := copy(b[n:], first.data)
		n += k
		if first.data = first.data[k:]; len(first.data) == 0 {
			s.chunks = s.chunks[1:]
		}
	}
	if s.size >= window {
		s.change()
	}
	s.size -= n
	return n
}

// await waits for a time, a change of the stream or of the network, or fails at the deadline.
func await(deadline, until time.Time, wake, whole <-chan struct{}) error {
	var timer <-chan time.Time
	at := until
	if !deadline.IsZero() && (at.IsZero() || deadline.Before(at)) {
		at = deadline
	}
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-wake:
	case <-whole:
	case <-timer:
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// end lets what was written arrive, and then the error.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final == nil {
		s.final = err
		s.change()
	}
}

// abandon ends reading. The writer does not learn of it from this stream: as over TCP, the news travels in the other
// one. (A gRPC client whose writes fail while its reads still wait tries again without a pause, and the time of the
// bubble stands still.)
func (s *stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = true
	s.chunks, s.size = nil, 0
	s.change()
}

// fail breaks the stream at once.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
		s.chunks, s.size = nil, 0
		s.change()
	}
}

func (s *stream) readBy(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readAt = t
	s.change()
}

func (s *stream) writeBy(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = t
	s.change()
}
