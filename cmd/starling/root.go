package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/starling-db/starling/client"
)

// streams is all that a command may touch of the process it runs in.
type streams struct {
	in       io.Reader
	out, err io.Writer
	// environ is the environment, "KEY=value" each.
	environ []string
	// terminal reports whether one of the writers is a terminal.
	terminal func(w io.Writer) bool
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// getenv returns the value of an environment variable, empty if it is not set.
func (s *streams) getenv(name string) string {
	value := ""
	for _, pair := range s.environ {
		if k, v, ok := strings.Cut(pair, "="); ok && k == name {
			value = v
		}
	}
	return value
}

// app is one run of the binary.
type app struct {
	streams
	// stdout buffers the data; run flushes it.
	stdout *bufio.Writer

	// The flags that every command has.
	addr    string
	timeout time.Duration
	output  output

	// running: the command line was understood, and the command has begun.
	running bool
	// stdinTaken: an argument "-" has read stdin.
	stdinTaken bool
	// answer is what the cluster answered, for whoever runs a command line from within: the tour.
	answer any
}

func newApp(s streams) *app { return &app{streams: s, stdout: bufio.NewWriterSize(s.out, 64<<10)} }

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, s streams) int {
	a := newApp(s)
	if err := a.execute(ctx, args); err != nil {
		return a.fail(err)
	}
	return exitDone
}

// execute carries out one command line.
func (a *app) execute(ctx context.Context, args []string) error {
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if flushErr := a.stdout.Flush(); err == nil {
		err = flushErr
	}
	if err != nil && !a.running && !errors.As(err, new(*usageError)) {
		err = &usageError{err: err}
	}
	return err
}

const rootHelp = `Starling is a leaderless, quorum-replicated key-value database.

Data goes to stdout, progress and errors to stderr; with -o json errors are JSON, too. Exit codes:

`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "starling",
		Short: "A leaderless, quorum-replicated key-value database",
		Long:  rootHelp + exitHelp(),
		Example: `  starling tour                         see in half a minute what it does
  starling dev                          start a cluster of five nodes, to try things on
  starling put greeting hello           store a value
  starling get greeting                 read it back`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.running = true
			return nil
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.stdout)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, command: cmd.CommandPath()}
	})
	addr := a.getenv("STARLING_ADDR")
	if addr == "" {
		addr = defaultAddr
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.addr, "addr", addr, "client addresses of some nodes, separated by commas (or STARLING_ADDR)")
	flags.DurationVar(&a.timeout, "timeout", 0, "time limit of each call, such as 500ms (default 10s)")
	flags.VarP(&a.output, "output", "o", "output format: table, json or raw")
	root.AddCommand(
		a.serverCommand(), a.devCommand(), a.tourCommand(),
		a.putCommand(), a.getCommand(), a.deleteCommand(), a.queryCommand(), a.scanCommand(),
		a.importCommand(), a.exportCommand(), a.bucketCommand(),
		a.statusCommand(), a.healthCommand(), a.ringCommand(), a.hintsCommand(),
		a.repairCommand(), a.verifyCommand(), a.taskCommand(), a.benchCommand(), a.manCommand(), a.versionCommand(),
	)
	a.addCompletion(root)
	for _, cmd := range root.Commands() {
		wrapArgs(cmd)
	}
	return root
}

// defaultAddr is the client address of a node that is told nothing else.
const defaultAddr = "127.0.0.1:7400"

// wrapArgs makes usage errors of what cobra finds wrong with the arguments of a command.
func wrapArgs(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err: fmt.Errorf("%w; usage: %s", err, cmd.UseLine()), command: cmd.CommandPath()}
		}
		return nil
	}
}

// connect opens a client as the flags say; the caller closes it.
func (a *app) connect(ctx context.Context) (*client.Client, error) {
	var opts []client.Option
	if a.timeout < 0 {
		return nil, misused("--timeout %v is negative", a.timeout)
	}
	if a.timeout > 0 {
		opts = append(opts, client.DefaultCallTimeout(a.timeout))
	}
	var addrs []string
	for addr := range strings.SplitSeq(a.addr, ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, misused("--addr names no address")
	}
	return client.Open(ctx, addrs, opts...)
}

// withClient runs f with a client.
func (a *app) withClient(ctx context.Context, f func(c *client.Client) error) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	err = f(c)
	return errors.Join(err, c.Close())
}

// callOptions are those of a call that has no flags but --timeout.
func (a *app) callOptions() []client.CallOption {
	if a.timeout > 0 {
		return []client.CallOption{client.Timeout(a.timeout)}
	}
	return nil
}

// argument returns the bytes of an argument; "-" stands for all of stdin, once in a command.
func (a *app) argument(arg, what string) ([]byte, error) {
	if arg != "-" {
		return []byte(arg), nil
	}
	if a.stdinTaken {
		return nil, misused("%s: stdin was read already: only one argument can be -", what)
	}
	a.stdinTaken = true
	b, err := io.ReadAll(io.LimitReader(a.in, maxStdin+1))
	if err != nil {
		return nil, fmt.Errorf("%s: read stdin: %w", what, err)
	}
	if len(b) > maxStdin {
		return nil, misused("%s: stdin has more than %d bytes", what, maxStdin)
	}
	return b, nil
}

// maxStdin bounds what an argument "-" reads: what one message to a node may hold.
const maxStdin = 64 << 20

// note writes a line for people to stderr.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}
