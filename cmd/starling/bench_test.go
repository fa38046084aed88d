package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/bench"
	"github.com/starling-db/starling/internal/kvfake"
	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// runBench runs a benchmark with --json and returns its report.
func (c cli) runBench(t *testing.T, args ...string) benchReport {
	t.Helper()
	out := c.must(t, append([]string{"bench", "--json", "--warmup", "0s"}, args...)...)
	var r benchReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return r
}

// TestBench runs every workload against real nodes.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	cluster := testcluster.New(t, testcluster.Options{Nodes: 3})
	addr := cluster.ClientAddr(0)
	for _, w := range bench.Workloads() {
		t.Run(w.Name, func(t *testing.T) {
			r := cli{}.runBench(t, "--addr", addr, "--workload", w.Name, "--bucket", "bench-"+w.Name, "--strict",
				"--items", "100", "--value-bytes", "200", "--clients", "8", "--connections", "2", "--duration", "200ms")
			if r.Load == nil || r.Load.Items != 100 || r.N != 3 || r.Conflict != "lww" || r.Distribution != string(w.Distribution) {
				t.Errorf("%+v", r)
			}
			checkBench(t, r, w)
		})
	}
	t.Run("stored before", func(t *testing.T) {
		r := cli{}.runBench(t, "--addr", addr, "--workload", "c", "--bucket", "bench-a", "--items", "100",
			"--skip-load", "--duration", "200ms", "--rate", "200", "--even", "--clients", "50")
		if due := r.Result.Attempts() + r.Result.NotStarted; r.Load != nil || r.Rate != 200 || due != 39 { // at 5, 10, ... 195 ms
			t.Errorf("%+v: %d due", r, due)
		}
	})
	t.Run("siblings", func(t *testing.T) { benchSiblings(t, addr) })
}

func checkBench(t *testing.T, r benchReport, w bench.Workload) {
	t.Helper()
	if r.Result.All.Done == 0 {
		t.Fatalf("nothing done: %v", r.Result.All.Errors)
	}
	kinds := 0
	for k, share := range w.Mix {
		if share >= 50 {
			kinds++
		}
		for _, f := range r.Result.Kinds {
			if f.Kind == bench.Kind(k).String() && share == 0 {
				t.Errorf("%d operations of kind %s", f.Done, f.Kind)
			}
		}
	}
	if len(r.Result.Kinds) < kinds {
		t.Errorf("kinds %+v", r.Result.Kinds)
	}
	if l := r.Result.All.Latency; !(0 < l.P50 && l.P50 <= l.P99 && l.P99 <= l.Max) {
		t.Errorf("%+v", l)
	}
	// All nodes of a test are one process, which is this one.
	if len(r.Servers.Processes) != 1 || len(r.Servers.Processes[0].Nodes) != 3 || !r.Servers.Complete || r.Servers.CPU <= 0 {
		t.Errorf("%+v", r.Servers)
	}
	if r.ServerCPUPerMillion == nil || *r.ServerCPUPerMillion <= 0 {
		t.Error("no CPU time for a million operations")
	}
}

// benchSiblings: in a bucket that keeps siblings, loading twice and updating adds none but those of writers that met.
func benchSiblings(t *testing.T, addr string) {
	for range 2 {
		r := cli{}.runBench(t, "--addr", addr, "--workload", "w", "--bucket", "kept", "--conflict", "siblings",
			"--items", "20", "--clients", "1", "--duration", "100ms")
		if r.Conflict != "siblings" || r.Result.All.Done == 0 {
			t.Errorf("%+v", r)
		}
	}
	out := cli{}.must(t, "scan", "kept", "--addr", addr, "-o", "json", "-r", "all")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 20 {
		t.Errorf("%d items, want 20", len(lines))
	}
	for _, line := range lines {
		if !strings.Contains(line, `"siblings":false`) {
			t.Errorf("siblings: %.200s", line)
		}
	}
}

func TestBenchIsMisused(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	for _, args := range []string{
		"--workload z", "--distribution normal", "--items 0", "--value-bytes -1", "--clients 0", "--connections 0",
		"--duration 0s", "--warmup -1s", "--rate -1", "--rate NaN", "--even", "--max-errors 2", "--load-only --skip-load",
		"--conflict never", "-n -1", "-r most", "--strict --sloppy", "extra",
	} {
		r := c.run(t, append([]string{"bench"}, strings.Fields(args)...)...)
		if r.code != exitMisused || r.errors == "" || r.out != "" {
			t.Errorf("%s: exit %d: %s%s", args, r.code, r.out, r.errors)
		}
	}
}

func TestBenchOfABucketThatDoesNotFit(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	if r := c.run(t, "bench", "--skip-load"); r.code != exitNotFound {
		t.Errorf("no bucket: exit %d: %s", r.code, r.errors)
	}
	c.must(t, "bucket", "create", "kept", "-n", "2")
	for _, args := range []string{"-n 3", "--conflict lww"} {
		r := c.run(t, append([]string{"bench", "-b", "kept"}, strings.Fields(args)...)...)
		if r.code != exitPrecondition || !strings.Contains(r.errors, "N=2") {
			t.Errorf("%s: exit %d: %s", args, r.code, r.errors)
		}
	}
}

