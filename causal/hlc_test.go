package causal

import (
	"errors"
	"math"
	"sync"
	"testing"
	"time"
)

func TestHLCParts(t *testing.T) {
	for _, c := range []struct {
		ms      int64
		counter uint16
		wantMS  int64
	}{
		{0, 0, 0},
		{1_700_000_000_123, 7, 1_700_000_000_123},
		{-5, 3, 0},
		{math.MaxInt64, 65535, maxMillis},
		{maxMillis + 1, 0, maxMillis},
	} {
		h := NewHLC(c.ms, c.counter)
		if h.Millis() != c.wantMS || h.Counter() != c.counter || h.Time().UnixMilli() != c.wantMS {
			t.Errorf("NewHLC(%d, %d) = %d: %d, %d", c.ms, c.counter, h, h.Millis(), h.Counter())
		}
	}
	if got := NewHLC(1_700_000_000_123, 7).String(); got != "2023-11-14T22:13:20.123Z/7" {
		t.Error(got)
	}
	if h := NewHLC(5, 65535).Next(); h != NewHLC(6, 0) {
		t.Errorf("a full counter should carry: %v", h)
	}
	if MaxHLC.Next() != MaxHLC {
		t.Error("MaxHLC has no successor")
	}
}

func TestDotOrder(t *testing.T) {
	order := []Dot{{9, 1}, {1, 2}, {2, 2}, {1, 3}}
	for i := range order {
		for j := range order {
			if got := order[i].Compare(order[j]); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%v and %v: %d", order[i], order[j], got)
			}
		}
	}
	if got := (Dot{0xab, NewHLC(0, 2)}).String(); got != "00000000000000ab@1970-01-01T00:00:00.000Z/2" {
		t.Error(got)
	}
}

// testClock is a clock on a time that the test sets.
func testClock(bound HLC) (*Clock, *time.Time) {
	now := time.UnixMilli(1000)
	return NewClock(func() time.Time { return now }, 500*time.Millisecond, bound), &now
}

