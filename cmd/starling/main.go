// Command starling is the one binary of Starling: a server, a cluster to try things on, and the client
// and operator commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for a graceful end, the second one ends the process.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], streams{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(), terminal: isTerminal,
	})
	stop()
	os.Exit(code)
}
