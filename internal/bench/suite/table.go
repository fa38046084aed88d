package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// target is what a workload is held against.
type target struct {
	workload, what string
	// limit is the most that figure may be, or the least if atLeast.
	limit   float64
	atLeast bool
	// figure takes it from a step and the echo that was measured before it.
	figure func(r, echo report) float64
}

func serverCPU(r, _ report) float64 {
	if r.ServerCPU == nil {
		return 0
	}
	return *r.ServerCPU
}

func ofEcho(r, echo report) float64 {
	if echo.Result == nil || echo.Result.All.PerSecond == 0 {
		return 0
	}
	return r.Result.All.PerSecond / echo.Result.All.PerSecond
}

func residentMiB(r, _ report) float64 {
	if r.Servers == nil {
		return 0
	}
	most := uint64(0)
	for _, p := range r.Servers.Processes {
		most = max(most, p.Memory)
	}
	return float64(most) / (1 << 20)
}

// targets are what the figures are held against, each the median of all runs.
var targets = []target{
	{"a", "server CPU-seconds per million", 150, false, serverCPU},
	{"b", "server CPU-seconds per million", 80, false, serverCPU},
	{"c", "server CPU-seconds per million", 75, false, serverCPU},
	{"c", "reads a second, of the echo's", 0.5, true, ofEcho},
	{"w", "writes a second, of the echo's", 0.3, true, ofEcho},
	{"a", "99th percentile in ms", 15, false, func(r, _ report) float64 { return r.Result.All.Latency.P99 }},
	{"w", "resident MiB, the largest node", 300, false, residentMiB},
}

// row is a target and how it was met.
type row struct {
	Workload string  `json:"workload"`
	What     string  `json:"what"`
	Limit    float64 `json:"target"`
	AtLeast  bool    `json:"at_least"`
	// Median is of all Runs.
	Median float64   `json:"median"`
	Runs   []float64 `json:"runs"`
	Met    bool      `json:"met"`
}

// table holds rounds against the targets. A figure that a run doesn't have, such as the CPU time of a node whose
// metrics could not be read, meets none.
func table(rounds []round) []row {
	rows := make([]row, 0, len(targets))
	for _, t := range targets {
		out := row{Workload: t.workload, What: t.what, Limit: t.limit, AtLeast: t.atLeast}
		for _, r := range rounds {
			out.Runs = append(out.Runs, r.figure(t))
		}
		out.Median = median(out.Runs)
		known := len(out.Runs) > 0 && slices.Min(out.Runs) > 0
		out.Met = known && (t.atLeast && out.Median >= t.limit || !t.atLeast && out.Median <= t.limit)
		rows = append(rows, out)
	}
	return rows
}

// figure is a round's figure for a target, 0 if it has none.
func (r round) figure(t target) float64 {
	var echo report
	for _, s := range r.Steps {
		switch s.Name {
		case echoFloor:
			echo = s.Report
		case t.workload:
			return t.figure(s.Report, echo)
		}
	}
	return 0
}

// median is the middle one, or the mean of the two in the middle; 0 of none.
func median(figures []float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(figures), cmp.Compare[float64])
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func missed(rows []row) bool { return slices.ContainsFunc(rows, func(r row) bool { return !r.Met }) }

// render prints the table.
func render(rows []row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nWORKLOAD\tFIGURE\tTARGET\tMEDIAN\tRUNS\tMET")
	for _, r := range rows {
		sign, met := "<=", "yes"
		if r.AtLeast {
			sign = ">="
		}
		if !r.Met {
			met = "NO"
		}
		runs := make([]string, len(r.Runs))
		for i, f := range r.Runs {
			runs[i] = figureText(f)
		}
		fmt.Fprintf(w, "%s\t%s\t%s %g\t%s\t%s\t%s\n", strings.ToUpper(r.Workload), r.What, sign, r.Limit,
			figureText(r.Median), strings.Join(runs, " "), met)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func figureText(f float64) string {
	if f >= 10 {
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// line sums a measurement up.
func line(name string, r report) string {
	l := r.Result.All
	text := fmt.Sprintf("%-6s %8.0f a second, p50 %.2f ms, p99 %.2f ms", name, l.PerSecond, l.Latency.P50, l.Latency.P99)
	if r.ServerCPU != nil {
		text += fmt.Sprintf(", CPU-seconds per million: servers %.1f, client %.1f", *r.ServerCPU, r.ClientCPU)
	} else {
		text += fmt.Sprintf(", CPU-seconds per million: %.1f", r.ClientCPU)
	}
	if l.Failed > 0 {
		text += fmt.Sprintf(", %d failed", l.Failed)
	}
	return text
}
