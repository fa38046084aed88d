package workers

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sizes are the workers of a pool, and those that are free.
func (p *Pool) sizes() (count, free int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, len(p.free)
}

func wantSizes(t *testing.T, p *Pool, count, free int) {
	t.Helper()
	if c, f := p.sizes(); c != count || f != free {
		t.Errorf("%d workers of which %d are free, want %d and %d", c, f, count, free)
	}
}

// run runs n functions at once and waits until all have ended and their workers rest.
func run(p *Pool, n int) {
	release := make(chan struct{})
	for range n {
		p.Go(func() { <-release })
	}
	synctest.Wait()
	close(release)
	synctest.Wait()
}

func TestWorkersAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(8, time.Minute)
		defer p.Close()
		ids := make(map[string]bool)
		for range 100 {
			p.Go(func() { ids[goroutine()] = true })
			synctest.Wait()
		}
		if len(ids) != 1 {
			t.Errorf("%d goroutines for functions one after the other", len(ids))
		}
		wantSizes(t, p, 1, 1)
	})
}

// goroutine is the head of the stack's trace, which names the goroutine that asks.
func goroutine() string {
	var b [64]byte
	head := string(b[:runtime.Stack(b[:], false)])
	for i := range head {
		if head[i] == '[' {
			return head[:i]
		}
	}
	return head
}

// What is beyond the bound runs at once all the same, and nothing of it is kept.
func TestNoMoreThanMaxAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(3, time.Minute)
		defer p.Close()
		var started atomic.Int32
		release := make(chan struct{})
		for range 10 {
			p.Go(func() { started.Add(1); <-release })
		}
		synctest.Wait()
		if started.Load() != 10 {
			t.Errorf("%d of 10 functions have begun", started.Load())
		}
		wantSizes(t, p, 3, 0)
		close(release)
		synctest.Wait()
		wantSizes(t, p, 3, 3)
	})
}

func TestIdleWorkersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Second
		p := New(8, idle)
		defer p.Close()
		run(p, 8)
		wantSizes(t, p, 8, 8)
		// Two are enough for what comes: they stay, however long it takes, and the six others end.
		for range 40 {
			time.Sleep(idle / 10)
			run(p, 2)
		}
		wantSizes(t, p, 2, 2)
		time.Sleep(3 * idle)
		wantSizes(t, p, 0, 0)
		// And all begins anew.
		run(p, 4)
		wantSizes(t, p, 4, 4)
	})
}

// A worker that just came to rest stays for idle at least.
func TestWorkersStayForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Second
		p := New(8, idle)
		defer p.Close()
		run(p, 1) // the sweeps begin
		time.Sleep(idle - time.Millisecond)
		run(p, 5)
		time.Sleep(idle - time.Millisecond) // one sweep
		wantSizes(t, p, 5, 5)
	})
}

func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(2, time.Minute)
		run(p, 2)
		var ended atomic.Int32
		for range 5 { // two on workers, three beside them
			p.Go(func() {
				time.Sleep(time.Second)
				p.Go(func() { // what still runs may ask for more
					time.Sleep(time.Second)
					ended.Add(1)
				})
			})
		}
		p.Close()
		if ended.Load() != 5 {
			t.Errorf("Close returned after %d of 5 functions", ended.Load())
		}
		wantSizes(t, p, 0, 0)
	})
}

// A function that ends its goroutine, as a failing test does, takes its worker with it, no more.
func TestGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1, time.Minute)
		defer p.Close()
		for range 3 {
			p.Go(runtime.Goexit)
			synctest.Wait()
			wantSizes(t, p, 0, 0)
		}
		run(p, 1)
		wantSizes(t, p, 1, 1)
	})
}

func TestNothingIsKeptWithoutRoomOrTime(t *testing.T) {
	for _, p := range []*Pool{New(0, time.Second), New(4, 0)} {
		done := make(chan struct{})
		p.Go(func() { close(done) })
		<-done
		wantSizes(t, p, 0, 0)
		p.Close()
	}
}

// Everything runs, once, while workers come and go.
func TestCrowd(t *testing.T) {
	p := New(4, time.Millisecond)
	const callers, each = 8, 2000
	var ran [callers * each]atomic.Int32
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				p.Go(func() { ran[c*each+i].Add(1) })
				if i%500 == 0 {
					time.Sleep(2 * time.Millisecond) // some workers are ended
				}
			}
		})
	}
	wg.Wait()
	p.Close()
	for i := range ran {
		if n := ran[i].Load(); n != 1 {
			t.Fatalf("function %d ran %d times", i, n)
		}
	}
}

// deep needs more stack than a goroutine begins with.
//
//go:noinline
func deep(n int) byte {
	var frame [512]byte
	frame[n%len(frame)] = byte(n)
	if n == 0 {
		return frame[0]
	}
	return frame[n%len(frame)] + deep(n-1)
}

func benchmark(b *testing.B, run func(f func())) {
	var wg sync.WaitGroup
	for b.Loop() {
		for range 64 {
			wg.Add(1)
			run(func() { deep(20); wg.Done() })
		}
		wg.Wait()
	}
}

func BenchmarkGoStatement(b *testing.B) { benchmark(b, func(f func()) { go f() }) }

func BenchmarkPool(b *testing.B) {
	p := New(1024, time.Second)
	defer p.Close()
	benchmark(b, p.Go)
}
