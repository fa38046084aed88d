// Package heap keeps a server's heap near what its settings add up to. Go lets the heap grow to twice what lives: with
// caches and memtables that are full, which hardly ever change hands, that is much too much. A limit (GOMEMLIMIT) would be no
// better: when a burst of requests lives beyond it, half of all CPU time goes into collecting.
package heap

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// least and most bound the percentage by which the heap may outgrow what lives. At least that much keeps collections
	// rare enough even beyond the target; no more than Go's default keeps a burst from growing a heap that was small.
	least, most = 25, 100
	// every is how often the percentage is set anew.
	every = time.Second
)

// percent is GOGC's value with which a heap of which live bytes live grows to target.
func percent(live, target uint64) int {
	if live == 0 || target >= live+live/100*most {
		return most
	}
	if target <= live {
		return least
	}
	return max(least, int((target-live)*100/live))
}

// Chosen tells whether the process was started with a policy of its own, in GOGC or GOMEMLIMIT.
func Chosen() bool { return os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" }

// Keep keeps the heap near target bytes until ctx ends, and then puts back what was set before. It is for the one server of
// a process.
func Keep(ctx context.Context, target uint64) {
	before := debug.SetGCPercent(most)
	defer debug.SetGCPercent(before)
	now := most
	tick := time.NewTicker(every)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		metrics.Read(sample)
		// Setting it stops the world for a moment: not for a trifle.
		if next := percent(sample[0].Value.Uint64(), target); math.Abs(float64(next-now)) > float64(now)/10 {
			debug.SetGCPercent(next)
			now = next
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
