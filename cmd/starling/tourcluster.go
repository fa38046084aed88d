package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/internal/loopback"
	"github.com/starling-db/starling/internal/spawn"
)

// tourNode is one server of the tour, whether its process runs or not.
type tourNode struct {
	*spawn.Process
	name                       string
	client, peer, gossip, http string
	// meant: the tour ends the present run itself.
	meant *atomic.Bool
}

// tourCluster is servers in processes of their own, so that one can be killed.
type tourCluster struct {
	nodes []*tourNode
	// fail is told of a server that ends by itself.
	fail     context.CancelCauseFunc
	watchers sync.WaitGroup
}

// newTourCluster finds addresses for the servers. It starts none.
func newTourCluster(dir string, fail context.CancelCauseFunc) (*tourCluster, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary, to start servers: %w", err)
	}
	const ports = 4
	addrs, err := loopback.FreeAddrs(ports * tourNodes)
	if err != nil {
		return nil, err
	}
	c := &tourCluster{fail: fail}
	for i := range tourNodes {
		at := addrs[i*ports:]
		n := &tourNode{name: devName(i), client: at[0], peer: at[1], gossip: at[2], http: at[3]}
		n.Process = &spawn.Process{
			Name: n.name, Binary: binary, Args: tourServer(n, filepath.Join(dir, n.name), addrs[2]),
			Env: spawn.ServerEnviron(), LogFile: filepath.Join(dir, n.name+".log"), Apart: true,
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// tourServer are the arguments of a server. It waits longer than usual for slow replicas: on a busy machine a node that
// is merely late would get a stand-in, and the tour would have to explain why.
func tourServer(n *tourNode, dir, join string) []string {
	return []string{
		"server", "--name", n.name, "--dir", dir, "--cluster", "tour",
		"--client-addr", n.client, "--peer-addr", n.peer, "--gossip-addr", n.gossip, "--http-addr", n.http,
		"--join", join, "--bootstrap-expect", strconv.Itoa(tourNodes),
		"--slow-replica", "5s", "--cache-bytes", "16MiB", "--memtable-bytes", "16MiB",
	}
}

// endedError is a server that has ended by itself.
type endedError struct{ name, log string }

func (e *endedError) Error() string {
	return fmt.Sprintf("server %s has ended by itself; the end of its log:\n%s", e.name, e.log)
}

// start starts a server, and sees to it that the tour hears of an end that it does not mean.
func (c *tourCluster) start(n *tourNode) error {
	if err := n.Start(); err != nil {
		return err
	}
	meant, ended := new(atomic.Bool), n.Ended()
	n.meant = meant
	c.watchers.Go(func() {
		<-ended
		if !meant.Load() {
			c.fail(&endedError{name: n.name, log: n.Tail(5)})
		}
	})
	return nil
}

// kill ends a server with SIGKILL, and waits until it has gone.
func (c *tourCluster) kill(n *tourNode) {
	n.meant.Store(true)
	n.Kill()
}

// stopGrace is how long a server may take to stop in the orderly way before it is killed.
const stopGrace = 20 * time.Second

// close ends all servers: in the orderly way if their data is to be kept, else at once.
func (c *tourCluster) close(orderly bool) {
	var stopping sync.WaitGroup
	for _, n := range c.nodes {
		if n.meant == nil {
			continue // was never started
		}
		stopping.Go(func() {
			n.meant.Store(true)
			if orderly && n.Running() && n.Signal(syscall.SIGTERM) == nil {
				_, _ = n.Wait(stopGrace) // Kill ends one that takes longer
			}
			n.Kill()
		})
	}
	stopping.Wait()
	c.watchers.Wait()
}

// met waits until each server sees all of them alive and ready.
func (c *tourCluster) met(ctx context.Context) error {
	var meeting errgroup.Group
	for _, n := range c.nodes {
		meeting.Go(func() error {
			return until(ctx, func(ctx context.Context) error { return seesReady(ctx, n.client, len(c.nodes)) })
		})
	}
	if err := meeting.Wait(); err != nil {
		return fmt.Errorf("the servers have not all found each other: %w", err)
	}
	return nil
}

// until tries something again until it succeeds. After tourPatience it returns what went wrong last.
func until(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tourPatience)
	defer cancel()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // what ctx does to the last try tells nothing
		}
		if !wait(ctx, meetPause) {
			return fmt.Errorf("still not after %v: %w", tourPatience, last)
		}
	}
}
