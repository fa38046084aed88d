// Package workers runs short functions on goroutines that are used again and again. A goroutine that serves a request
// grows its stack by copying it, several times over; one that has served a request before has a stack that fits.
package workers

import (
	"sync"
	"time"
)

// Pool keeps goroutines for reuse. It is safe for concurrent use.
//
// It does not bound how much runs at once: who calls Go does, as it knows what to answer to those for whom there is no
// room. It bounds how many goroutines are kept.
type Pool struct {
	max  int
	idle time.Duration

	mu    sync.Mutex
	count int // workers, free or not
	// free are the workers that wait, the one that worked last at the end: it is the next to work, so that the others
	// can be seen to be needed no more.
	free []worker
	// spare is how many workers have been free ever since the last sweep.
	spare    int
	sweeping *time.Timer // until the next sweep; nil while none is free
	closed   bool

	running sync.WaitGroup // workers, further goroutines, and the timer
}

// worker is where a goroutine gets its next function; closed, it ends. It has room for one, so that giving it to a worker
// that is free never waits.
type worker chan func()

// New returns a pool without goroutines. It keeps at most max of them, and ends those that have had nothing to do for idle,
// or up to twice as long. Without room for any, or time, Go is like a go statement.
func New(max int, idle time.Duration) *Pool {
	if idle <= 0 {
		max = 0
	}
	return &Pool{max: max, idle: idle}
}

// Go runs f on a worker that is free, or on a new one; or, while max workers are at work, on a goroutine of its own that
// ends with f. It never waits. Once Close is called only functions that the pool runs may call it.
func (p *Pool) Go(f func()) {
	p.mu.Lock()
	if last := len(p.free) - 1; last >= 0 {
		w := p.free[last]
		p.free[last] = nil
		p.free = p.free[:last]
		p.spare = min(p.spare, last)
		p.mu.Unlock()
		w <- f
		return
	}
	keep := p.count < p.max && !p.closed
	if keep {
		p.count++
	}
	p.mu.Unlock()
	if !keep {
		p.running.Go(f)
		return
	}
	w := make(worker, 1)
	w <- f
	p.running.Go(func() { p.work(w) })
}

// Close waits until every function has returned and every goroutine has ended.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.end(len(p.free))
	if p.sweeping != nil && p.sweeping.Stop() {
		p.sweeping = nil
		p.running.Done()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// work runs what the worker is given until it is ended.
func (p *Pool) work(w worker) {
	defer p.leave() // also when a function ends its goroutine
	for f := range w {
		f()
		if !p.rest(w) {
			return
		}
	}
}

func (p *Pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count--
}

// rest makes a worker free; false when the pool is closed.
func (p *Pool) rest(w worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.free = append(p.free, w)
	if p.sweeping == nil {
		p.spare = 0
		p.sweepLater()
	}
	return true
}

// sweepLater is called with mu held.
func (p *Pool) sweepLater() {
	p.running.Add(1)
	p.sweeping = time.AfterFunc(p.idle, p.sweep)
}

// sweep ends the workers that nothing was asked of since the last one. To look now and then costs less than a timer for
// each worker that would have to be set and stopped with every function.
func (p *Pool) sweep() {
	defer p.running.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = nil
	if p.closed {
		return
	}
	p.end(p.spare)
	p.spare = len(p.free)
	if p.spare > 0 {
		p.sweepLater()
	}
}

// end ends the n workers that have been free for longest. It is called with mu held.
func (p *Pool) end(n int) {
	for _, w := range p.free[:n] {
		close(w)
	}
	left := copy(p.free, p.free[n:])
	clear(p.free[left:])
	p.free = p.free[:left]
}
