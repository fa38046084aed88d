package bounds_test

import (
	"testing"

	"github.com/starling-db/starling/internal/check/bounds"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

func TestCheck(t *testing.T) {
	samples := func(caps history.Caps, samples ...history.Sample) func(*history.Run) {
		return func(run *history.Run) { run.Caps, run.Samples = caps, samples }
	}
	caps := history.Caps{HeapBytes: 1000, InFlight: 10, PeerCalls: 20, Repairs: 5, HintBytes: 100}
	nothing := func(*story.Story) {}
	story.Expect(t, bounds.Check, []story.Case{
		{Name: "nobody looked", Tell: nothing},
		{Name: "within", Tell: nothing, Edit: samples(caps,
			history.Sample{Goroutines: 400},
			history.Sample{Goroutines: 4000, HeapBytes: 1000, InFlight: 10, PeerCalls: 20, Repairs: 5, HintBytes: 100},
			history.Sample{Goroutines: 400 + 100 + bounds.Slack},
		)},
		{Name: "no caps", Tell: nothing, Edit: samples(history.Caps{}, history.Sample{InFlight: 1000}, history.Sample{})},
		{Name: "each node by itself", Tell: nothing, Edit: samples(caps,
			history.Sample{Node: "n1", Goroutines: 100}, history.Sample{Node: "n2", Goroutines: 1000},
			history.Sample{Node: "n1", Goroutines: 100}, history.Sample{Node: "n2", Goroutines: 1000},
		)},

		{Name: "heap", Tell: nothing, Edit: samples(caps, history.Sample{HeapBytes: 1001}), Want: "the process: 1001 bytes of heap at 0s: at most 1000"},
		{Name: "requests", Tell: nothing, Edit: samples(caps, history.Sample{InFlight: 11}, history.Sample{}), Want: "11 requests in flight"},
		{Name: "peers", Tell: nothing, Edit: samples(caps, history.Sample{Node: "n1", PeerCalls: 21}), Want: "n1: 21 requests to other nodes"},
		{Name: "repairs", Tell: nothing, Edit: samples(caps, history.Sample{Repairs: 6}, history.Sample{}), Want: "6 repairs"},
		{Name: "hints", Tell: nothing, Edit: samples(caps, history.Sample{HintBytes: 101}), Want: "101 bytes of hints"},
		{Name: "goroutines stay", Tell: nothing, Edit: samples(caps,
			history.Sample{Node: "n1", Goroutines: 400}, history.Sample{Node: "n1", Goroutines: 401 + 100 + bounds.Slack},
		), Want: "551 goroutines at the end, 400 at first"},
		{Name: "requests stay", Tell: nothing, Edit: samples(caps, history.Sample{}, history.Sample{InFlight: 1}), Want: "1 requests and 0 repairs still run"},
	})
}