// TestBenchCountsErrors: operations that fail are counted by kind, and too many are a failure.
func TestBenchCountsErrors(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	c.must(t, "bench", "--items", "20", "--load-only")
	c.cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method != "Put" {
			return nil
		}
		return kvfake.Fault(codes.FailedPrecondition, pb.Reason_REASON_TOO_MANY_SIBLINGS, "no more", 0, 0, 0)
	})
	args := []string{"bench", "--items", "20", "--skip-load", "--warmup", "0s", "--duration", "200ms", "--clients", "4"}
	r := c.run(t, args...)
	if r.code != exitFailed || !strings.Contains(r.out, "failed: too many siblings") ||
		!strings.Contains(r.errors, "of the operations failed, and --max-errors allows 1.0%") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.errors)
	}
	// The fakes have no HTTP port: that is said, and is no failure.
	if !strings.Contains(r.errors, "The CPU time of all nodes is not known.") {
		t.Errorf("%s", r.errors)
	}
	if r := c.run(t, append(args, "--max-errors", "1")...); r.code != exitDone {
		t.Errorf("exit %d: %s", r.code, r.errors)
	}
	// An item that is not there is an error as well.
	if r := c.run(t, append(args, "--workload", "c", "--items", "40")...); !strings.Contains(r.out, "failed: no item") {
		t.Errorf("%s%s", r.out, r.errors)
	}
}

// TestBenchInterrupted: Ctrl-C ends it, and what was measured is printed.
func TestBenchInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	c := cli{cluster: kvfake.Start(t, 3), ctx: ctx}
	c.must(t, "bench", "--items", "20", "--load-only")
	var gets atomic.Int64
	c.cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "Get" && gets.Add(1) == 100 {
			interrupt()
		}
		return nil
	})
	r := c.run(t, "bench", "--items", "20", "--skip-load", "--warmup", "0s", "--duration", "10m", "--clients", "4", "--json")
	var report benchReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != exitFailed {
		t.Fatalf("exit %d: %v: %s%s", r.code, err, r.out, r.errors)
	}
	if !report.Result.Interrupted || report.Result.Attempts() < 90 || !strings.Contains(r.errors, "bench interrupted") {
		t.Errorf("%+v: %s", report.Result, r.errors)
	}
}

// TestBenchReport compares what is printed of figures that are given.
func TestBenchReport(t *testing.T) {
	latency := func(ms float64) bench.Latency {
		return bench.Latency{Mean: ms, P50: ms, P90: 2 * ms, P99: 3 * ms, P999: 4 * ms, Max: 5 * ms}
	}
	perNode := func(name string, cpu float64) bench.Process {
		return bench.Process{
			Nodes: []string{name}, CPU: cpu, Memory: 64 << 20, Fsyncs: 500, FsyncSeconds: 1, Messages: 300, Frames: 100,
		}
	}
	r := &benchReport{
		Workload: "a", Distribution: "zipfian", Bucket: "bench", N: 3, Conflict: "lww", Items: 1000, ValueBytes: 1024,
		Clients: 64, Connections: 1, Rate: 500, ClientCPU: 0.06,
		Result: &bench.Result{
			Seconds: 2, NotStarted: 7, Lag: latency(0.1),
			All: bench.Figures{
				Kind: "all", Done: 999, Failed: 1, PerSecond: 499.5, Latency: latency(1.5),
				Histogram: []bench.Bar{{From: 0.5, To: 1, Count: 499}, {From: 1, To: 2}, {From: 2, To: 5, Count: 500}},
			},
			Kinds: []bench.Figures{
				{Kind: "read", Done: 500, PerSecond: 250, Latency: latency(1)},
				{Kind: "update", Done: 499, Failed: 1, PerSecond: 249.5, Latency: latency(2), Errors: map[string]uint64{"overloaded": 1}},
			},
		},
		Servers: &bench.Usage{Processes: []bench.Process{perNode("n1", 0.1), perNode("n2", 0.2)}, CPU: 0.3, Complete: true},
	}
	var out, errs strings.Builder
	a := newTestApp(&out, &errs)
	b := &benchRun{app: a, f: &benchFlags{rate: 500}, workload: bench.Workloads()[0]}
	if err := b.show(r); err != nil {
		t.Fatal(err)
	}
	if err := a.stdout.Flush(); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/bench/report.txt", out.String())
	if errs.Len() != 0 {
		t.Errorf("notes: %s", errs.String())
	}
	if got := fmt.Sprintf("%.1f", *r.ServerCPUPerMillion); got != "300.3" {
		t.Errorf("%s CPU-seconds per million", got)
	}
}

func newTestApp(out, errs io.Writer) *app {
	return &app{
		streams: streams{out: out, err: errs, terminal: func(io.Writer) bool { return false }},
		stdout:  bufio.NewWriter(out),
	}
}

// golden compares a text with a file; -rewrite, which package datadriven defines, writes the file anew.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if flag.Lookup("rewrite").Value.String() == "true" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant (%s):\n%s", got, file, want)
	}
}
