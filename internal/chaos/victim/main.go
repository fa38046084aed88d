// Command victim is `starling server` with seams: it runs the same node from the same flags, and breaks its disk and its
// network as it is told on stdin (see internal/chaos/seam). It starts when it has got the first settings, and ends when
// stdin does. It serves tests and is no part of the product.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/pflag"

	"github.com/starling-db/starling/internal/chaos/seam"
	"github.com/starling-db/starling/node"
	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/telemetry"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		os.Exit(1)
	}
}

// closeGrace is how much longer than its drain timeout the node may take to stop.
const closeGrace = 10 * time.Second

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := pflag.NewFlagSet("victim", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	c, err := config.Load(flags, nil, "")
	if err != nil {
		return err
	}
	seams := seam.New()
	told, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- seams.Serve(os.Stdin, os.Stdout, func() { close(told) }) }() // ends with the process
	select {
	case <-told:
	case err := <-ended:
		return fmt.Errorf("stdin ended before it said how to start: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
	log := telemetry.NewLogger(os.Stderr, c)
	gossip, _, err := membership.Listen(ctx, c.GossipAddr, log)
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, node.Options{
		Config: c, Logger: log, FS: seams.FS(vfs.Default), Dial: seams.Dial, GossipTransport: seams.Gossip(gossip),
	})
	if err != nil {
		return err // gossip's Shutdown would wait for ever for somebody to take what has arrived; the process ends anyway
	}
	select {
	case <-ctx.Done():
	case <-n.Done():
	case err = <-ended:
	}
	closing, cancel := context.WithTimeout(context.Background(), c.DrainTimeout+closeGrace)
	defer cancel()
	return errors.Join(err, n.Err(), n.Close(closing))
}
