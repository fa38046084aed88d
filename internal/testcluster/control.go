package testcluster

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Cut stops what one node sends to another, gossip included. What is on its way between their peer ports waits.
func (c *Cluster) Cut(from, to int) {
	c.network.change(func() { c.network.cut[link{from, to}] = true })
	c.gossip.Cut(gossipHost(from), gossipHost(to))
}

// Mend undoes a Cut.
func (c *Cluster) Mend(from, to int) {
	c.network.change(func() { delete(c.network.cut, link{from, to}) })
	c.gossip.Restore(gossipHost(from), gossipHost(to))
}

// CutBoth stops what two nodes send to each other.
func (c *Cluster) CutBoth(a, b int) {
	c.Cut(a, b)
	c.Cut(b, a)
}

// Isolate cuts a node off from all others.
func (c *Cluster) Isolate(i int) {
	for j := range c.members {
		if j != i {
			c.CutBoth(i, j)
		}
	}
}

// Delay holds back what one node's peer connections send to another by d. Gossip is not delayed.
func (c *Cluster) Delay(from, to int, d time.Duration) {
	c.network.change(func() { c.network.delay[link{from, to}] = d })
}

// Heal undoes all cuts and delays.
func (c *Cluster) Heal() {
	c.network.change(func() {
		clear(c.network.cut)
		clear(c.network.delay)
	})
	c.gossip.Heal()
}

// SetClock sets a node's clock off by d, also over restarts.
func (c *Cluster) SetClock(i int, d time.Duration) { c.members[i].offset.Store(int64(d)) }

// SetDiskFree has the disk of a node say how many of its 8 GiB are free. A node whose disk has never said so takes no
// notice until its next start.
func (c *Cluster) SetDiskFree(i int, bytes uint64) {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	const total = 8 << 30
	m.fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: total, AvailBytes: bytes, UsedBytes: total - bytes})
}

// Log is what a node has logged so far, all its runs together.
func (c *Cluster) Log(i int) string { return c.members[i].log.String() }

// ClientAddr is the address of a node's client port.
func (c *Cluster) ClientAddr(i int) string { return c.members[i].client.addr() }

// PeerAddr is the address of a node's peer port.
func (c *Cluster) PeerAddr(i int) string { return c.members[i].peer.addr() }

// HTTPAddr is the address of a node's HTTP port.
func (c *Cluster) HTTPAddr(i int) string { return c.members[i].http.addr() }

// GossipAddr is the address of a node's gossip. It can be reached with RealGossip alone.
func (c *Cluster) GossipAddr(i int) string { return c.members[i].cfg.GossipAddr }
