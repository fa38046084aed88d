package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/node"
	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/node/telemetry"
)

const (
	// maxDevNodes bounds a cluster in one process.
	maxDevNodes = 9
	// meetTimeout and meetPause are for how long, and how often, a new cluster is asked whether all of it
	// is ready.
	meetTimeout = 10 * time.Second
	meetPause   = 50 * time.Millisecond
)

// devFlags are the flags of dev.
type devFlags struct {
	dir       string
	nodes     int
	ephemeral bool
	verbose   bool
}

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster of five nodes in this process, to try things on",
		Long: `Run a cluster of five nodes in this process, on loopback, until Ctrl-C. The data is durable: the next
dev with the same --dir goes on with it.`,
		Example: `  starling dev
  starling dev --ephemeral --nodes 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.nodes < 1 || f.nodes > maxDevNodes {
				return misused("--nodes %d: want 1 to %d", f.nodes, maxDevNodes)
			}
			if f.ephemeral && cmd.Flags().Changed("dir") {
				return misused("--ephemeral keeps no data, so it takes no --dir")
			}
			return a.runDev(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "starling-dev", "directory of the data")
	flags.IntVar(&f.nodes, "nodes", 5, "number of nodes")
	flags.BoolVar(&f.ephemeral, "ephemeral", false, "use a temporary directory and remove it at the end")
	flags.BoolVar(&f.verbose, "verbose", false, "log what the nodes do, not only what goes wrong")
	return cmd
}

func (a *app) runDev(ctx context.Context, f devFlags) (err error) {
	if f.ephemeral {
		if f.dir, err = os.MkdirTemp("", "starling-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.dir)) }()
	}
	if err := checkDevDir(f.dir, f.nodes); err != nil {
		return err
	}
	ports, err := freeDevPorts(f.nodes)
	if err != nil {
		return err
	}
	began := time.Now()
	d := devCluster{app: a, log: &sharedWriter{w: a.err}}
	defer func() { err = errors.Join(err, d.close()) }()
	for i := range f.nodes {
		if err := d.start(ctx, devConfig(f, ports, i)); err != nil {
			return err
		}
	}
	if err := d.ready(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := d.met(ctx); err != nil {
		a.note("Not all nodes have found each other yet: %v", err)
	}
	d.welcome(f, time.Since(began))
	return d.wait(ctx)
}

// devConfig is the configuration of the i-th node.
func devConfig(f devFlags, ports devPorts, i int) config.Config {
	const mib = 1 << 20
	c := config.Default()
	c.Name = devName(i)
	c.Dir = filepath.Join(f.dir, c.Name)
	c.Cluster = "dev"
	c.ClientAddr, c.PeerAddr = ports.addr(i, clientPort), ports.addr(i, peerPort)
	c.GossipAddr, c.HTTPAddr = ports.addr(i, gossipPort), ports.addr(i, httpPort)
	c.Join = []string{ports.addr(0, gossipPort)}
	c.BootstrapExpect = f.nodes
	// All of them live in one process, on somebody's laptop.
	c.CacheBytes, c.MemTableBytes, c.ItemCacheBytes = 32*mib, 16*mib, 8*mib
	c.LogLevel = slog.LevelWarn
	if f.verbose {
		c.LogLevel = slog.LevelInfo
	}
	return c
}

func devName(i int) string { return fmt.Sprintf("n%d", i+1) }

// checkDevDir refuses a directory that holds a cluster of another size: the nodes that are missing, or
// too many, would only puzzle.
func checkDevDir(dir string, nodes int) error {
	found := 0
	for i := range maxDevNodes {
		if _, err := os.Stat(filepath.Join(dir, devName(i))); err == nil {
			found++
		}
	}
	if found != 0 && found != nodes {
		return misused("%s holds a cluster of %d nodes: run dev --nodes %d, or choose another --dir", dir, found, found)
	}
	return nil
}

// sharedWriter takes the log lines of several nodes, one at a time.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write writes one line.
func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// devCluster is the nodes of one process.
type devCluster struct {
	app    *app
	log    *sharedWriter
	nodes  []*node.Node
	drains []time.Duration
}

func (d *devCluster) start(ctx context.Context, c config.Config) error {
	n, err := node.Start(ctx, node.Options{Config: c, Logger: telemetry.NewLogger(d.log, c)})
	if err != nil {
		return fmt.Errorf("start node %s: %w", c.Name, err)
	}
	d.nodes, d.drains = append(d.nodes, n), append(d.drains, c.DrainTimeout)
	return nil
}

// ready waits until all nodes serve, one of them fails, or ctx ends.
func (d *devCluster) ready(ctx context.Context) error {
	for _, n := range d.nodes {
		select {
		case <-n.Ready():
		case <-n.Done():
			return fmt.Errorf("node %s stopped: %w", n.Name(), n.Err())
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// met waits until each node knows that all are ready: until then it may refuse writes for want of others.
func (d *devCluster) met(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	var meeting errgroup.Group
	for _, n := range d.nodes {
		meeting.Go(func() error { return seesReady(ctx, n.Addrs().Client, len(d.nodes)) })
	}
	return meeting.Wait()
}

// seesReady waits until the node at addr sees so many nodes alive and ready.
func seesReady(ctx context.Context, addr string, nodes int) error {
	c, err := client.Open(ctx, []string{addr})
	if err != nil {
		return err
	}
	for {
		s, err := c.Status(ctx, client.LocalOnly())
		if err != nil {
			return errors.Join(err, c.Close())
		}
		ready := 0
		for _, n := range s.Nodes {
			if n.Liveness == client.Alive && n.Ready {
				ready++
			}
		}
		if ready >= nodes || !wait(ctx, meetPause) {
			return errors.Join(ctx.Err(), c.Close())
		}
	}
}

// welcome prints where the nodes are, and what to try first.
func (d *devCluster) welcome(f devFlags, took time.Duration) {
	a := d.app
	t := newTable("NODE", "CLIENTS", "METRICS AND HEALTH")
	for _, n := range d.nodes {
		t.add(n.Name(), n.Addrs().Client, "http://"+n.Addrs().HTTP+"/metrics")
	}
	t.write(a.stdout, nil)
	where := "in " + f.dir
	if f.ephemeral {
		where = "in a directory that goes when you stop it"
	}
	at := ""
	if addr := d.nodes[0].Addrs().Client; addr != defaultAddr {
		at = " --addr " + addr
	}
	fmt.Fprintf(a.stdout, "\nReady after %.1f s, with its data %s. Try, in another terminal:\n\n", took.Seconds(), where)
	fmt.Fprintf(a.stdout, "  starling put%s greeting hello\n  starling get%s greeting --explain\n\nCtrl-C stops it.\n", at, at)
	_ = a.stdout.Flush() // run reports what is left of the error when it flushes
}

// wait waits until ctx ends, or a node stops by itself.
func (d *devCluster) wait(ctx context.Context) error {
	stopped := make(chan *node.Node, len(d.nodes))
	ctx, cancel := context.WithCancel(ctx)
	var watchers errgroup.Group
	for _, n := range d.nodes {
		watchers.Go(func() error {
			select {
			case <-n.Done():
				stopped <- n
				cancel()
			case <-ctx.Done():
			}
			return nil
		})
	}
	<-ctx.Done()
	cancel()
	_ = watchers.Wait() // they return no error
	select {
	case n := <-stopped:
		return fmt.Errorf("node %s stopped: %w", n.Name(), n.Err())
	default:
		return nil
	}
}

// close stops all nodes, side by side.
func (d *devCluster) close() error {
	var closing errgroup.Group
	for i, n := range d.nodes {
		closing.Go(func() error { return closeNode(n, d.drains[i]) })
	}
	return closing.Wait()
}
