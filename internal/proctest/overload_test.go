//go:build unix

package proctest

import (
	"testing"
	"time"
)

// overloadMemory is the most that a node with the small buffers of these tests may take, in bytes.
const overloadMemory = 256 << 20

// TestLoadOver offers a cluster four times of what it can do, and wants it to do most of what it can, within bounded
// memory, and to be as before soon after.
func TestLoadOver(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	if raced {
		// Four times what the nodes do is more than the clients can even ask for then: their own work would be measured.
		t.Skip("the race detector slows down the clients, not the nodes, which are processes of their own")
	}
	c := New(t, Options{})
	tr := newTraffic(c)
	all, finish := sampleAll(c)
	const rounds, callers = 3, 128
	peak := tr.closed(callers, *loadTimeFlag).rate()
	calm := tr.open(peak/5, *loadTimeFlag)
	t.Logf("calm:  %v%s", calm, calm.errors())
	var shares []float64
	var recovered time.Duration
	for range rounds {
		full := tr.closed(callers, *loadTimeFlag)
		over := tr.open(4*full.rate(), *loadTimeFlag)
		t.Logf("peak:  %v%s", full, full.errors())
		t.Logf("over:  %v%s", over, over.errors())
		shares = append(shares, over.rate()/full.rate())
		recovered = max(recovered, recovery(t, tr, peak/5, calm))
	}
	finish()
	most := 0.0
	for _, s := range all {
		for _, row := range s.of {
			most = max(most, row[0])
		}
	}
	t.Logf("at 4 times the peak %.2f of it was done; %.2f", median(shares), shares)
	t.Logf("as calm as before %v after the load; a node took %.0f MiB at most", recovered.Round(time.Millisecond), most/(1<<20))
	least := 0.5
	if *strictFiguresFlag {
		least = 0.8
	}
	if got := median(shares); got < least {
		t.Errorf("at 4 times the peak %.2f of it was done, want %.2f", got, least)
	}
	if most > overloadMemory {
		t.Errorf("a node took %.0f MiB, want %d at most", most/(1<<20), overloadMemory>>20)
	}
}

// recovery waits until little load is served as it was before: all of it, in times like those then. One p99 of so few
// operations differs from the next, so it may be three times the other, or 50 ms.
func recovery(t *testing.T, tr *traffic, rate float64, before phase) time.Duration {
	t.Helper()
	const limit, window = 30 * time.Second, time.Second
	begun := time.Now()
	for {
		at := time.Now()
		now := tr.open(rate, window)
		if now.share() > 0.99 && now.percentile(0.99) <= max(3*before.percentile(0.99), 50*time.Millisecond) {
			return at.Sub(begun)
		}
		if time.Since(begun) > limit {
			t.Errorf("%v after the load: %v, and before it %v%s", limit, now, before, now.errors())
			return limit
		}
	}
}
