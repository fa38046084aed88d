//go:build unix

// Command suite is scripts/bench: it measures a cluster of real processes with `starling bench`, and beside it, in the same
// minutes, what the machine can do without Starling.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes, besides 0.
const (
	exitFailed = 1 // the figures could not be had
	exitMisuse = 2
	exitMissed = 9 // a target was missed
)

// errMissed: all was measured, and a target was missed.
var errMissed = errors.New("a target was missed")

// usageError is a command line that makes no sense.
type usageError struct{ error }

// options are the flags.
type options struct {
	starling, floor     string
	nodes, runs, procs  int
	duration, warmup    time.Duration
	items, clients      int
	valueBytes          int
	keep                bool
	json, profiles, dir string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errMissed):
		return exitMissed
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	if errors.As(err, new(usageError)) {
		return exitMisuse
	}
	return exitFailed
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "./scripts/bench",
		Short: "Measure a cluster of real processes, and beside it what the machine can do",
		Long: `Measure a cluster of real processes on loopback with starling bench: YCSB's A, B and C, and W, which is updates only.
Between these runs, and for a third of their time, two floors are measured: a bare gRPC echo between two processes,
and Pebble alone with synced writes. The medians are held against the targets that the table names.

Exits 0 if all targets were met, 9 if one was missed, 1 if the figures could not be had, 2 if misused.`,
		Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return run(cmd.Context(), o, os.Stdout)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := cmd.Flags()
	f.StringVar(&o.starling, "starling", "", "path of the starling binary (the script builds it)")
	f.StringVar(&o.floor, "floor", "", "path of the floor binary (the script builds it)")
	f.IntVar(&o.nodes, "nodes", 5, "server processes")
	f.IntVar(&o.procs, "procs", 0, "processors that each node may use at once (GOMAXPROCS); 0: its part of the machine's, at least one")
	f.IntVar(&o.runs, "runs", 3, "runs of each workload, of which the median counts")
	f.DurationVar(&o.duration, "duration", 30*time.Second, "of each run")
	f.DurationVar(&o.warmup, "warmup", 5*time.Second, "before each run")
	f.IntVar(&o.items, "items", 100_000, "items that are stored first")
	f.IntVar(&o.clients, "clients", 64, "callers")
	f.IntVar(&o.valueBytes, "value-bytes", 1024, "bytes of each value, and of the payloads of the floors")
	f.StringVar(&o.dir, "dir", "", "directory of the data, which must be new (default: a temporary one)")
	f.BoolVar(&o.keep, "keep", false, "leave data and logs where they are")
	f.StringVar(&o.json, "json", "", "file for all figures")
	f.StringVar(&o.profiles, "profile", "", "directory for CPU profiles of the nodes, taken in one more run of each workload")
	return cmd
}

func (o *options) check() error {
	switch {
	case o.starling == "" || o.floor == "":
		return usageError{errors.New("--starling and --floor are required: use ./scripts/bench, which builds both")}
	case o.nodes < 1 || o.nodes > 50:
		return usageError{fmt.Errorf("--nodes %d: want 1 to 50", o.nodes)}
	case o.procs < 0:
		return usageError{fmt.Errorf("--procs %d: want at least 0", o.procs)}
	case o.runs < 1 || o.items < 1 || o.clients < 1 || o.valueBytes < 1:
		return usageError{errors.New("--runs, --items, --clients and --value-bytes must be at least 1")}
	case o.duration < time.Second || o.warmup < 0:
		return usageError{errors.New("--duration must be at least 1s, --warmup not negative")}
	}
	return nil
}

// run measures, and prints.
func run(ctx context.Context, o options, out *os.File) (err error) {
	c, err := newCluster(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.start(ctx); err != nil {
		return err
	}
	s := &suite{o: o, c: c, out: out}
	if err := s.measure(ctx); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	rows := table(s.rounds)
	fmt.Fprint(out, render(rows))
	if missed(rows) {
		return errMissed
	}
	return nil
}
