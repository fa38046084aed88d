// Package admission bounds the requests that a node runs at once, by number and by bytes. Beyond a bound a
// request is refused at once: waiting would only move the queue to where nobody counts it.
package admission

import (
	"fmt"
	"sync/atomic"
)

// Gate lets requests in. Its methods are safe for concurrent use and take no lock.
type Gate struct {
	maxRequests, maxBytes int64
	requests, bytes       atomic.Int64
	shed                  atomic.Uint64
}

// New returns a gate for so many requests and bytes at once; a bound of 0 or less lets nothing in.
func New(maxRequests, maxBytes int64) *Gate {
	return &Gate{maxRequests: maxRequests, maxBytes: maxBytes}
}

// Bound is what a gate counts.
type Bound string

const (
	// Requests is the number of requests.
	Requests Bound = "requests"
	// Bytes is their size.
	Bytes Bound = "bytes"
)

// OverloadError says that a request was refused: nothing was done, trying again later may succeed.
type OverloadError struct {
	Bound Bound
	// InUse is what is taken of Limit, Asked what the request would have added.
	InUse, Limit, Asked int64
}

func (e *OverloadError) Error() string {
	if e.Bound == Requests {
		return fmt.Sprintf("overloaded: %d requests in flight, the limit", e.Limit)
	}
	return fmt.Sprintf("overloaded: %d bytes of requests in flight, %d more would exceed the limit of %d", e.InUse, e.Asked, e.Limit)
}

// TryAcquire lets a request of so many bytes in, or refuses it with an *OverloadError, at once. release gives
// its room back; calling it again does nothing. A negative size counts as 0.
func (g *Gate) TryAcquire(bytes int64) (release func(), err error) {
	bytes = max(bytes, 0)
	if used, ok := take(&g.requests, 1, g.maxRequests); !ok {
		g.shed.Add(1)
		return nil, &OverloadError{Bound: Requests, InUse: used, Limit: g.maxRequests, Asked: 1}
	}
	if used, ok := take(&g.bytes, bytes, g.maxBytes); !ok {
		g.requests.Add(-1)
		g.shed.Add(1)
		return nil, &OverloadError{Bound: Bytes, InUse: used, Limit: g.maxBytes, Asked: bytes}
	}
	var released atomic.Bool
	return func() {
		if released.CompareAndSwap(false, true) {
			g.bytes.Add(-bytes)
			g.requests.Add(-1)
		}
	}, nil
}

// take adds n to counter unless that would exceed limit. It never exceeds it for a moment either: adding
// first and taking back would refuse others for nothing.
func take(counter *atomic.Int64, n, limit int64) (used int64, ok bool) {
	for {
		used = counter.Load()
		if n > limit-used {
			return used, false
		}
		if counter.CompareAndSwap(used, used+n) {
			return used + n, true
		}
	}
}

// InFlight is what is let in now.
func (g *Gate) InFlight() (requests, bytes int64) { return g.requests.Load(), g.bytes.Load() }

// Shed counts the requests that were refused.
func (g *Gate) Shed() uint64 { return g.shed.Load() }
