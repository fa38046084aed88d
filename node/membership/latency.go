package membership

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// window is how many recent round trips the percentile is taken over.
	window = 64
	// enough is how many it needs at least, and after how many more it is taken anew.
	enough = 16
	// weight is the share, one in so many, that a new round trip has in the smoothed one.
	weight = 8
)

// latencies keeps a node's recent round trips. Readers take no lock.
type latencies struct {
	mean, high atomic.Int64 // nanoseconds; 0: unknown

	mu     sync.Mutex
	recent [window]time.Duration
	seen   int
}

func (l *latencies) smoothed() time.Duration { return time.Duration(l.mean.Load()) }
func (l *latencies) p95() time.Duration      { return time.Duration(l.high.Load()) }

// add takes one round trip in. Negative ones (a clock that was set back) count as nothing.
func (l *latencies) add(d time.Duration) {
	d = max(d, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if mean := l.mean.Load(); mean == 0 {
		l.mean.Store(int64(d))
	} else {
		l.mean.Store(max(mean+(int64(d)-mean)/weight, 1))
	}
	l.recent[l.seen%window] = d
	if l.seen++; l.seen%enough == 0 {
		sorted := slices.Clone(l.recent[:min(l.seen, window)])
		slices.Sort(sorted)
		l.high.Store(int64(sorted[(len(sorted)*95+99)/100-1]))
	}
}
