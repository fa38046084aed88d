package testcluster

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/gossipnet"
	"github.com/starling-db/starling/node"
	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/ring"
)

// Options shape a cluster.
type Options struct {
	// Nodes is how many there are; 0: five.
	Nodes int
	// Configure may change a node's configuration before its first start.
	Configure func(i int, c *config.Config)
	// RealGossip has gossip run over UDP and TCP on loopback. Its links can't be cut then.
	RealGossip bool
	// RealDisk keeps the data in a temporary directory. Crash can't be used then.
	RealDisk bool
	// Later are nodes that New does not start.
	Later []int
	// NoWait has New return before the nodes are ready.
	NoWait bool
	// Foreign says that the process runs more than tests of ours, so that other goroutines come and go. Of those that
	// are left at the end only the cluster's own are looked for then: goroutines that its nodes started.
	Foreign bool
}

// Cluster is a cluster in a test; its nodes are numbered from 0. Only the test's own goroutine may call methods that
// fail the test, and no two goroutines at once may start or end one node; everything else is safe for concurrent use.
type Cluster struct {
	t testing.TB
	*inside
}

// inside is what all views of a cluster share.
type inside struct {
	o       Options
	label   string // of the goroutines that nodes start
	network *network
	gossip  *gossipnet.Network
	members []*member

	mu      sync.Mutex
	conns   map[int]*grpc.ClientConn
	clients []*client.Client
	rng     *mathrand.Rand // of crashes
}

// member is one place in the cluster, whatever runs there.
type member struct {
	cfg                config.Config
	offset             atomic.Int64 // of its clock, in nanoseconds
	log                *logBook
	client, peer, http *port

	mu      sync.Mutex
	fs      *vfs.MemFS // nil: a real directory
	node    *node.Node // nil: down
	dialler *dialler   // of node
	id      ring.NodeID
}

// New starts a cluster and, unless told otherwise, waits until all of it is ready. It is stopped when the test ends.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 5
	}
	seed := mathrand.Uint64()
	before := goleak.IgnoreCurrent()
	c := &Cluster{t: t, inside: &inside{
		o: o, label: fmt.Sprintf("%016x", seed), network: newNetwork(), conns: map[int]*grpc.ClientConn{}, rng: mathrand.New(mathrand.NewPCG(seed, 1)),
		gossip: gossipnet.New(gossipnet.Options{MaxLatency: time.Millisecond, Rand: mathrand.New(mathrand.NewPCG(seed, 2))}),
	}}
	t.Cleanup(func() { c.close(before) })
	for i := range o.Nodes {
		if err := c.addMember(i); err != nil {
			t.Fatal(err)
		}
	}
	later := map[int]bool{}
	for _, i := range o.Later {
		later[i] = true
	}
	for i := range c.members {
		if !later[i] {
			c.Start(i)
		}
	}
	if !o.NoWait {
		c.WaitReady()
	}
	return c
}

// In is the cluster for a subtest, which is the one to fail then.
func (c *Cluster) In(t testing.TB) *Cluster { return &Cluster{t, c.inside} }

func (c *Cluster) addMember(i int) error {
	m := &member{log: &logBook{}, cfg: config.Default()}
	c.members = append(c.members, m)
	for _, p := range []struct {
		port **port
		addr *string
	}{{&m.client, &m.cfg.ClientAddr}, {&m.peer, &m.cfg.PeerAddr}, {&m.http, &m.cfg.HTTPAddr}} {
		opened, err := newPort()
		if err != nil {
			return err
		}
		*p.port, *p.addr = opened, opened.addr()
	}
	m.cfg.Name = c.Name(i)
	m.cfg.Cluster = "test"
	m.cfg.BootstrapExpect = c.o.Nodes
	m.cfg.Partitions = 64
	m.cfg.CacheBytes, m.cfg.MemTableBytes, m.cfg.ItemCacheBytes = 4<<20, 4<<20, 1<<20
	m.cfg.DrainTimeout = 5 * time.Second
	m.cfg.GossipAddr = gossipHost(i) + ":7402"
	if c.o.RealGossip {
		var err error
		if m.cfg.GossipAddr, err = freeGossipAddr(); err != nil {
			return err
		}
	}
	m.cfg.Join = []string{c.members[0].cfg.GossipAddr}
	if c.o.RealDisk {
		m.cfg.Dir = c.t.TempDir()
	} else {
		m.cfg.Dir, m.fs = "/data", vfs.NewCrashableMem()
	}
	if c.o.Configure != nil {
		c.o.Configure(i, &m.cfg)
	}
	return nil
}

func gossipHost(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

// freeGossipAddr finds a port that is free for UDP and TCP. All nodes must know the founder's before it starts.
func freeGossipAddr() (string, error) {
	transport, addr, err := membership.Listen(context.Background(), "127.0.0.1:0", nil)
	if err != nil {
		return "", err
	}
	return addr, transport.Shutdown()
}

// lastProbe is how long a probe of memberlist may take at most.
const lastProbe = 10 * time.Second

// close stops everything and proves that nothing is left.
func (c *Cluster) close(before goleak.Option) {
	c.Heal()
	c.mu.Lock()
	clients, conns := c.clients, c.conns
	c.clients, c.conns = nil, nil
	c.mu.Unlock()
	for _, cl := range clients {
		_ = cl.Close() // it always succeeds
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	var stopping sync.WaitGroup
	for i := range c.members {
		stopping.Go(func() { c.Stop(i) })
	}
	stopping.Wait()
	for _, m := range c.members {
		for _, p := range []*port{m.client, m.peer, m.http} {
			if p != nil {
				p.close()
			}
		}
	}
	if c.t.Failed() {
		for i, m := range c.members {
			c.t.Logf("the end of the log of %s:\n%s", c.Name(i), m.log.tail(40))
		}
	}
	find := func() error { return goleak.Find(before) }
	if c.o.Foreign {
		find = c.findOwn
	}
	// memberlist does not wait for a probe that is under way; its own deadline ends it.
	deadline := time.Now().Add(lastProbe)
	err := find()
	for err != nil && time.Now().Before(deadline) {
		err = find()
	}
	if err != nil {
		c.t.Errorf("the cluster left something running: %v", err)
	}
}
