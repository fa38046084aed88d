package client

import (
	"sync"
	"time"
)

// maxRoundTrip is the longest round trip whose sample of the server's clock is believed when a better
// one is there.
const maxRoundTrip = time.Second

// serverClock estimates the server's clock. Between samples it advances with the monotonic clock of
// this process, so that a local clock that is set, or wrong, does no harm.
type serverClock struct {
	now func() time.Time

	mu     sync.Mutex
	millis int64     // what the server's clock showed ...
	at     time.Time // ... at this time of ours; zero: no sample yet
}

// learn takes a sample: the server's clock was read between sent and received.
func (s *serverClock) learn(serverMillis int64, sent, received time.Time) {
	roundTrip := received.Sub(sent)
	s.mu.Lock()
	defer s.mu.Unlock()
	if serverMillis <= 0 || (roundTrip > maxRoundTrip && !s.at.IsZero()) {
		return
	}
	s.millis, s.at = serverMillis, sent.Add(roundTrip/2)
}

// nowMillis is the estimate, in milliseconds since 1970; the local clock while there was no sample.
func (s *serverClock) nowMillis() int64 {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() {
		return now.UnixMilli()
	}
	return s.millis + now.Sub(s.at).Milliseconds()
}
