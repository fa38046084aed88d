package storage

import "sync/atomic"

// gate counts operations under way and lets none in once it closes: Pebble must not be touched after its
// Close.
type gate struct {
	n       *atomic.Int64 // operations, and gateClosed
	drained chan struct{}
}

const gateClosed = 1 << 62

func newGate() gate { return gate{n: new(atomic.Int64), drained: make(chan struct{}, 1)} }

func (g gate) enter() error {
	if g.n.Add(1)&gateClosed != 0 {
		g.leave()
		return ErrClosed
	}
	return nil
}

func (g gate) leave() {
	if g.n.Add(-1) == gateClosed {
		// Latecomers that only look in and leave may get here more than once; one signal is enough.
		select {
		case g.drained <- struct{}{}:
		default:
		}
	}
}

// close lets nobody in any more and waits until all have left. It returns false if it was called before.
func (g gate) close() bool {
	for {
		n := g.n.Load()
		if n&gateClosed != 0 {
			return false
		}
		if g.n.CompareAndSwap(n, n|gateClosed) {
			if n > 0 {
				<-g.drained
			}
			return true
		}
	}
}
