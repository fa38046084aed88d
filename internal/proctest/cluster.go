//go:build unix

package proctest

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/loopback"
	"github.com/starling-db/starling/internal/spawn"
)

// Patience is how long a cluster is waited for. It is generous: the machine may be busy.
const Patience = time.Minute

// Options shape a cluster.
type Options struct {
	// Nodes is how many there are; 0: five.
	Nodes int
	// Name of the cluster; empty: "proctest".
	Name string
	// Args are further flags of every server.
	Args []string
}

// Cluster is a cluster of processes, numbered from 0. Only the test's own goroutine may call its methods, but for
// Metrics and the addresses.
type Cluster struct {
	t      testing.TB
	o      Options
	binary string
	base   string
	nodes  []*Node
	extra  []*spawn.Process
}

// Node is one place in the cluster, whether a process runs there or not.
type Node struct {
	*spawn.Process
	Name, Dir                  string
	Client, Peer, Gossip, HTTP string
}

// New starts a cluster and waits until all of it is ready. At the end of the test it is killed, and if the test has
// failed the ends of the logs are shown.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 5
	}
	if o.Name == "" {
		o.Name = "proctest"
	}
	binary, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, o: o, binary: binary, base: t.TempDir()}
	t.Cleanup(c.close)
	const ports = 4
	addrs, err := loopback.FreeAddrs(ports * o.Nodes)
	if err != nil {
		t.Fatal(err)
	}
	for i := range o.Nodes {
		a := addrs[i*ports:]
		n := &Node{Name: "n" + strconv.Itoa(i+1), Client: a[0], Peer: a[1], Gossip: a[2], HTTP: a[3]}
		n.Dir = filepath.Join(c.base, n.Name)
		c.nodes = append(c.nodes, n)
		n.Process = c.process(n.Name, c.ServerArgs(n))
		c.start(i)
	}
	c.WaitReady()
	return c
}

func (c *Cluster) process(name string, args []string) *spawn.Process {
	return &spawn.Process{
		Name: name, Binary: c.binary, Args: args, Env: spawn.ServerEnviron(), LogFile: filepath.Join(c.base, name+".log"),
	}
}

// ServerArgs are the arguments of a node of this cluster; a test may start a strange one with others behind them,
// which win.
func (c *Cluster) ServerArgs(n *Node) []string {
	args := []string{
		"server", "--name", n.Name, "--dir", n.Dir, "--cluster", c.o.Name,
		"--client-addr", n.Client, "--peer-addr", n.Peer, "--gossip-addr", n.Gossip, "--http-addr", n.HTTP,
		"--join", c.nodes[0].Gossip, "--bootstrap-expect", strconv.Itoa(c.o.Nodes),
		"--cache-bytes", "16MiB", "--memtable-bytes", "16MiB",
	}
	return append(args, c.o.Args...)
}

// Stranger makes a process that is none of the cluster's nodes, with addresses of its own and this cluster to join. It
// is not started yet. Later arguments win over earlier ones.
func (c *Cluster) Stranger(name string, args ...string) *Node {
	c.t.Helper()
	a, err := loopback.FreeAddrs(4)
	if err != nil {
		c.t.Fatal(err)
	}
	n := &Node{Name: name, Dir: filepath.Join(c.base, name), Client: a[0], Peer: a[1], Gossip: a[2], HTTP: a[3]}
	n.Process = c.process(name, append(c.ServerArgs(n), args...))
	c.extra = append(c.extra, n.Process)
	return n
}

// Node is one of the cluster's places.
func (c *Cluster) Node(i int) *Node { return c.nodes[i] }

// Size is how many places there are.
func (c *Cluster) Size() int { return len(c.nodes) }

func (c *Cluster) start(i int) {
	c.t.Helper()
	if err := c.nodes[i].Start(); err != nil {
		c.t.Fatal(err)
	}
}

// Kill9 kills nodes, all at once, and waits until they have gone.
func (c *Cluster) Kill9(nodes ...int) {
	c.t.Helper()
	c.signal(syscall.SIGKILL, nodes)
	for _, i := range nodes {
		if _, err := c.nodes[i].Wait(Patience); err != nil {
			c.t.Fatal(err)
		}
	}
}