func mustNow(t *testing.T, c *Clock) HLC {
	t.Helper()
	h, err := c.Now()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestClockFollowsTimeAndNeverReturns(t *testing.T) {
	c, now := testClock(0)
	c.Raise(NewHLC(5000, 0))
	if h := mustNow(t, c); h != NewHLC(1000, 0) {
		t.Fatal(h)
	}
	if h := mustNow(t, c); h != NewHLC(1000, 1) {
		t.Fatal(h)
	}
	*now = time.UnixMilli(900) // set back
	if h := mustNow(t, c); h != NewHLC(1000, 2) {
		t.Fatal(h)
	}
	if c.Ahead() != 100*time.Millisecond {
		t.Fatal(c.Ahead())
	}
	*now = time.UnixMilli(2000)
	if h := mustNow(t, c); h != NewHLC(2000, 0) || c.Latest() != h {
		t.Fatal(h)
	}
	if c.Ahead() != 0 || !c.Physical().Equal(*now) || c.MaxOffset() != 500*time.Millisecond {
		t.Fatal(c.Ahead(), c.Physical(), c.MaxOffset())
	}
}

func TestClockStopsAtItsBound(t *testing.T) {
	bound := NewHLC(1000, 5)
	c, now := testClock(bound) // restarted within the bound of its last run
	var e *BoundError
	if _, err := c.Now(); !errors.Is(err, ErrBound) || !errors.As(err, &e) || e.Wanted != bound+1 || e.Bound != bound {
		t.Fatal(err)
	}
	if c.Latest() != bound || c.Bound() != bound {
		t.Fatal("a refusal changed the clock")
	}
	c.Raise(bound - 3)
	if c.Bound() != bound {
		t.Fatal("the bound was lowered")
	}
	c.Raise(bound + 1)
	if h := mustNow(t, c); h != bound+1 {
		t.Fatal(h)
	}
	if _, err := c.Now(); !errors.Is(err, ErrBound) {
		t.Fatal(err)
	}
	*now = time.UnixMilli(1100)
	if _, err := c.Now(); !errors.As(err, &e) || e.Wanted != NewHLC(1100, 0) {
		t.Fatal(err)
	}
	if c.Latest() != bound+1 {
		t.Fatal("a refusal moved the clock")
	}
}

func TestClockEndsAtMaxHLC(t *testing.T) {
	c, _ := testClock(MaxHLC)
	c.Raise(MaxHLC)
	if h, err := c.Now(); !errors.Is(err, ErrBound) {
		t.Fatal(h, err)
	}
}

func TestClockObserves(t *testing.T) {
	c, now := testClock(0)
	c.Raise(MaxHLC)
	if err := c.Observe(NewHLC(1500, 9)); err != nil {
		t.Fatal(err)
	}
	if h := mustNow(t, c); h != NewHLC(1500, 10) {
		t.Fatal(h)
	}
	var e *OffsetError
	err := c.Observe(NewHLC(1501, 0))
	if !errors.Is(err, ErrClockOffset) || !errors.As(err, &e) || e.Offset != 501*time.Millisecond || e.Max != c.MaxOffset() {
		t.Fatal(err)
	}
	if c.Latest() != NewHLC(1500, 10) {
		t.Fatal("a refused reading moved the clock")
	}
	if err := c.Observe(MaxHLC); !errors.Is(err, ErrClockOffset) {
		t.Fatal(err)
	}
	if err := c.Observe(1); err != nil || c.Latest() != NewHLC(1500, 10) {
		t.Fatal(err, c.Latest())
	}
	*now = time.UnixMilli(0) // set back by more than the offset: what is passed already does no harm
	if err := c.Observe(NewHLC(1500, 10)); err != nil {
		t.Fatal(err)
	}
	if err := c.Observe(NewHLC(1500, 11)); !errors.Is(err, ErrClockOffset) {
		t.Fatal(err)
	}
}

func TestClockNowAfter(t *testing.T) {
	c, _ := testClock(0)
	c.Raise(NewHLC(1400, 0))
	if h, err := c.NowAfter(NewHLC(1300, 4)); err != nil || h != NewHLC(1300, 5) {
		t.Fatal(h, err)
	}
	if h, err := c.NowAfter(NewHLC(3, 0)); err != nil || h != NewHLC(1300, 6) {
		t.Fatal(h, err)
	}
	if _, err := c.NowAfter(NewHLC(1400, 0)); !errors.Is(err, ErrBound) {
		t.Fatal(err)
	}
	if _, err := c.NowAfter(NewHLC(9000, 0)); !errors.Is(err, ErrClockOffset) {
		t.Fatal(err)
	}
	if c.Latest() != NewHLC(1300, 6) {
		t.Fatal("a refusal moved the clock")
	}
}

func TestClockIsUniqueAcrossGoroutines(t *testing.T) {
	c := NewClock(time.Now, time.Second, 0)
	c.Raise(MaxHLC)
	const workers, each = 8, 2000
	var wg sync.WaitGroup
	got := make([][]HLC, workers)
	for w := range got {
		wg.Go(func() {
			for range each {
				h, err := c.NowAfter(c.Latest())
				if err != nil {
					t.Error(err)
					return
				}
				got[w] = append(got[w], h)
			}
		})
	}
	wg.Wait()
	seen := map[HLC]bool{}
	for _, hs := range got {
		for i, h := range hs {
			if seen[h] || i > 0 && hs[i-1] >= h {
				t.Fatalf("%v came twice or out of order", h)
			}
			seen[h] = true
		}
	}
}

// Current only looks: it is never behind the wall clock or Latest, and changes neither clock nor bound.
func TestClockCurrent(t *testing.T) {
	c, now := testClock(NewHLC(900, 0))
	if got := c.Current(); got != NewHLC(1000, 0) || c.Latest() != NewHLC(900, 0) {
		t.Errorf("%v, latest %v: looking needs no bound, and moves nothing", got, c.Latest())
	}
	if err := c.Observe(NewHLC(1200, 3)); err != nil {
		t.Fatal(err)
	}
	if got := c.Current(); got != NewHLC(1200, 3) {
		t.Errorf("%v is behind what was observed", got)
	}
	*now = time.UnixMilli(1500)
	if got := c.Current(); got != NewHLC(1500, 0) {
		t.Errorf("%v is not the wall clock's", got)
	}
}
