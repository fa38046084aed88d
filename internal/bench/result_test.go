package bench

import (
	"reflect"
	"testing"
	"time"
)

func TestBars(t *testing.T) {
	h := newHistogram()
	for _, d := range []time.Duration{300 * time.Microsecond, 400 * time.Microsecond, 1500 * time.Microsecond, 15 * time.Millisecond} {
		record(h, d)
	}
	want := []Bar{
		{0.2, 0.5, 2}, {0.5, 1, 0}, {1, 2, 1}, {2, 5, 0}, {5, 10, 0}, {10, 20, 1},
	}
	if got := bars(h); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := bars(newHistogram()); got != nil {
		t.Errorf("%v of nothing", got)
	}
}

// TestHistogramBounds: what is too short or too long for a histogram counts as the bound.
func TestHistogramBounds(t *testing.T) {
	h := newHistogram()
	for _, d := range []time.Duration{-time.Second, 0, time.Hour} {
		record(h, d)
	}
	if h.TotalCount() != 3 || h.Max() < int64(longest) || h.Max() > int64(longest)*1001/1000 {
		t.Errorf("%d recorded, at most %v", h.TotalCount(), time.Duration(h.Max()))
	}
	if got := bars(h); got[0].Count != 2 || got[len(got)-1].Count != 1 {
		t.Errorf("%v", got)
	}
}

func TestLatency(t *testing.T) {
	h := newHistogram()
	for i := 1; i <= 1000; i++ {
		record(h, time.Duration(i)*time.Millisecond)
	}
	l := newLatency(h)
	for _, c := range []struct{ got, want float64 }{
		{l.Mean, 500.5}, {l.P50, 500}, {l.P90, 900}, {l.P99, 990}, {l.P999, 999}, {l.Max, 1000},
	} {
		if c.got < c.want*0.998 || c.got > c.want*1.002 {
			t.Errorf("%v, want %v: %+v", c.got, c.want, l)
		}
	}
	if newLatency(newHistogram()) != (Latency{}) {
		t.Error("nothing has a latency")
	}
}