// Stop halts nodes with SIGSTOP: they say nothing, but their connections stay.
func (c *Cluster) Stop(nodes ...int) {
	c.t.Helper()
	c.signal(syscall.SIGSTOP, nodes)
}

// Cont lets stopped nodes go on.
func (c *Cluster) Cont(nodes ...int) {
	c.t.Helper()
	c.signal(syscall.SIGCONT, nodes)
}

func (c *Cluster) signal(s syscall.Signal, nodes []int) {
	c.t.Helper()
	for _, i := range nodes {
		if err := c.nodes[i].Signal(s); err != nil {
			c.t.Fatalf("%v to %s: %v", s, c.nodes[i].Name, err)
		}
	}
}

// Restart starts nodes that have ended. It does not wait until they are ready.
func (c *Cluster) Restart(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.start(i)
	}
}

// Terminate ends nodes with SIGTERM, all at once, and fails the test unless each exits with 0 within the limit. It
// returns how long the last one took.
func (c *Cluster) Terminate(limit time.Duration, nodes ...int) time.Duration {
	c.t.Helper()
	start := time.Now()
	c.signal(syscall.SIGTERM, nodes)
	for _, i := range nodes {
		switch code, err := c.nodes[i].Wait(max(limit-time.Since(start), 0)); {
		case err != nil:
			c.t.Errorf("SIGTERM: %v", err)
		case code != 0:
			c.t.Errorf("%s ended with exit code %d after SIGTERM", c.nodes[i].Name, code)
		}
	}
	return time.Since(start)
}

// All are the numbers of all nodes.
func (c *Cluster) All() []int {
	all := make([]int, len(c.nodes))
	for i := range all {
		all[i] = i
	}
	return all
}

// Client opens a client that is told the addresses of all nodes. It is closed when the test ends.
func (c *Cluster) Client(opts ...client.Option) *client.Client {
	c.t.Helper()
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.Client)
	}
	return c.ClientOf(addrs, opts...)
}

// ClientOf opens a client that is told these addresses.
func (c *Cluster) ClientOf(addrs []string, opts ...client.Option) *client.Client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cl, err := client.Open(ctx, addrs, opts...)
	if err != nil {
		c.t.Fatalf("open a client: %v", err)
	}
	c.t.Cleanup(func() { _ = cl.Close() }) // it always succeeds
	return cl
}

// WaitReady waits until every node that runs serves and sees all others that run alive.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	var why error
	c.Within(Patience, "the cluster is ready", func() bool {
		why = c.settled()
		return why == nil
	}, func() string { return fmt.Sprint(why) })
}

func (c *Cluster) settled() error {
	running := 0
	for _, n := range c.nodes {
		if n.Running() {
			running++
		}
	}
	for _, n := range c.nodes {
		if !n.Running() {
			continue
		}
		if err := n.Ready(); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		m, err := n.Metrics()
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		if alive := int(m[`starling_peers{state="alive"}`]); alive != running-1 {
			return fmt.Errorf("%s sees %d of %d others alive", n.Name, alive, running-1)
		}
	}
	return nil
}

// Within waits until cond holds and returns how long it took. If it doesn't hold in time the test fails, with what
// the details say.
func (c *Cluster) Within(limit time.Duration, what string, cond func() bool, details ...func() string) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > limit {
			text := ""
			for _, d := range details {
				text += ": " + d()
			}
			c.t.Fatalf("after %v still not: %s%s", limit, what, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

// close kills what is left, and fails the test if a server has crashed or raced.
func (c *Cluster) close() {
	var all []*spawn.Process
	for _, n := range c.nodes {
		all = append(all, n.Process)
	}
	all = append(all, c.extra...)
	for _, p := range all {
		p.Kill()
		log := p.Log()
		for _, bad := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if strings.Contains("\n"+log, bad) {
				c.t.Errorf("%s has logged %q", p.Name, strings.TrimSpace(bad))
			}
		}
	}
	if !c.t.Failed() {
		return
	}
	for _, p := range all {
		c.t.Logf("the end of the log of %s:\n%s", p.Name, p.Tail(40))
	}
}
