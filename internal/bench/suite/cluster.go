//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/internal/loopback"
	"github.com/starling-db/starling/internal/spawn"
)

const (
	// readyTimeout is how long the nodes are waited for, stopTimeout how long they may take to stop.
	readyTimeout = time.Minute
	stopTimeout  = 30 * time.Second
	// tailLines is how much of a node's log is shown when it fails.
	tailLines = 20
)

// cluster is the server processes.
type cluster struct {
	o     options
	base  string
	nodes []*serverNode
	web   *http.Client
}

// serverNode is one of them.
type serverNode struct {
	*spawn.Process
	client, http string
}

// newCluster makes a directory and finds addresses.
func newCluster(o options) (c *cluster, err error) {
	c = &cluster{o: o, base: o.dir, web: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	if c.base == "" {
		c.base, err = os.MkdirTemp("", "starling-bench-")
	} else {
		err = os.Mkdir(c.base, 0o700)
	}
	if err != nil {
		return nil, err
	}
	addrs, err := loopback.FreeAddrs(4 * o.nodes)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	procs := o.procs
	if procs == 0 {
		procs = max(1, runtime.NumCPU()/o.nodes)
	}
	// Of two settings of one variable the last counts.
	environ := append(spawn.ServerEnviron(), "GOMAXPROCS="+strconv.Itoa(procs))
	for i := range o.nodes {
		name, own := "n"+strconv.Itoa(i+1), addrs[4*i:4*i+4]
		args := []string{
			"server", "--name", name, "--dir", filepath.Join(c.base, name), "--join", addrs[2],
			"--bootstrap-expect", strconv.Itoa(o.nodes), "--log-level", "warn",
			"--client-addr", own[0], "--peer-addr", own[1], "--gossip-addr", own[2], "--http-addr", own[3],
		}
		if o.profiles != "" {
			args = append(args, "--pprof", "on")
		}
		c.nodes = append(c.nodes, &serverNode{client: own[0], http: own[3], Process: &spawn.Process{
			Name: name, Binary: o.starling, Args: args, Env: environ,
			LogFile: filepath.Join(c.base, name+".log"), Apart: true,
		}})
	}
	return c, nil
}

// start starts all nodes and waits until they take requests.
func (c *cluster) start(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, n := range c.nodes {
		if err := c.ready(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) ready(ctx context.Context, n *serverNode) error {
	for {
		err := c.get(ctx, n, "/readyz", io.Discard)
		if err == nil {
			return nil
		}
		select {
		case <-n.Ended():
			return fmt.Errorf("node %s has ended:\n%s", n.Name, n.Tail(tailLines))
		case <-ctx.Done():
			return fmt.Errorf("node %s is not ready: %w", n.Name, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// get copies what a node's HTTP port answers.
func (c *cluster) get(ctx context.Context, n *serverNode, path string, to io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+path, nil)
	if err != nil {
		return err
	}
	reply, err := c.web.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s of node %s: %s", path, n.Name, reply.Status)
	}
	_, err = io.Copy(to, reply.Body)
	return err
}

// addrs are the client addresses of all nodes.
func (c *cluster) addrs() string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.client)
	}
	return strings.Join(addrs, ",")
}

// close stops all nodes and removes their data, unless it is to be kept.
func (c *cluster) close() error {
	var stopping errgroup.Group
	for _, n := range c.nodes {
		if !n.Running() {
			continue
		}
		stopping.Go(func() error {
			defer n.Kill()
			if err := n.Signal(syscall.SIGTERM); err != nil {
				return nil // it has ended meanwhile
			}
			_, err := n.Wait(stopTimeout)
			return err
		})
	}
	err := stopping.Wait()
	if c.o.keep {
		fmt.Fprintln(os.Stderr, "data and logs:", c.base)
		return err
	}
	return errors.Join(err, os.RemoveAll(c.base))
}
