package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/internal/heap"
	"github.com/starling-db/starling/node"
	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/node/telemetry"
)

func (a *app) serverCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a node",
		Long: `Run a node until SIGINT or SIGTERM. Every setting is a flag, an environment variable (--client-addr is
STARLING_CLIENT_ADDR) and a key of the YAML file that --config names (client-addr), in this order of
precedence.

Nodes that found a cluster together are each told how many they are, and where the first of them gossips.
Later nodes are told where any node gossips.`,
		Example: `  starling server --name a --dir /var/lib/starling --bootstrap-expect 1
  starling server --name b --dir /var/lib/starling --gossip-addr 10.0.0.2:7402 \
    --join 10.0.0.1:7402 --bootstrap-expect 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags(), a.environ, file)
			if err != nil {
				return &usageError{err: err}
			}
			return a.serve(cmd.Context(), c)
		},
	}
	config.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&file, "config", "", "YAML file of settings (or STARLING_CONFIG)")
	return cmd
}

// serve runs one node until ctx ends or the node fails.
func (a *app) serve(ctx context.Context, c config.Config) error {
	log := telemetry.NewLogger(a.err, c)
	var background sync.WaitGroup
	defer background.Wait()
	if !heap.Chosen() {
		heapCtx, cancel := context.WithCancel(context.Background())
		defer cancel()
		background.Go(func() { heap.Keep(heapCtx, uint64(c.HeapTarget())) })
	}
	n, err := node.Start(ctx, node.Options{Config: c, Logger: log})
	if err != nil {
		return fmt.Errorf("start node %s: %w", c.Name, err)
	}
	select {
	case <-ctx.Done():
	case <-n.Done():
	}
	failure := n.Err()
	return errors.Join(failure, closeNode(n, c.DrainTimeout))
}

// closeGrace is how much longer than its drain timeout a node may take to stop.
const closeGrace = 10 * time.Second

// closeNode stops a node gracefully. It has a context of its own: the one that ran the node is over.
func closeNode(n *node.Node, drain time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), drain+closeGrace)
	defer cancel()
	return n.Close(ctx)
}
