package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/starling-db/starling/internal/bench"
)

// measured is a step of so many operations a second; cpu 0: not known.
func measured(name string, perSecond, p99, cpu float64) step {
	r := report{Result: &bench.Result{All: bench.Figures{PerSecond: perSecond, Latency: bench.Latency{P99: p99}}}}
	if cpu > 0 {
		r.ServerCPU = &cpu
	}
	return step{Name: name, Report: r}
}

// good is a round that meets all targets by a factor of speed, if that is at least 1.
func good(speed float64) round {
	var r round
	for _, name := range order {
		perSecond, cpu := 10_000.0, 150/speed
		switch name {
		case "b":
			cpu = 80 / speed
		case "c":
			perSecond, cpu = 5_000*speed, 75/speed
		case "w":
			perSecond = 3_000 * speed
		}
		s := measured(name, perSecond, 15/speed, cpu)
		s.Report.Servers = &bench.Usage{Processes: []bench.Process{{Memory: 1 << 20}, {Memory: uint64(300 << 20 / speed)}, {}}}
		r.Steps = append(r.Steps, s)
	}
	return r
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name   string
		rounds []round
		missed int
	}{
		{"just met", []round{good(1)}, 0},
		{"all missed", []round{good(0.9)}, len(targets)},
		{"the median counts", []round{good(0.5), good(1.1), good(1.2)}, 0},
		{"of two, the mean", []round{good(0.9), good(1.5)}, 0},
		{"no round", nil, len(targets)},
		{"nothing measured", []round{{}}, len(targets)},
		{"one round lacks a workload", []round{good(2), good(2), {Steps: good(2).Steps[:5]}}, 3}, // a twice, and b
	} {
		rows := table(c.rounds)
		n := 0
		for _, r := range rows {
			if !r.Met {
				n++
			}
		}
		if n != c.missed || missed(rows) != (n > 0) {
			t.Errorf("%s: %d missed, want %d:\n%s", c.name, n, c.missed, render(rows))
		}
	}
}

// TestFloorIsTheOneBefore: a workload is held against the echo that was measured right before it, not an older one.
func TestFloorIsTheOneBefore(t *testing.T) {
	r := round{Steps: []step{measured(echoFloor, 1000, 1, 1), measured(echoFloor, 4000, 1, 1), measured("c", 1000, 1, 1), measured(echoFloor, 9000, 1, 1)}}
	if got := r.figure(target{workload: "c", figure: ofEcho}); got != 0.25 {
		t.Errorf("%v of the echo, want 0.25", got)
	}
}

// TestOrder: every target has its workload in a round, behind an echo.
func TestOrder(t *testing.T) {
	for _, target := range targets {
		at := slices.Index(order, target.workload)
		if at < 0 || !slices.Contains(order[:at], echoFloor) {
			t.Errorf("workload %s: order %v", target.workload, order)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1}, 3}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.of); got != c.want {
			t.Errorf("median of %v = %v, want %v", c.of, got, c.want)
		}
	}
}

func TestRender(t *testing.T) {
	got := render(table([]round{good(1.25), good(1), good(0.5)}))
	want := `
WORKLOAD  FIGURE                          TARGET  MEDIAN  RUNS               MET
A         server CPU-seconds per million  <= 150  150.0   120.0 150.0 300.0  yes
B         server CPU-seconds per million  <= 80   80.0    64.0 80.0 160.0    yes
C         server CPU-seconds per million  <= 75   75.0    60.0 75.0 150.0    yes
C         reads a second, of the echo's   >= 0.5  0.50    0.62 0.50 0.25     yes
W         writes a second, of the echo's  >= 0.3  0.30    0.38 0.30 0.15     yes
A         99th percentile in ms           <= 15   15.0    12.0 15.0 30.0     yes
W         resident MiB, the largest node  <= 300  300.0   240.0 300.0 600.0  yes
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := render(table([]round{good(0.5)})); strings.Count(got, "NO") != len(targets) {
		t.Errorf("%s", got)
	}
}
