package bench

import (
	"math/rand/v2"
	"sync"
	"time"
)

// schedule says when operations are meant to start. In a closed loop that is whenever a caller is free; in an open loop it
// is set beforehand, whoever is late. It is safe for concurrent use.
type schedule struct {
	start, end time.Time
	// gap is the mean time between operations; 0: a closed loop.
	gap time.Duration
	rng *rand.Rand // nil: the gaps are all the same

	mu   sync.Mutex
	next time.Time
}

// newSchedule begins at start and ends duration later; rate is in operations a second, 0 for a closed loop. A nil rng
// keeps the same pause between all operations; otherwise pauses are exponential, as arrivals of many independent users are.
func newSchedule(start time.Time, duration time.Duration, rate float64, rng *rand.Rand) *schedule {
	s := &schedule{start: start, end: start.Add(duration), rng: rng, next: start}
	if rate > 0 {
		s.gap = max(time.Duration(float64(time.Second)/rate), 1)
		s.next = start.Add(s.pause())
	}
	return s
}

func (s *schedule) pause() time.Duration {
	if s.rng == nil {
		return s.gap
	}
	return time.Duration(s.rng.ExpFloat64() * float64(s.gap))
}

// take returns when the next operation is meant to start; ok is false when there is none left, or no time to start it.
func (s *schedule) take(now time.Time) (intended time.Time, ok bool) {
	if s.gap == 0 {
		return now, now.Before(s.end)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now.Before(s.end) || !s.next.Before(s.end) {
		return time.Time{}, false
	}
	intended = s.next
	s.next = s.next.Add(s.pause())
	return intended, true
}

// maxDraws bounds the pauses that are drawn only to count what nobody took.
const maxDraws = 1_000_000

// missed counts the operations that were meant to start before until and that nobody took. Beyond a million it is what the
// rate makes of the rest of the time.
func (s *schedule) missed(until time.Time) (n uint64) {
	if s.gap == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end.Before(until) {
		until = s.end
	}
	for ; s.next.Before(until); n++ {
		if n == maxDraws {
			return n + uint64(until.Sub(s.next)/s.gap)
		}
		s.next = s.next.Add(s.pause())
	}
	return n
}
