package pace

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fullGate is a gate of two places, both taken.
func fullGate(t *testing.T) (g *Gate, first, second *Piece) {
	t.Helper()
	g = NewGate(Options{Max: 2, Start: 2, Min: 2}, time.Now)
	var pieces [2]*Piece
	for i := range pieces {
		p, err := g.TryAcquire()
		if err != nil {
			t.Fatal(err)
		}
		pieces[i] = p
	}
	return g, pieces[0], pieces[1]
}

func TestGateRefuses(t *testing.T) {
	g, first, _ := fullGate(t)
	var full *FullError
	if _, err := g.TryAcquire(); !errors.As(err, &full) || full.Limit != 2 || g.Limit() != 2 {
		t.Fatalf("a third: %v", err)
	}
	for range 2 {
		first.End(Done)
	}
	if _, err := g.TryAcquire(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.TryAcquire(); err == nil {
		t.Fatal("ending work twice made room for two")
	}
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, first, second := fullGate(t)
		order := make(chan int, 8)
		var running sync.WaitGroup
		for i := range 8 {
			if i == 3 {
				time.Sleep(fresh + 1) // the first three have waited for long then
			}
			running.Go(func() {
				p, err := g.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				order <- i
				time.Sleep(time.Millisecond)
				p.End(Done)
			})
			synctest.Wait()
		}
		first.End(Done)
		for _, want := range []int{3, 4, 5, 2, 6, 7, 1, 0} {
			if got := <-order; got != want {
				t.Errorf("%d went, want %d", got, want)
			}
		}
		second.End(Done)
		running.Wait()
	})
}

func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, first, second := fullGate(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		var full *FullError
		if _, err := g.Acquire(ctx); !errors.As(err, &full) || time.Since(begun) != 100*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		first.End(Done)
		second.End(Done)
		if len(g.waiting) != 0 || g.c.InFlight() != 0 {
			t.Errorf("%d wait and %d are under way at the end", len(g.waiting), g.c.InFlight())
		}
	})
}

func TestFewEnoughWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := fullGate(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		refused := make(chan time.Duration, maxWaiting+1)
		begun := time.Now()
		for range maxWaiting + 1 {
			go func() {
				if _, err := g.Acquire(ctx); err == nil {
					t.Error("there was room")
				}
				refused <- time.Since(begun)
			}()
		}
		synctest.Wait()
		if len(refused) != 1 {
			t.Errorf("%d were refused at once, want 1", len(refused))
		}
		time.Sleep(time.Second)
	})
}

func TestWhatHangsMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, first, second := fullGate(t)
		second.End(Done)
		time.Sleep(hold / 2)
		second, err := g.TryAcquire()
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		third, err := g.Acquire(t.Context())
		if err != nil || time.Since(begun) != hold/2 {
			t.Fatalf("after %v: %v", time.Since(begun), err)
		}
		for _, p := range []*Piece{first, second, third} {
			p.End(Done)
		}
		if g.c.InFlight() != 0 {
			t.Errorf("%d are under way at the end", g.c.InFlight())
		}
	})
}
