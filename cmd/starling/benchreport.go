package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/starling-db/starling/internal/bench"
)

// benchReport is what a benchmark found, in JSON.
type benchReport struct {
	Workload     string `json:"workload"`
	Distribution string `json:"distribution"`
	Bucket       string `json:"bucket"`
	N            int    `json:"n"`
	Conflict     string `json:"conflict"`
	Items        uint64 `json:"items"`
	ValueBytes   int    `json:"value_bytes"`
	Clients      int    `json:"clients"`
	Connections  int    `json:"connections"`
	// Rate is 0 in a closed loop.
	Rate float64 `json:"rate"`
	Seed uint64  `json:"seed"`
	// Load is null when nothing was stored, the rest when nothing was measured.
	Load    *benchLoad    `json:"load"`
	Result  *bench.Result `json:"result"`
	Servers *bench.Usage  `json:"servers"`
	// ClientCPU is what this process used, in CPU-seconds; 0 where that can't be told.
	ClientCPU float64 `json:"client_cpu_seconds"`
	// Per million operations that succeeded; ServerCPUPerMillion is null unless all nodes are in it.
	ServerCPUPerMillion *float64 `json:"server_cpu_seconds_per_million"`
	ClientCPUPerMillion float64  `json:"client_cpu_seconds_per_million"`
}

func (b *benchRun) newReport() *benchReport {
	return &benchReport{
		Workload: b.workload.Name, Distribution: string(b.distribution), Bucket: b.bucket.Name, N: b.bucket.N,
		Conflict: b.bucket.Conflict.String(), Items: b.f.items, ValueBytes: b.f.valueBytes, Clients: b.f.clients,
		Connections: b.f.connections, Rate: b.f.rate, Seed: b.f.seed,
	}
}

// perMillion fills in what follows from the rest.
func (r *benchReport) perMillion() {
	if r.Result == nil {
		return
	}
	r.ClientCPUPerMillion = bench.PerMillion(r.ClientCPU, r.Result.All.Done)
	if r.Servers.Complete && r.Result.All.Done > 0 {
		all := bench.PerMillion(r.Servers.CPU, r.Result.All.Done)
		r.ServerCPUPerMillion = &all
	}
}

// show prints a report.
func (b *benchRun) show(r *benchReport) error {
	r.perMillion()
	switch b.app.output {
	case outputJSON:
		return b.app.writeJSON(r)
	case outputRaw:
		if r.Result != nil {
			fmt.Fprintf(b.app.stdout, "%.0f\n", r.Result.All.PerSecond)
		}
		return nil
	}
	if r.Result == nil {
		return nil
	}
	loop := "closed loop"
	if r.Rate > 0 {
		loop = fmt.Sprintf("%g a second due", r.Rate)
	}
	fmt.Fprintf(b.app.stdout, "workload %s, %s: %s over %d items of %s, %d callers, %s, N=%d, %s, %.1f s\n\n",
		r.Workload, b.workload.About, r.Distribution, r.Items, bytesText(uint64(r.ValueBytes)), r.Clients, loop, r.N,
		r.Conflict, r.Result.Seconds)
	b.showFigures(r.Result)
	b.showHistogram(r.Result.All)
	b.showServers(r)
	return nil
}

func (b *benchRun) showFigures(r *bench.Result) {
	t := newTable("OPERATION", "DONE", "FAILED", "PER SECOND", "MEAN", "P50", "P90", "P99", "P99.9", "MAX").
		numeric(1, 2, 3, 4, 5, 6, 7, 8, 9)
	rows := slices.Clone(r.Kinds)
	if len(rows) != 1 {
		rows = append(rows, r.All)
	}
	for _, f := range rows {
		t.add(append([]string{
			f.Kind, strconv.FormatUint(f.Done, 10), strconv.FormatUint(f.Failed, 10), fmt.Sprintf("%.0f", f.PerSecond),
		}, latencyCells(f.Latency)...)...)
	}
	t.write(b.app.stdout, nil)
	for _, f := range r.Kinds {
		for _, kind := range slices.Sorted(maps.Keys(f.Errors)) {
			fmt.Fprintf(b.app.stdout, "%s: %d failed: %s\n", f.Kind, f.Errors[kind], kind)
		}
	}
	if b.f.rate > 0 {
		fmt.Fprintf(b.app.stdout, "Started late by (ms): p50 %.3f, p99 %.3f, at most %.3f. Due but not started: %d.\n",
			r.Lag.P50, r.Lag.P99, r.Lag.Max, r.NotStarted)
	}
}

func latencyCells(l bench.Latency) []string {
	out := make([]string, 0, 6)
	for _, ms := range []float64{l.Mean, l.P50, l.P90, l.P99, l.P999, l.Max} {
		out = append(out, fmt.Sprintf("%.3f", ms))
	}
	return out
}

// barWidth is how wide the longest bar of a histogram is.
const barWidth = 50

// showHistogram prints the latencies of all operations, one line for each step of 1, 2, 5, 10, ...
func (b *benchRun) showHistogram(f bench.Figures) {
	fmt.Fprint(b.app.stdout, "\nLatency in milliseconds. How many operations took up to:\n\n")
	most := uint64(1)
	for _, bar := range f.Histogram {
		most = max(most, bar.Count)
	}
	t := newTable("UP TO", "COUNT", "SHARE", "").numeric(0, 1, 2)
	for _, bar := range f.Histogram {
		// What is there at all can be seen.
		length := (bar.Count*barWidth + most - 1) / most
		t.add(strconv.FormatFloat(bar.To, 'f', -1, 64), strconv.FormatUint(bar.Count, 10),
			fmt.Sprintf("%.2f%%", 100*float64(bar.Count)/float64(max(f.Done, 1))), strings.Repeat("#", int(length)))
	}
	t.write(b.app.stdout, nil)
}

// showServers prints what the nodes used.
func (b *benchRun) showServers(r *benchReport) {
	t := newTable("PROCESS", "CPU S", "PER MILLION", "MEMORY", "FSYNCS", "MS EACH", "MESSAGES/FRAME").numeric(1, 2, 3, 4, 5, 6)
	ops := r.Result.All.Done
	var fsyncs, messages, frames float64
	for _, p := range r.Servers.Processes {
		fsyncs, messages, frames = fsyncs+p.Fsyncs, messages+p.Messages, frames+p.Frames
		t.add(strings.Join(p.Nodes, " "), fmt.Sprintf("%.2f", p.CPU), fmt.Sprintf("%.1f", bench.PerMillion(p.CPU, ops)),
			bytesText(p.Memory), fmt.Sprintf("%.0f", p.Fsyncs), ratioText(1000*p.FsyncSeconds, p.Fsyncs), ratioText(p.Messages, p.Frames))
	}
	if len(r.Servers.Processes) > 1 {
		t.add("all nodes", fmt.Sprintf("%.2f", r.Servers.CPU), fmt.Sprintf("%.1f", bench.PerMillion(r.Servers.CPU, ops)), "-",
			fmt.Sprintf("%.0f", fsyncs), "-", ratioText(messages, frames))
	}
	t.add("this client", fmt.Sprintf("%.2f", r.ClientCPU), fmt.Sprintf("%.1f", r.ClientCPUPerMillion), "-", "-", "-", "-")
	fmt.Fprintln(b.app.stdout)
	t.write(b.app.stdout, nil)
	for _, note := range r.Servers.Notes {
		b.app.note("%s", note)
	}
	if !r.Servers.Complete {
		b.app.note("The CPU time of all nodes is not known.")
	}
}

// ratioText is a over b, or a dash if there is nothing to divide by.
func ratioText(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
