package main

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/bench"
)

// Bounds of what a benchmark may be told.
const (
	maxBenchCallers     = 100_000
	maxBenchConnections = 1_000
	maxBenchValue       = 16 << 20
)

// benchFlags are the flags of a benchmark.
type benchFlags struct {
	call         callFlags
	workload     string
	distribution string
	items        uint64
	valueBytes   int
	clients      int
	connections  int
	duration     time.Duration
	warmup       time.Duration
	rate         float64
	even         bool
	n            int
	conflict     string
	loadOnly     bool
	skipLoad     bool
	seed         uint64
	maxErrors    float64
	json         bool
}

func (a *app) benchCommand() *cobra.Command {
	f := benchFlags{call: callFlags{app: a}}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how much a cluster does, how fast, and at what cost",
		Long: `Measure how much a cluster does, how fast, and at what cost: YCSB's core workloads, histograms of latency, and
the CPU time that the nodes spend on an operation, as their /metrics tell it.

` + benchWorkloads() + `
First the items are stored, then the workload warms up, then it is measured. Without --rate each of the --clients
callers starts an operation as soon as its last one has ended. With --rate operations are due at times that are
set beforehand, and latency counts from then on, however late a caller was free: a node that stands still is
seen in all operations that were due meanwhile. --clients is then how many may be under way.

The bucket is made if it is not there, with the policy lww: an update reads nothing, and in a siblings bucket writers
that read nothing would add a version each time. With --conflict siblings, or in a bucket that is so, every
update reads its item first and writes with the context of that read; its latency is that of both.

Ctrl-C ends the run early and prints what was measured until then. The exit code is 1 if more than
--max-errors of the operations failed. docs/performance.md says how to read the figures.`,
		Example: `  starling bench --workload a --duration 30s
  starling bench --workload c --skip-load --rate 2000 --clients 256
  starling bench --workload b --json >b.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.json {
				a.output = outputJSON
			}
			b, err := a.newBenchRun(&f)
			if err != nil {
				return err
			}
			return b.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.workload, "workload", "a", "workload: a letter from the list above")
	flags.StringVar(&f.distribution, "distribution", "", "which items are asked for: zipfian, uniform or latest (default: the workload's own)")
	flags.Uint64Var(&f.items, "items", 100_000, "items that are stored first")
	flags.IntVar(&f.valueBytes, "value-bytes", 1024, "bytes of each value")
	flags.IntVar(&f.clients, "clients", 64, "callers, that is operations under way at most")
	flags.IntVar(&f.connections, "connections", 1, "clients that the callers share, each with its own connections")
	flags.DurationVar(&f.duration, "duration", 30*time.Second, "for how long to measure")
	flags.DurationVar(&f.warmup, "warmup", 5*time.Second, "for how long to run before that")
	flags.Float64Var(&f.rate, "rate", 0, "operations due each second, done or not (0: as many as the callers manage)")
	flags.BoolVar(&f.even, "even", false, "with --rate: at even intervals, not at random ones (Poisson)")
	flags.StringVarP(&f.call.bucket, "bucket", "b", "bench", "bucket, made if it is not there")
	flags.IntVarP(&f.n, "replicas", "n", 0, "replicas of each item in a bucket that is made (default 3, or the number of nodes if that is less)")
	flags.StringVar(&f.conflict, "conflict", "", "policy of a bucket that is made: lww or siblings (default lww)")
	flags.BoolVar(&f.loadOnly, "load-only", false, "store the items and stop")
	flags.BoolVar(&f.skipLoad, "skip-load", false, "take the items to be stored, by an earlier run with the same --items (of e, if this is e)")
	flags.Uint64Var(&f.seed, "seed", 1, "what all draws follow from")
	flags.Float64Var(&f.maxErrors, "max-errors", 0.01, "share of operations that may fail, 0 to 1")
	flags.BoolVar(&f.json, "json", false, "the same as -o json: all figures, on stdout")
	f.call.read(cmd)
	f.call.write(cmd)
	return cmd
}

func benchWorkloads() string {
	var b strings.Builder
	for _, w := range bench.Workloads() {
		fmt.Fprintf(&b, "  %s  %s\n", w.Name, w.About)
	}
	return b.String()
}

// benchChoices are the workloads for the completion of shells.
func benchChoices() (out []string) {
	for _, w := range bench.Workloads() {
		out = append(out, w.Name+"\t"+w.About)
	}
	return out
}

// check refuses flags that make no sense.
func (f *benchFlags) check() error {
	switch {
	case f.items < 1:
		return misused("--items %d: want at least 1", f.items)
	case f.valueBytes < 0 || f.valueBytes > maxBenchValue:
		return misused("--value-bytes %d: want 0 to %d", f.valueBytes, maxBenchValue)
	case f.clients < 1 || f.clients > maxBenchCallers:
		return misused("--clients %d: want 1 to %d", f.clients, maxBenchCallers)
	case f.connections < 1 || f.connections > maxBenchConnections:
		return misused("--connections %d: want 1 to %d", f.connections, maxBenchConnections)
	case f.duration <= 0 || f.warmup < 0:
		return misused("--duration %v, --warmup %v: want more than nothing, and not less than nothing", f.duration, f.warmup)
	case !(f.rate >= 0 && f.rate <= 1e6):
		return misused("--rate %g: want 0 to 1000000", f.rate)
	case f.even && f.rate == 0:
		return misused("--even says how operations of a --rate come")
	case !(f.maxErrors >= 0 && f.maxErrors <= 1):
		return misused("--max-errors %g: want a share from 0 to 1", f.maxErrors)
	case f.loadOnly && f.skipLoad:
		return misused("--load-only and --skip-load leave nothing to do")
	case f.n < 0:
		return misused("-n %d is negative", f.n)
	}
	return nil
}

// benchRun is one run of bench.
type benchRun struct {
	app      *app
	f        *benchFlags
	workload bench.Workload
	// distribution is the one that is used.
	distribution bench.Distribution
	conflict     client.Conflict
	opts         []client.CallOption
	items        *bench.Items
	values       *bench.Values

	clients []*client.Client
	bucket  client.Bucket
	// made: the bucket was not there before.
	made bool
}

func (a *app) newBenchRun(f *benchFlags) (*benchRun, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	b := &benchRun{app: a, f: f}
	var err error
	if b.workload, err = bench.ParseWorkload(f.workload); err != nil {
		return nil, misused("--workload: %w", err)
	}
	b.distribution = b.workload.Distribution
	if f.distribution != "" {
		if b.distribution, err = bench.ParseDistribution(f.distribution); err != nil {
			return nil, misused("--distribution: %w", err)
		}
	}
	if f.conflict != "" {
		if b.conflict, err = client.ParseConflict(f.conflict); err != nil {
			return nil, misused("--conflict: %w", err)
		}
	}
	if b.opts, err = f.call.options(); err != nil {
		return nil, err
	}
	// Inserts of another run, with another mark, are of other items; the seed must not decide that.
	if b.items, err = bench.NewItems(f.items, b.workload.Grouped, mathrand.Uint64()); err != nil {
		return nil, err
	}
	b.values = bench.NewValues(f.valueBytes, f.seed)
	return b, nil
}

// run does all that the flags say.
func (b *benchRun) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.connect(ctx, 1); err != nil {
		return err
	}
	if err := b.ensureBucket(ctx); err != nil {
		return err
	}
	report := b.newReport()
	if !b.f.skipLoad {
		if report.Load, err = b.load(ctx); err != nil {
			return err
		}
		b.app.note("Stored %d items in %.1f s (%.0f a second).", report.Load.Items, report.Load.Seconds, report.Load.PerSecond)
	}
	if b.f.loadOnly {
		return b.show(report)
	}
	// Only now: a client that did not make the bucket asks nodes that may not know of it yet.
	if err := b.connect(ctx, b.f.connections); err != nil {
		return err
	}
	if err := b.measure(ctx, report); err != nil {
		return err
	}
	if err := b.show(report); err != nil {
		return err
	}
	return b.verdict(ctx, report.Result)
}

// connect opens clients until there are so many.
func (b *benchRun) connect(ctx context.Context, clients int) error {
	for len(b.clients) < clients {
		c, err := b.app.connect(ctx)
		if err != nil {
			return err
		}
		b.clients = append(b.clients, c)
	}
	return nil
}

func (b *benchRun) close() (err error) {
	for _, c := range b.clients {
		err = errors.Join(err, c.Close())
	}
	return err
}

// measure warms up, then measures.
func (b *benchRun) measure(ctx context.Context, report *benchReport) error {
	runner, err := bench.NewRunner(bench.Options{
		Workload: b.workload, Distribution: b.distribution, Items: b.items, Values: b.values,
		Callers: b.f.clients, Rate: b.f.rate, Even: b.f.even, Seed: b.f.seed,
		Do: b.do, ErrorKind: benchErrorKind,
	})
	if err != nil {
		return err
	}
	if b.f.warmup > 0 {
		b.app.note("Warming up for %v.", b.f.warmup)
		if warm := runner.Run(ctx, b.f.warmup); warm.Interrupted {
			return fmt.Errorf("bench interrupted before anything was measured: %w", ctx.Err())
		}
	}
	nodes := newBenchNodes(ctx, b.clients[0], b.app.callOptions())
	before, own := nodes.sample(ctx), bench.OwnMetrics()
	b.app.note("Measuring for %v.", b.f.duration)
	report.Result = runner.Run(ctx, b.f.duration)
	report.ClientCPU, _ = bench.OwnMetrics().CPUSince(own)
	// What was measured is complete even if the user has had enough.
	after := nodes.sample(context.WithoutCancel(ctx))
	report.Servers = bench.NewUsage(before, after)
	if nodes.err != nil {
		report.Servers.Notes = append(report.Servers.Notes, fmt.Sprintf("No figures of the nodes: %v.", nodes.err))
	}
	return nil
}

// verdict is the error of a run that was measured.
func (b *benchRun) verdict(ctx context.Context, r *bench.Result) error {
	switch share := r.ErrorShare(); {
	case r.Interrupted:
		return fmt.Errorf("bench interrupted: %w", ctx.Err())
	case r.Attempts() == 0:
		return fmt.Errorf("bench: no operation ended within %v", b.f.duration)
	case share > b.f.maxErrors:
		return fmt.Errorf("bench: %.1f%% of the operations failed, and --max-errors allows %.1f%%", 100*share, 100*b.f.maxErrors)
	}
	return nil
}
