package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/internal/kvfake"
	"github.com/starling-db/starling/internal/proctest"
)

func TestMain(m *testing.M) {
	// Processes are started from one goroutine that lasts.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/starling-db/starling/internal/spawn.startAll"),
		goleak.Cleanup(func(code int) {
			if err := proctest.RemoveBinary(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(code)
		}))
}

// cli runs command lines against a cluster.
type cli struct {
	cluster *kvfake.Cluster
	stdin   string
	// terminal: stdout and stderr are one.
	terminal bool
	ctx      context.Context
	environ  []string // more of it
}

// ran is what a command line did.
type ran struct {
	code        int
	out, errors string
}

func (c cli) run(t testing.TB, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	environ := append([]string{"HOME=/nowhere"}, c.environ...)
	if c.cluster != nil {
		environ = append(environ, "STARLING_ADDR="+strings.Join(c.cluster.Addrs(), ","))
	}
	ctx := c.ctx
	if ctx == nil {
		ctx = t.Context()
	}
	code := run(ctx, args, streams{
		in: strings.NewReader(c.stdin), out: &out, err: &errs, environ: environ,
		terminal: func(io.Writer) bool { return c.terminal },
	})
	return ran{code: code, out: out.String(), errors: errs.String()}
}

// must runs a command line that has to succeed, and returns its stdout.
func (c cli) must(t testing.TB, args ...string) string {
	t.Helper()
	r := c.run(t, args...)
	if r.code != exitDone {
		t.Fatalf("starling %s: exit %d\n%s", strings.Join(args, " "), r.code, r.errors)
	}
	return r.out
}
