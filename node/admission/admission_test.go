package admission

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
)

func TestBoundsAreKept(t *testing.T) {
	g := New(3, 100)
	a, err := g.TryAcquire(60)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.TryAcquire(41)
	var over *OverloadError
	if !errors.As(err, &over) || *over != (OverloadError{Bound: Bytes, InUse: 60, Limit: 100, Asked: 41}) {
		t.Fatalf("41 bytes more: %v", err)
	}
	if n, bytes := g.InFlight(); n != 1 || bytes != 60 {
		t.Fatalf("a refused request left %d, %d", n, bytes)
	}
	b, err := g.TryAcquire(40)
	if err != nil {
		t.Fatal(err)
	}
	c, err := g.TryAcquire(-5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = g.TryAcquire(0); !errors.As(err, &over) || over.Bound != Requests {
		t.Fatalf("a fourth request: %v", err)
	}
	if _, err = g.TryAcquire(math.MaxInt64); err == nil {
		t.Fatal("let everything in")
	}
	for range 2 {
		a()
		b()
		c()
	}
	if n, bytes := g.InFlight(); n != 0 || bytes != 0 {
		t.Fatalf("%d, %d left", n, bytes)
	}
	if g.Shed() != 3 {
		t.Errorf("%d shed", g.Shed())
	}
}

func TestClosedGate(t *testing.T) {
	if _, err := New(0, 100).TryAcquire(1); err == nil {
		t.Error("let in through a closed gate")
	}
	if _, err := New(1, -1).TryAcquire(0); err == nil {
		t.Error("let in through a gate without bytes")
	}
}

func TestConcurrentRequestsStayWithinBounds(t *testing.T) {
	const most, size = 8, 10
	g := New(most, most*size)
	var inside, let atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 2000 {
				release, err := g.TryAcquire(size)
				if err != nil {
					continue
				}
				let.Add(1)
				if inside.Add(1) > most {
					t.Error("too many inside")
				}
				inside.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if n, bytes := g.InFlight(); n != 0 || bytes != 0 || let.Load() == 0 {
		t.Errorf("%d, %d left, %d let in", n, bytes, let.Load())
	}
}

func BenchmarkTryAcquire(b *testing.B) {
	g := New(1<<20, 1<<40)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if release, err := g.TryAcquire(100); err == nil {
				release()
			}
		}
	})
}
