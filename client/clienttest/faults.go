package clienttest

import (
	"fmt"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Stop ends a node as an operator does: it says goodbye, and finishes what it has begun. It does nothing to a node
// that is down.
func (c *Cluster) Stop(node int) {
	c.t.Helper()
	c.check(node)
	c.inner.Stop(node)
}

// Kill ends a node as a power cut does: nobody is told, its connections break, and of what it had not synced to disk
// some is lost. It does nothing to a node that is down.
func (c *Cluster) Kill(node int) {
	c.t.Helper()
	c.check(node)
	c.inner.Crash(node)
}

// Restart starts a node that is down again, with its data and its address. One that runs is stopped first. It returns
// when the node has started; Settle waits until it serves and the others have noticed.
func (c *Cluster) Restart(node int) {
	c.t.Helper()
	c.check(node)
	c.inner.Stop(node)
	c.inner.Start(node)
}

// Partition cuts the links between nodes of different groups, both ways, gossip included, and mends those within a
// group. Nodes that no group names are one more group together. What is on its way over a link that is cut waits, as
// TCP has it wait, and arrives when the link is mended. Clients reach all nodes.
func (c *Cluster) Partition(groups ...[]int) {
	c.t.Helper()
	clear(c.side)
	for g, group := range groups {
		c.check(group...)
		for _, node := range group {
			if c.side[node] != 0 {
				c.t.Fatalf("clienttest: node %d is in two groups", node)
			}
			c.side[node] = g + 1
		}
	}
	for a, sideOfA := range c.side {
		for b, sideOfB := range c.side {
			switch {
			case a == b:
			case sideOfA != sideOfB:
				c.inner.Cut(a, b)
			default:
				c.inner.Mend(a, b)
			}
		}
	}
}

// Delay holds back by d each message between a node and every other, in either direction: what takes one round trip
// takes 2d longer. Gossip is not delayed. 0 ends it. Links between two nodes with delays have that which was set last.
func (c *Cluster) Delay(node int, d time.Duration) {
	c.t.Helper()
	c.check(node)
	for other := range c.Nodes() {
		if other != node {
			c.inner.Delay(node, other, d)
			c.inner.Delay(other, node, d)
		}
	}
}

// Heal undoes Partition and Delay. Nodes that are down stay so.
func (c *Cluster) Heal() {
	clear(c.side)
	c.inner.Heal()
}

// Settle waits until the nodes that run have noticed how things are: each serves, and holds those that it can reach
// for alive and all others for dead. It fails the test if they have not after a minute.
func (c *Cluster) Settle() {
	c.t.Helper()
	deadline := time.Now().Add(testcluster.Patience)
	for {
		why := c.unsettled()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("clienttest: the cluster has not settled after %v: %s", testcluster.Patience, why)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// unsettled says what a node has not noticed yet.
func (c *Cluster) unsettled() string {
	for by := range c.Nodes() {
		if c.inner.Node(by) == nil {
			continue
		}
		seen, err := c.inner.Status(by)
		if err != nil {
			return fmt.Sprintf("%s does not answer: %v", c.inner.Name(by), err)
		}
		known := 0
		for _, n := range seen.GetNodes() {
			of := c.inner.Index(n.GetName())
			if of < 0 {
				continue
			}
			known++
			reachable := c.inner.Node(of) != nil && c.side[of] == c.side[by]
			alive := n.GetLiveness() == pb.Liveness_LIVENESS_ALIVE && n.GetReady()
			gone := n.GetLiveness() == pb.Liveness_LIVENESS_DEAD || n.GetLiveness() == pb.Liveness_LIVENESS_LEFT
			if reachable && !alive || !reachable && !gone {
				return fmt.Sprintf("%s holds %s for %v, ready %v", c.inner.Name(by), n.GetName(), n.GetLiveness(), n.GetReady())
			}
		}
		if known < c.Nodes() {
			return fmt.Sprintf("%s knows %d of %d nodes", c.inner.Name(by), known, c.Nodes())
		}
	}
	return ""
}
