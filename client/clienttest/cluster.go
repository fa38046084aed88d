package clienttest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/testcluster"
)

// MaxNodes is the most nodes of a cluster.
const MaxNodes = 16

// Options shape a cluster. The zero Options are three nodes.
type Options struct {
	// Nodes is how many there are, 1 to MaxNodes; 0: three. The bucket "default" has N = 3, or as many as there are
	// nodes if that is less.
	Nodes int
}

func (o *Options) ensureDefaults() {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
}

func (o *Options) validate() error {
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("clienttest: %d nodes: want 1 to %d", o.Nodes, MaxNodes)
	}
	return nil
}

// Cluster is a cluster in a test. Its nodes are numbered from 0. Its methods are for the goroutine of the test alone,
// for they fail the test when a node's number is wrong or a node can't be started; the clients that it opens are safe
// for concurrent use, as always. A cluster of Open has no test to fail: it panics.
type Cluster struct {
	t     testing.TB
	inner *testcluster.Cluster
	// side is the side of a partition that each node is on.
	side []int
	// alone is the stand-in for the test of a cluster that has none.
	alone *alone
}

// Start starts a cluster and waits until all of it serves. It ends with the test, together with the clients that it
// opened, and leaves no goroutine. If the test fails, the end of each node's log goes to the log of the test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.ensureDefaults()
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	return &Cluster{
		t: t, side: make([]int, o.Nodes),
		inner: testcluster.New(t, testcluster.Options{Nodes: o.Nodes, Foreign: true}),
	}
}

// Open is Start without a test. The caller closes the cluster.
func Open(o Options) (c *Cluster, err error) {
	o.ensureDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	t := &alone{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.end())
		}
	}()
	err = t.try(func() { c = Start(t, o) })
	if err != nil {
		return nil, err
	}
	c.alone = t
	return c, nil
}

// Close ends a cluster of Open, together with the clients that it opened. One of Start ends by itself: to close it
// does nothing.
func (c *Cluster) Close() error {
	if c.alone == nil {
		return nil
	}
	return c.alone.end()
}

// Client opens a client that is told the addresses of all nodes. It is closed with the cluster.
func (c *Cluster) Client(opts ...client.Option) *client.Client {
	c.t.Helper()
	return c.inner.Client(opts...)
}

// Addrs are the addresses of the nodes for client.Open, those of nodes that are down included. A node keeps its
// address over restarts.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, c.Nodes())
	for i := range addrs {
		addrs[i] = c.inner.ClientAddr(i)
	}
	return addrs
}

// Nodes is how many nodes there are, those that are down included.
func (c *Cluster) Nodes() int { return c.inner.Size() }

// Name is the name of a node, as Explain and Status show it: n1, n2, ...
func (c *Cluster) Name(node int) string {
	c.t.Helper()
	c.check(node)
	return c.inner.Name(node)
}

// Owners are the nodes that own the items of a partition key, in the order of its preference list. At least one node
// must run.
func (c *Cluster) Owners(bucket string, partition []byte) []int {
	c.t.Helper()
	owners, _ := c.inner.Owners(bucket, partition)
	return owners
}

// Others are the nodes that own no item of a partition key: the fallbacks, in the order of its preference list.
func (c *Cluster) Others(bucket string, partition []byte) []int {
	c.t.Helper()
	_, others := c.inner.Owners(bucket, partition)
	return others
}

// check fails the test for a number that no node has.
func (c *Cluster) check(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		if i < 0 || i >= c.Nodes() {
			c.t.Fatalf("clienttest: there is no node %d: they are numbered from 0 to %d", i, c.Nodes()-1)
		}
	}
}
