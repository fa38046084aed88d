package bench

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what became of a run.
type Result struct {
	// Seconds is how long operations were started for.
	Seconds float64 `json:"seconds"`
	// All is of all operations, Kinds of each kind that occurred.
	All   Figures   `json:"all"`
	Kinds []Figures `json:"kinds"`
	// NotStarted is how many operations of an open loop were due but found no caller free before the end.
	NotStarted uint64 `json:"not_started"`
	// Lag is how much later than intended operations were started. In a closed loop there is none.
	Lag Latency `json:"start_lag"`
	// Interrupted: the run ended before its time.
	Interrupted bool `json:"interrupted"`
}

// Figures are of the operations of one kind.
type Figures struct {
	Kind string `json:"kind"`
	// Done is how many succeeded, Failed how many did not, Errors those by kind of error.
	Done   uint64            `json:"done"`
	Failed uint64            `json:"failed"`
	Errors map[string]uint64 `json:"errors"`
	// PerSecond counts what succeeded before the end.
	PerSecond float64 `json:"per_second"`
	// Latency is of those that succeeded, from the time at which they were meant to start.
	Latency Latency `json:"latency"`
	// Histogram is the same in steps of 1, 2, 5, 10, ..., from the first that is not empty to the last.
	Histogram []Bar `json:"histogram"`
}

// Latency sums up how long operations took, in milliseconds. All are 0 when there were none.
type Latency struct {
	Mean float64 `json:"mean_ms"`
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p99_9_ms"`
	Max  float64 `json:"max_ms"`
}

// Bar counts operations that took longer than From and no longer than To.
type Bar struct {
	From  float64 `json:"from_ms"`
	To    float64 `json:"to_ms"`
	Count uint64  `json:"count"`
}

// Attempts is how many operations were carried out or tried.
func (r *Result) Attempts() uint64 { return r.All.Done + r.All.Failed }

// ErrorShare is how many of the attempts failed, 0 to 1.
func (r *Result) ErrorShare() float64 {
	if r.Attempts() == 0 {
		return 0
	}
	return float64(r.All.Failed) / float64(r.Attempts())
}

func newFigures(kind string, t tally, took time.Duration) Figures {
	f := Figures{
		Kind: kind, Done: uint64(t.latency.TotalCount()), Errors: t.errors,
		Latency: newLatency(t.latency), Histogram: bars(t.latency),
	}
	for _, n := range t.errors {
		f.Failed += n
	}
	if took > 0 {
		f.PerSecond = float64(t.inTime) / took.Seconds()
	}
	return f
}

func newLatency(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(percentile float64) float64 { return milliseconds(float64(h.ValueAtPercentile(percentile))) }
	return Latency{
		Mean: milliseconds(h.Mean()), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9),
		Max: milliseconds(float64(h.Max())),
	}
}

// milliseconds turns nanoseconds into milliseconds; three digits of a microsecond are more than a histogram knows.
func milliseconds(ns float64) float64 { return math.Round(ns/1e3) / 1e3 }

// bars sorts a histogram into steps of 1, 2, 5, 10, ... microseconds.
func bars(h *hdrhistogram.Histogram) (out []Bar) {
	edges := edges()
	at := 0
	for _, b := range h.Distribution() {
		if b.Count == 0 {
			continue
		}
		// The middle of a bucket decides: its ends may be on both sides of an edge.
		middle := (float64(b.From) + float64(b.To)) / 2 / 1e6
		for at+1 < len(edges)-1 && middle > edges[at+1] {
			at++
			if len(out) > 0 {
				out = append(out, Bar{From: edges[at], To: edges[at+1]})
			}
		}
		if len(out) == 0 {
			out = append(out, Bar{From: edges[at], To: edges[at+1]})
		}
		out[len(out)-1].Count += uint64(b.Count)
	}
	return out
}

// edges are 0, and 1, 2 and 5 times the powers of ten from a microsecond beyond the longest latency, in milliseconds.
func edges() []float64 {
	out := []float64{0}
	for power := -3; power <= 6; power++ {
		for _, step := range []float64{1, 2, 5} {
			// Dividing gives the float64 that is nearest to the decimal number; multiplying by 0.001 does not.
			if power < 0 {
				out = append(out, step/math.Pow10(-power))
			} else {
				out = append(out, step*math.Pow10(power))
			}
		}
	}
	return out
}
