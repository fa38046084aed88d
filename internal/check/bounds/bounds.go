// Package bounds checks that nodes use no more than they may: at no time more than the run's caps, and when all is over
// no more goroutines than at first, some slack aside.
package bounds

import (
	"fmt"
	"maps"
	"slices"

	"github.com/starling-db/starling/internal/history"
)

const name = "bounds"

// Goroutines may be more at the end than at first by a quarter and by Slack: connections to nodes that restarted and
// calls of health checks come and go.
const Slack = 50

// Check looks at all samples.
func Check(run *history.Run) (out []history.Violation) {
	violated := func(s history.Sample, format string, args ...any) {
		node := s.Node
		if node == "" {
			node = "the process"
		}
		out = append(out, history.Violation{Checker: name, Op: -1, Message: node + ": " + fmt.Sprintf(format, args...)})
	}
	first, last := map[string]history.Sample{}, map[string]history.Sample{}
	for _, s := range run.Samples {
		if _, known := first[s.Node]; !known {
			first[s.Node] = s
		}
		last[s.Node] = s
		for _, f := range []struct {
			what      string
			used, cap int64
		}{
			{"goroutines", int64(s.Goroutines), int64(run.Caps.Goroutines)},
			{"bytes of heap", s.HeapBytes, run.Caps.HeapBytes},
			{"requests in flight", int64(s.InFlight), int64(run.Caps.InFlight)},
			{"requests to other nodes", int64(s.PeerCalls), int64(run.Caps.PeerCalls)},
			{"repairs", int64(s.Repairs), int64(run.Caps.Repairs)},
			{"bytes of hints", s.HintBytes, run.Caps.HintBytes},
		} {
			if f.cap > 0 && f.used > f.cap {
				violated(s, "%d %s at %v: at most %d", f.used, f.what, s.At, f.cap)
			}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(first)) {
		a, b := first[node], last[node]
		if most := a.Goroutines + a.Goroutines/4 + Slack; a.Goroutines > 0 && b.Goroutines > most {
			violated(b, "%d goroutines at the end, %d at first: at most %d", b.Goroutines, a.Goroutines, most)
		}
		if b.InFlight > 0 || b.Repairs > 0 {
			violated(b, "%d requests and %d repairs still run when all is over", b.InFlight, b.Repairs)
		}
	}
	return out
}
