//go:build unix

// Command cmd is scripts/chaos: it breaks a cluster of real processes under load and checks that all promises were kept.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/internal/chaos"
	"github.com/starling-db/starling/internal/check"
	"github.com/starling-db/starling/internal/history"
)

// Exit codes, besides 0.
const (
	exitFailed = 1 // the run could not be made
	exitMisuse = 2
	exitBroken = 9 // something that was promised was not kept
)

// Targets.
const (
	auto      = "auto"
	processes = "processes"
	compose   = "compose"
)

// errBroken is a run that was made, and has found something.
var errBroken = errors.New("promises were broken")

// usageError is a command line that makes no sense.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(exitCode(command().ExecuteContext(ctx)))
}

func exitCode(err error) int {
	var misuse usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errBroken):
		return exitBroken
	case errors.As(err, &misuse):
		return exitMisuse
	default:
		return exitFailed
	}
}

// flags are those of the command line.
type flags struct {
	chaos.Options
	target  string
	nodes   int
	history string
	check   string
	keep    bool
}

func command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break a cluster of real processes under load, and check that all promises were kept",
		Long: `Start five servers, let clients work on them, and break something every few seconds: kill -9, SIGSTOP, cuts of the
network in both and in one direction, fsyncs that fail or take long, full disks, a restart of all. What the clients saw is
recorded. When all is healed every item is read from all its owners, and the history is held against what was promised.

The target says what is broken: processes of this machine; the containers of deploy/docker-compose.yml, whose disks can't
be broken; or the one and then, for a quarter of the time and where a container engine answers, the other.

Exits 0 if everything was kept, 9 if anything was broken, 2 if misused, 1 if the run could not be made.`,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown argument %q", args[0])}
			}
			if err := f.validate(); err != nil {
				return usageError{err}
			}
			f.Out = cmd.OutOrStdout()
			if f.check != "" {
				return recheck(f)
			}
			return runTargets(cmd.Context(), f)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	fs := cmd.Flags()
	fs.DurationVar(&f.Duration, "duration", 2*time.Minute, "how long clients work")
	fs.Uint64Var(&f.Seed, "seed", 1, "what decides the faults: the same seed and duration break the same things at the same times")
	fs.StringVar(&f.target, "target", auto, "processes, compose, or auto: both where that is possible")
	fs.IntVar(&f.nodes, "nodes", 5, "how many processes; containers are five")
	fs.IntVar(&f.Sessions, "sessions", chaos.DefaultSessions, "clients at work")
	fs.DurationVar(&f.Think, "think", chaos.DefaultThink, "mean pause of a client between two operations")
	fs.DurationVar(&f.MinGap, "min-gap", chaos.DefaultMinGap, "shortest time between two faults")
	fs.DurationVar(&f.MaxGap, "max-gap", chaos.DefaultMaxGap, "longest time between two faults")
	fs.BoolVar(&f.Spoil, "spoil", false, "also put nodes' old disks back and damage records; of processes only, and some promises don't hold then")
	fs.StringVar(&f.history, "history", "", "keep the history in this file (JSON lines, gzip); a run that fails keeps it anyway")
	fs.StringVar(&f.check, "replay-check", "", "check the history in this file instead of making a run")
	fs.BoolVar(&f.keep, "keep", false, "keep the nodes' data and logs")
	return cmd
}

func (f *flags) validate() error {
	switch {
	case f.target != auto && f.target != processes && f.target != compose:
		return fmt.Errorf("--target %q: must be %s, %s or %s", f.target, auto, processes, compose)
	case f.Spoil && f.target == compose:
		return errors.New("--spoil: the disks of containers can't be got at, use --target processes")
	case f.Duration <= 0:
		return fmt.Errorf("--duration %v: must be positive", f.Duration)
	case f.nodes < 3 || f.nodes > 20:
		return fmt.Errorf("--nodes %d: must be 3 to 20", f.nodes)
	case f.Sessions < 1 || f.Sessions > 1000:
		return fmt.Errorf("--sessions %d: must be 1 to 1000", f.Sessions)
	case f.Think < 0:
		return fmt.Errorf("--think %v: must not be negative", f.Think)
	case f.MinGap <= 0 || f.MaxGap < f.MinGap:
		return fmt.Errorf("--min-gap %v --max-gap %v: must be positive, in this order", f.MinGap, f.MaxGap)
	}
	return nil
}

// recheck checks a history that was kept.
func recheck(f flags) error {
	run, err := chaos.ReadFile(f.check)
	if err != nil {
		return err
	}
	return verdict(f, check.All(run))
}

func verdict(f flags, broken []history.Violation) error {
	switch passed, err := chaos.Verdict(f.Out, broken); {
	case err != nil:
		return err
	case !passed:
		return errBroken
	}
	return nil
}

// composeShare is what part of the duration containers get beside processes, and at least leastCompose.
const (
	composeShare = 4
	leastCompose = 30 * time.Second
)

// runTargets runs what the flags ask for. Containers are broken also when processes have shown that something is wrong.
func runTargets(ctx context.Context, f flags) error {
	if f.target != auto {
		return run(ctx, f, f.target)
	}
	err := run(ctx, f, processes)
	if err != nil && !errors.Is(err, errBroken) {
		return err
	}
	if why := chaos.EngineAnswers(ctx); why != nil {
		_, _ = fmt.Fprintf(f.Out, "left out: containers: %v\n", why) // nobody to tell
		return err
	}
	f.Duration, f.history, f.Spoil = max(f.Duration/composeShare, leastCompose), "", false
	return errors.Join(err, run(ctx, f, compose))
}

// run breaks one target.
func run(ctx context.Context, f flags, target string) (err error) {
	dir, err := os.MkdirTemp("", "starling-chaos-")
	if err != nil {
		return err
	}
	keep := f.keep
	defer func() {
		if keep {
			fmt.Fprintf(os.Stderr, "data and logs of the nodes are in %s\n", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	_, _ = fmt.Fprintf(f.Out, "=== %s\n", target) // nobody to tell
	var cluster chaos.Cluster
	if target == compose {
		cluster, err = chaos.StartCompose(ctx, dir)
	} else {
		cluster, err = chaos.StartProcesses(ctx, dir, f.nodes)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	history, broken, err := chaos.Run(ctx, cluster, f.Options)
	if err != nil {
		keep = keep || ctx.Err() == nil
		return err
	}
	path := f.history
	if len(broken) > 0 {
		keep = true
		if path == "" {
			path = filepath.Join(dir, "history.jsonl.gz")
		}
	}
	if path != "" {
		if err := chaos.WriteFile(path, history); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(f.Out, "the history is in %s\n", path) // nobody to tell
	}
	return verdict(f, broken)
}
