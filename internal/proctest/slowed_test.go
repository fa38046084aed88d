//go:build unix

package proctest

import (
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestLoadKilled kills one node of five under load: strict quorums at N=3 go on without it.
func TestLoadKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{})
	tr := newTraffic(c)
	// settle is how long operations may fail after the kill.
	const settle = 5 * time.Second
	lasts := settle + 3**loadTimeFlag
	result := make(chan phase, 1)
	begun := time.Now()
	go func() { result <- tr.closed(32, *loadTimeFlag+lasts) }()
	sleepUntil(t, begun.Add(*loadTimeFlag))
	killed := time.Now()
	c.Kill9(2)
	p := <-result

	window := p.during(killed, killed.Add(settle))
	after := p.during(killed.Add(settle), begun.Add(*loadTimeFlag+lasts))
	t.Logf("before:           %v", p.during(begun, killed))
	t.Logf("%v after kill: %v%s", settle, window, window.errors())
	t.Logf("from then on:     %v%s", after, after.errors())
	if after.share() < 0.999 {
		t.Errorf("%.3f %% of the operations succeeded with one node dead, want 99.9 %%", 100*after.share())
	}
}

// slow lets a node run for 1 ms of every 100 ms: disk, network and computing alike, a hundred times slower.
func (c *Cluster) slow(i int) (quick func()) {
	const runs, rests = time.Millisecond, 99 * time.Millisecond
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		n := c.nodes[i]
		defer func() { _ = n.Signal(syscall.SIGCONT) }() // one that has ended needs none
		for {
			if n.Signal(syscall.SIGSTOP) != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(rests):
			}
			if n.Signal(syscall.SIGCONT) != nil {
				return
			}
			time.Sleep(runs)
		}
	})
	quick = sync.OnceFunc(func() {
		close(stop)
		running.Wait()
	})
	c.t.Cleanup(quick)
	return quick
}

// TestLoadSlowed makes one node of five a hundred times slower, several times, and compares with the times between.
func TestLoadSlowed(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{})
	tr := newTraffic(c)
	const rounds, callers = 3, 32
	var rates, tails []float64
	for range rounds {
		healthy := tr.closed(callers, *loadTimeFlag)
		quick := c.slow(2)
		slowed := tr.closed(callers, *loadTimeFlag)
		quick()
		t.Logf("healthy:  %v%s", healthy, healthy.errors())
		t.Logf("one slow: %v%s", slowed, slowed.errors())
		rates = append(rates, slowed.rate()/healthy.rate())
		tails = append(tails, float64(slowed.percentile(0.99))/float64(healthy.percentile(0.99)))
		c.WaitReady()
		time.Sleep(2 * time.Second) // for the clients to find out as well
	}
	t.Logf("with one node slow: throughput %.2f times, p99 %.2f times that without; %.2f, %.2f", median(rates), median(tails), rates, tails)
	leastRate, mostTail := 0.5, 10.0
	if *strictFiguresFlag {
		leastRate, mostTail = 0.7, 3
	}
	if got := median(rates); got < leastRate {
		t.Errorf("throughput was %.2f times the healthy one, want %.2f", got, leastRate)
	}
	if got := median(tails); got > mostTail {
		t.Errorf("p99 was %.2f times the healthy one, want %.2f at most", got, mostTail)
	}
}
