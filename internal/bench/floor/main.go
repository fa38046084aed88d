// Command floor measures what a request and a write cost at least on a machine, without Starling: a bare gRPC call
// between two processes, and Pebble alone. scripts/bench runs it beside Starling, so that ratios are of the same minutes.
//
// It prints one JSON object, of type Report.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/internal/bench"
)

// Report is what a floor is.
type Report struct {
	// Floor is "echo" or "pebble".
	Floor  string        `json:"floor"`
	Result *bench.Result `json:"result"`
	// CPU is what this process used, ServerCPU what the process at the other end of an echo used.
	CPU       float64 `json:"cpu_seconds"`
	ServerCPU float64 `json:"server_cpu_seconds"`
}

// flags are those of both floors.
type flags struct {
	callers, bytes   int
	duration, warmup time.Duration
	dir              string
	out              io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(os.Stdout).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func command(out io.Writer) *cobra.Command {
	f := flags{out: out}
	root := &cobra.Command{Use: "floor", Short: "Measure what there is to reach", SilenceErrors: true, SilenceUsage: true}
	root.SetOut(out)
	p := root.PersistentFlags()
	p.IntVar(&f.callers, "callers", 64, "operations under way at once")
	p.IntVar(&f.bytes, "bytes", 1024, "bytes of each payload")
	p.DurationVar(&f.duration, "duration", 10*time.Second, "for how long to measure")
	p.DurationVar(&f.warmup, "warmup", time.Second, "for how long to run before that")
	echo := &cobra.Command{
		Use: "echo", Short: "Unary gRPC calls to another process, which sends the payload back", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.echo(cmd.Context()) },
	}
	serve := &cobra.Command{
		Use: serveCommand, Short: "Serve the calls of echo until stdin ends", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.InOrStdin(), out) },
	}
	alone := &cobra.Command{
		Use: "pebble", Short: "Writes to Pebble, each with its fsync", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.pebble(cmd.Context()) },
	}
	alone.Flags().StringVar(&f.dir, "dir", "", "directory, on the disk in question (default: a temporary one)")
	root.AddCommand(echo, serve, alone)
	return root
}

// floorItems is over how many keys Pebble's writes are spread.
const floorItems = 100_000

// measure runs a target, and reports it.
func (f *flags) measure(ctx context.Context, name string, do bench.Target) (Report, error) {
	items, err := bench.NewItems(floorItems, false, 0)
	if err != nil {
		return Report{}, err
	}
	runner, err := bench.NewRunner(bench.Options{
		Workload: bench.UpdatesOnly(), Distribution: bench.Uniform, Items: items, Values: bench.NewValues(f.bytes, 1),
		Callers: f.callers, Seed: 1, Do: do, ErrorKind: func(error) string { return "error" },
	})
	if err != nil {
		return Report{}, err
	}
	runner.Run(ctx, f.warmup)
	before := bench.OwnMetrics()
	r := Report{Floor: name, Result: runner.Run(ctx, f.duration)}
	r.CPU, _ = bench.OwnMetrics().CPUSince(before)
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case r.Result.All.Failed > 0:
		return r, fmt.Errorf("%s: %d of %d operations failed", name, r.Result.All.Failed, r.Result.Attempts())
	}
	return r, nil
}

func (f *flags) print(r Report) error { return json.NewEncoder(f.out).Encode(r) }
