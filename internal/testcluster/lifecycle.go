package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/node"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Start starts a node that is down, and fails the test if it can't.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	if err := c.TryStart(i); err != nil {
		c.t.Fatalf("start %s: %v", c.Name(i), err)
	}
}

// TryStart starts a node that is down.
func (c *Cluster) TryStart(i int) error {
	m := c.members[i]
	d := &dialler{network: c.network, conns: map[*linkConn]struct{}{}}
	o := node.Options{
		Config: m.cfg, Logger: m.log.logger(m.cfg.Name),
		Now:    func() time.Time { return time.Now().Add(time.Duration(m.offset.Load())) },
		Listen: m.listen,
		Dial:   func(ctx context.Context, addr string) (net.Conn, error) { return c.dial(ctx, d, i, addr) },
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.node != nil {
		return errors.New("it runs already")
	}
	if m.fs != nil {
		o.FS = m.fs
	}
	if !c.o.RealGossip {
		transport, err := c.gossip.Listen(m.cfg.GossipAddr)
		if err != nil {
			return err
		}
		o.GossipTransport = transport
	}
	var started *node.Node
	var err error
	c.labelled(func() { started, err = node.Start(context.Background(), o) })
	if err != nil {
		if o.GossipTransport != nil {
			err = errors.Join(err, o.GossipTransport.Shutdown())
		}
		return err
	}
	m.node, m.id, m.dialler = started, started.ID(), d
	return nil
}

// listen is the node's net.Listen: its ports are open already.
func (m *member) listen(_, addr string) (net.Listener, error) {
	for _, p := range []*port{m.client, m.peer, m.http} {
		if p.addr() == addr {
			return p.listen(), nil
		}
	}
	return nil, fmt.Errorf("listen: %s is none of the node's ports", addr)
}

// dial is the net.Dial of node i.
func (c *Cluster) dial(ctx context.Context, d *dialler, i int, addr string) (net.Conn, error) {
	for j, m := range c.members {
		if m.peer.addr() == addr {
			return d.dial(ctx, link{i, j}, m.peer)
		}
	}
	return nil, fmt.Errorf("dial: %s is no node's peer port", addr)
}

// Stop ends a node gracefully. It does nothing to one that is down.
func (c *Cluster) Stop(i int) {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.DrainTimeout)
	defer cancel()
	_ = m.node.Close(ctx) // its error is why it stopped by itself, which is in its log
	m.node = nil
}

// Crash ends a node as a power cut does: nobody hears of it, and of what it had not synced to disk a random part is
// gone. It does nothing to a node that is down.
func (c *Cluster) Crash(i int) {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.node == nil {
		return
	}
	if !c.o.RealGossip {
		c.gossip.Kill(m.cfg.GossipAddr)
	}
	for _, p := range []*port{m.client, m.peer, m.http} {
		p.sever()
	}
	m.dialler.sever()
	c.mu.Lock()
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng}
	after := m.fs.CrashClone(cfg)
	c.mu.Unlock()
	// What still runs works on a disk that nobody looks at any more.
	ended, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	_ = m.node.Close(ended)
	m.node, m.fs = nil, after
}

// Wipe replaces the disk of a node that is down by an empty one.
func (c *Cluster) Wipe(i int) {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.o.RealDisk {
		m.cfg.Dir = c.t.TempDir()
		return
	}
	m.fs = vfs.NewCrashableMem()
}

// Image copies the disk of a node that is down. putBack replaces by that copy what the disk has become, while the node is down again.
func (c *Cluster) Image(i int) (putBack func()) {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	c.mu.Lock()
	image := m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: c.rng})
	c.mu.Unlock()
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.fs = image
	}
}

// Storage opens the data directory of a node that is down. Close it before the node starts again.
func (c *Cluster) Storage(i int) *storage.Store {
	c.t.Helper()
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	o := storage.Options{Dir: m.cfg.Dir}
	if m.fs != nil {
		o.FS = m.fs
	}
	s, err := storage.Open(o)
	if err != nil {
		c.t.Fatalf("open the storage of %s: %v", c.Name(i), err)
	}
	return s
}

// Node is the running node, nil when it is down.
func (c *Cluster) Node(i int) *node.Node {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

// ID is the id that the node had when it last ran.
func (c *Cluster) ID(i int) ring.NodeID {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// Name is the node's name.
func (c *Cluster) Name(i int) string { return fmt.Sprintf("n%d", i+1) }

// Index is the number of the node of a name, -1 if there is none.
func (c *Cluster) Index(name string) int {
	for i := range c.members {
		if c.Name(i) == name {
			return i
		}
	}
	return -1
}

// Size is how many nodes there are, down ones included.
func (c *Cluster) Size() int { return len(c.members) }
