package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// tourNodes is how many nodes the tour has: enough that a dead owner leaves others, and some to stand in.
	tourNodes = 5
	// tourPatience bounds each wait for the cluster. It takes a second or two, unless the machine is busy.
	tourPatience = time.Minute
	// tourPause is how long a reader at a terminal is given between steps.
	tourPause = 2 * time.Second
)

// tourFlags are the flags of tour.
type tourFlags struct {
	pause time.Duration
	keep  bool
	dir   string
}

func (a *app) tourCommand() *cobra.Command {
	var f tourFlags
	cmd := &cobra.Command{
		Use:   "tour",
		Short: "See in half a minute what Starling does, on a cluster of its own",
		Long: `See in half a minute what Starling does: a write, the death of a node, the writes that go on without it,
how it gets what it missed, and two writers who did not see each other. The tour starts five servers on this
machine, shows each command with what it answers, and checks what it says about it.

Exit code 9: a step did not hold; stderr says which and why. The servers end with the tour, and what they stored
is removed, unless --keep is given.`,
		Example: `  starling tour
  starling tour --pause 5s
  starling tour --keep --dir ./tour`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.pause < 0 {
				return misused("--pause %v is negative", f.pause)
			}
			if !cmd.Flags().Changed("pause") && a.terminal(a.out) {
				f.pause = tourPause
			}
			return a.runTour(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&f.pause, "pause", 0, "time to read between steps (default 2s on a terminal, none elsewhere)")
	flags.BoolVar(&f.keep, "keep", false, "leave the data and the logs of the servers")
	flags.StringVar(&f.dir, "dir", "", "directory for them, new or empty (default a temporary one)")
	return cmd
}

func (a *app) runTour(ctx context.Context, f tourFlags) (err error) {
	dir, tidy, err := tourDir(f.dir)
	if err != nil {
		return err
	}
	// A reader who closes the terminal, or the pager, has seen enough, too; and there is something to tidy away.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	cluster, err := newTourCluster(dir, fail)
	if err != nil {
		return errors.Join(err, tidy())
	}
	defer func() {
		cluster.close(f.keep)
		if f.keep {
			a.note("The servers have ended. Their data and logs are in %s.", dir)
			return
		}
		err = errors.Join(err, tidy())
	}()
	t := &tour{app: a, cluster: cluster, pause: f.pause, door: cluster.nodes[0]}
	return t.run(ctx)
}

// tourDir makes the directory of a tour, and returns how to tidy it away. One that is there must be empty: what is in it
// goes at the end.
func tourDir(dir string) (path string, tidy func() error, err error) {
	if dir == "" {
		path, err = os.MkdirTemp("", "starling-tour-")
		return path, func() error { return os.RemoveAll(path) }, err
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	if err = os.Mkdir(path, 0o700); err == nil {
		return path, func() error { return os.RemoveAll(path) }, nil
	}
	if !errors.Is(err, os.ErrExist) {
		return "", nil, fmt.Errorf("--dir: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) > 0 {
		return "", nil, misused("--dir %s is not empty: the tour removes what it finds there; choose another", dir)
	}
	return path, func() error { return removeEntries(path) }, err
}

// removeEntries empties a directory.
func removeEntries(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// tour is one guided walk through a cluster of its own.
type tour struct {
	app     *app
	cluster *tourCluster
	pause   time.Duration
	// door is the node that commands are sent to. It stays alive.
	door *tourNode
	tourMemory
}

// tourStep is a part of the tour: what it does, and checks.
type tourStep struct {
	title string
	run   func(context.Context) error
}

// stepError is a step that did not hold.
type stepError struct {
	number int
	title  string
	cause  error
}

func (e *stepError) Error() string {
	return fmt.Sprintf("tour: step %d (%s) did not hold: %v", e.number, e.title, e.cause)
}

func (e *stepError) Unwrap() error { return e.cause }

// run takes the steps. It ends at the first one that does not hold, or with ctx.
func (t *tour) run(ctx context.Context) error {
	began := time.Now()
	paused := time.Duration(0)
	steps := t.steps()
	for i, step := range steps {
		if i > 0 {
			paused += t.pause
			wait(ctx, t.pause)
		}
		t.print("\n" + t.app.paint(bold, fmt.Sprintf("%d. %s", i+1, step.title)) + "\n")
		if err := t.take(ctx, step); err != nil {
			return t.failed(ctx, i+1, step, err)
		}
	}
	took := fmt.Sprintf("%.1f s", (time.Since(began) - paused).Seconds())
	if paused > 0 {
		took += ", pauses aside"
	}
	t.print(fmt.Sprintf("\nAll %d steps held, in %s. To go on by yourself:\n\n"+
		"  starling dev       a cluster that stays, until Ctrl-C\n  starling --help    what else there is\n\n", len(steps), took))
	return t.app.stdout.Flush()
}

// take takes one step. A cluster that has lost a node by itself, or a reader who has seen enough, ends it.
func (t *tour) take(ctx context.Context, step tourStep) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := step.run(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, t.app.stdout.Flush())
}

// failed says what became of a step: it was interrupted, or did not hold.
func (t *tour) failed(ctx context.Context, number int, step tourStep, err error) error {
	if ctx.Err() != nil && !errors.As(err, new(*endedError)) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("tour interrupted in step %d (%s)", number, step.title)
	}
	return &stepError{number: number, title: step.title, cause: err}
}

// print shows text at once: the reader follows while things happen.
func (t *tour) print(text string) {
	_, _ = t.app.stdout.WriteString(text) // an error stays until it is flushed
	_ = t.app.stdout.Flush()              // and is returned by take
}

// say narrates.
func (t *tour) say(format string, args ...any) { t.print("\n" + fmt.Sprintf(format, args...) + "\n") }

// held says what was checked and found to be so.
func (t *tour) held(format string, args ...any) {
	t.print(t.app.paint(green, "holds:") + " " + fmt.Sprintf(format, args...) + "\n")
}

// prompt shows a command as it is typed.
func (t *tour) prompt(command string) { t.print("\n" + t.app.paint(cyan, "$ "+command) + "\n") }

// starling carries out one command line, as a process of its own would, shows it and what it says, and returns what the
// cluster has answered.
func (t *tour) starling(ctx context.Context, words ...string) (any, error) {
	words = append(words, "--addr", t.door.client)
	t.prompt(commandLine(words))
	var said bytes.Buffer
	a := newApp(streams{
		in: strings.NewReader(""), out: &said, err: &said, environ: t.app.environ,
		terminal: func(io.Writer) bool { return t.app.terminal(t.app.out) },
	})
	err := a.execute(ctx, words)
	t.print(said.String())
	return a.answer, err
}

// commandLine is a command of this binary, as a shell takes it.
func commandLine(words []string) string {
	line := "starling"
	for _, word := range words {
		line += " " + shellWord([]byte(word))
	}
	return line
}
