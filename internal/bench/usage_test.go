package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

const page = `# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.048576e+06
# TYPE starling_requests_total counter
starling_requests_total{level="quorum",result="ok",verb="get"} 10
starling_requests_total{level="quorum",result="ok",verb="put"} 5
# TYPE starling_request_duration_seconds histogram
starling_request_duration_seconds_bucket{le="1"} 3
starling_request_duration_seconds_bucket{le="+Inf"} 3
starling_request_duration_seconds_sum 1
starling_request_duration_seconds_count 3
`

func TestParseMetrics(t *testing.T) {
	m, err := ParseMetrics(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	want := Metrics{metricCPU: 12.5, metricMemory: 1 << 20, "starling_requests_total": 15}
	for name, v := range want {
		if m[name] != v {
			t.Errorf("%s = %v, want %v", name, m[name], v)
		}
	}
	if _, err := ParseMetrics(strings.NewReader("process_cpu_seconds_total twelve\n")); err == nil {
		t.Error("a page that is none was read")
	}
}

func TestOwnMetrics(t *testing.T) {
	before := OwnMetrics()
	if _, ok := before[metricCPU]; !ok {
		t.Skip("this system does not tell")
	}
	if seconds, ok := OwnMetrics().CPUSince(before); !ok || seconds < 0 || seconds > 60 {
		t.Errorf("%v CPU-seconds, %v", seconds, ok)
	}
	if _, ok := OwnMetrics().CPUSince(Metrics{}); ok {
		t.Error("a difference to nothing")
	}
}

// sampleOf is a node that has used cpu, and allocated so much at its first and its second look.
func sampleOf(node string, start, cpu, first, again float64) Sample {
	at := func(allocated float64) Metrics {
		return Metrics{
			metricStart: start, metricCPU: cpu, metricAllocated: allocated, metricMemory: 1000,
			metricFsyncs: 2 * cpu, metricMessages: 30 * cpu, metricFrames: 10 * cpu,
		}
	}
	return Sample{Node: node, Host: "127.0.0.1", First: at(first), Again: at(again)}
}

func TestUsageOfProcesses(t *testing.T) {
	// Two that were started within the same tick of the clock, as scripts do, and one later.
	u := NewUsage(
		[]Sample{sampleOf("n1", 100, 10, 500, 501), sampleOf("n2", 100, 11, 700, 701), sampleOf("n3", 101, 12, 500.5, 502)},
		[]Sample{sampleOf("n1", 100, 13, 900, 901), sampleOf("n2", 100, 15, 800, 801), sampleOf("n3", 101, 17, 900.5, 902)},
	)
	if !u.Complete || len(u.Processes) != 3 || u.CPU != 3+4+5 || len(u.Notes) != 0 {
		t.Fatalf("%+v", u)
	}
	p := u.Processes[1]
	if p.Nodes[0] != "n2" || p.CPU != 4 || p.Memory != 1000 || p.Fsyncs != 8 || p.Messages/p.Frames != 3 {
		t.Errorf("%+v", p)
	}
}

func TestNodesOfOneProcessCountOnce(t *testing.T) {
	u := NewUsage(
		[]Sample{sampleOf("n1", 100, 10, 500, 503), sampleOf("n2", 100, 10, 501, 504), sampleOf("n3", 100, 10, 502, 505)},
		[]Sample{sampleOf("n1", 100, 16, 900, 903), sampleOf("n2", 100, 16, 901, 904), sampleOf("n3", 100, 16, 902, 905)},
	)
	if !u.Complete || len(u.Processes) != 1 || u.CPU != 6 {
		t.Fatalf("%+v", u)
	}
	if !slices.Equal(u.Processes[0].Nodes, []string{"n1", "n2", "n3"}) || len(u.Notes) != 1 || !strings.Contains(u.Notes[0], "3 nodes") {
		t.Errorf("%+v", u)
	}
}

func TestUsageThatIsNotWhole(t *testing.T) {
	failed := Sample{Node: "n2", Err: errors.New("connection refused")}
	for name, c := range map[string]struct {
		before, after []Sample
		note          string
	}{
		"unreachable": {
			[]Sample{sampleOf("n1", 100, 10, 1, 2), failed},
			[]Sample{sampleOf("n1", 100, 12, 3, 4), failed}, "No figures of n2: connection refused.",
		},
		"restarted": {
			[]Sample{sampleOf("n1", 100, 10, 1, 2), sampleOf("n2", 101, 10, 1, 2)},
			[]Sample{sampleOf("n1", 100, 12, 3, 4), sampleOf("n2", 200, 1, 1, 2)}, "No figures of n2: it was restarted meanwhile.",
		},
	} {
		u := NewUsage(c.before, c.after)
		if u.Complete || u.CPU != 2 || len(u.Processes) != 1 || !slices.Contains(u.Notes, c.note) {
			t.Errorf("%s: %+v", name, u)
		}
	}
	if u := NewUsage(nil, nil); u.Complete || len(u.Processes) != 0 {
		t.Errorf("%+v of no node", u)
	}
}

func TestPerMillion(t *testing.T) {
	if got := PerMillion(3, 20_000); math.Abs(got-150) > 1e-9 {
		t.Error(got)
	}
	if got := PerMillion(3, 0); got != 0 {
		t.Error(got)
	}
	for k := range kinds {
		if fmt.Sprint(k) == "" {
			t.Errorf("kind %d has no name", int(k))
		}
	}
}
