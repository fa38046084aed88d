package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histograms tell latencies from each other that differ by a thousandth, between these bounds. What is outside counts as
// the bound.
const (
	shortest = time.Microsecond
	longest  = 10 * time.Minute
	digits   = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(shortest), int64(longest), digits)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 0), longest))) // within bounds it never fails
}

// recorder counts what becomes of operations. It is safe for concurrent use.
type recorder struct {
	end time.Time

	mu    sync.Mutex
	kinds [kinds]tally
	lag   *hdrhistogram.Histogram
}

// tally is of one kind of operation.
type tally struct {
	latency *hdrhistogram.Histogram
	// inTime is how many of those that succeeded did so before the end.
	inTime uint64
	errors map[string]uint64
}

// newRecorder records a run that ends at end.
func newRecorder(end time.Time) *recorder {
	r := &recorder{end: end, lag: newHistogram()}
	for k := range r.kinds {
		r.kinds[k] = tally{latency: newHistogram(), errors: make(map[string]uint64)}
	}
	return r
}

func (r *recorder) done(k Kind, intended, began, ended time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.kinds[k]
	record(t.latency, ended.Sub(intended))
	record(r.lag, began.Sub(intended))
	if !ended.After(r.end) {
		t.inTime++
	}
}

func (r *recorder) failed(k Kind, intended, began time.Time, kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds[k].errors[kind]++
	record(r.lag, began.Sub(intended))
}

// result sums up. Nobody may record any more.
func (r *recorder) result(took time.Duration, missed uint64, interrupted bool) *Result {
	out := &Result{Seconds: took.Seconds(), NotStarted: missed, Interrupted: interrupted, Lag: newLatency(r.lag)}
	all := tally{latency: newHistogram(), errors: make(map[string]uint64)}
	for k, t := range r.kinds {
		if t.latency.TotalCount() == 0 && len(t.errors) == 0 {
			continue
		}
		out.Kinds = append(out.Kinds, newFigures(Kind(k).String(), t, took))
		all.latency.Merge(t.latency)
		all.inTime += t.inTime
		for kind, n := range t.errors {
			all.errors[kind] += n
		}
	}
	out.All = newFigures("all", all, took)
	return out
}
