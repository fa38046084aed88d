package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// goldenDefaultID is BucketID("default", 1).
const goldenDefaultID = 0xbfcee13996d093b5

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errCrashed = errors.New("the process has ended")
	errLost    = errors.New("the message was lost")
)

// nodeID is the id of the test's node i.
func nodeID(i int) ring.NodeID { return ring.NodeID{0: 0x60, 6: 0x40, 8: 0x80, 15: byte(i + 1)} }

// clusters counts the test's clusters: each draws other ids.
var clusters atomic.Uint32

// disk is a node's storage: what was set is durable. A process that uses it ends at a write when left runs out.
type disk struct {
	mu      sync.Mutex
	meta    map[string][]byte
	adopted [16]byte
	left    int  // writes until the crash; negative: none
	after   bool // the crash comes after its write has become durable
	down    bool
	writes  int
}

func newDisk() *disk { return &disk{meta: make(map[string][]byte), left: -1} }

func (d *disk) write(apply func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return errCrashed
	}
	d.writes++
	if d.left == 0 {
		d.down = true
		if d.after {
			apply()
		}
		return errCrashed
	}
	d.left--
	apply()
	return nil
}

func (d *disk) SetMeta(name string, value []byte) error {
	return d.write(func() {
		if value == nil {
			delete(d.meta, name)
			return
		}
		d.meta[name] = bytes.Clone(value)
	})
}

func (d *disk) Meta(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta[name], nil
}

func (d *disk) Adopt(id [16]byte, _ string) error {
	d.mu.Lock()
	other := d.adopted != [16]byte{} && d.adopted != id
	same := d.adopted == id
	d.mu.Unlock()
	if other {
		return fmt.Errorf("the directory belongs to cluster %x, not %x", d.adopted, id)
	}
	if same {
		return nil
	}
	return d.write(func() { d.adopted = id })
}

func (d *disk) isDown() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

// cluster is a set of Managers that call each other through a network that the test may disturb.
type cluster struct {
	t     testing.TB
	hlc   atomic.Uint64
	rand  *rand.ChaCha8
	names map[ring.NodeID]string
	tune  func(*Options)

	mu    sync.Mutex
	nodes map[ring.NodeID]*Manager
	disks map[ring.NodeID]*disk
	dead  map[ring.NodeID]bool
	// deliver decides about each message and each reply; nil: all arrive.
	deliver func(from, to ring.NodeID) bool
}

func newCluster(t testing.TB, n int, tune func(*Options)) *cluster {
	c := &cluster{
		t: t, rand: rand.NewChaCha8([32]byte{byte(clusters.Add(1))}), tune: tune,
		names: make(map[ring.NodeID]string), nodes: make(map[ring.NodeID]*Manager),
		disks: make(map[ring.NodeID]*disk), dead: make(map[ring.NodeID]bool),
	}
	c.hlc.Store(uint64(causal.NewHLC(1_000_000, 0)))
	for i := range n {
		c.add(nodeID(i), fmt.Sprintf("n%d", i))
	}
	t.Cleanup(func() {
		for _, m := range c.nodes {
			m.Close()
		}
	})
	return c
}

func (c *cluster) add(id ring.NodeID, name string) *Manager {
	c.mu.Lock()
	c.names[id], c.disks[id] = name, newDisk()
	c.mu.Unlock()
	return c.start(id)
}

// start makes a Manager on the node's disk, as a process that starts does.
func (c *cluster) start(id ring.NodeID) *Manager {
	c.t.Helper()
	c.mu.Lock()
	d, before := c.disks[id], c.nodes[id]
	c.mu.Unlock()
	if before != nil {
		before.Close()
	}
	d.mu.Lock()
	d.down, d.left = false, -1
	d.mu.Unlock()
	o := Options{
		ID: id, Cluster: "test", ClusterID: d.adopted, Partitions: 8, Store: d, Rand: lockedRand{c},
		HLC:    func(after causal.HLC) (causal.HLC, error) { return causal.HLC(max(c.hlc.Add(1), uint64(after)+1)), nil },
		Live:   func(id ring.NodeID) bool { return c.alive(id) },
		Logger: slog.New(slog.DiscardHandler),
	}
	o.Candidates = func() []Candidate { return c.candidates(id) }
	o.Push = func(ctx context.Context, to ring.NodeID, req *pb.PushState) (*pb.PushStateReply, error) {
		return call(ctx, c, id, to, req, (*Manager).PushState)
	}
	o.Propose = func(ctx context.Context, to ring.NodeID, req *pb.Propose) (*pb.ProposeReply, error) {
		return call(ctx, c, id, to, req, (*Manager).Propose)
	}
	if c.tune != nil {
		c.tune(&o)
	}
	m, err := New(o)
	if err != nil {
		c.t.Fatalf("start %s: %v", c.names[id], err)
	}
	if err := m.SetSelf(context.Background(), c.attributes(id)); err != nil {
		c.t.Fatalf("start %s: %v", c.names[id], err)
	}
	c.mu.Lock()
	c.nodes[id] = m
	c.mu.Unlock()
	return m
}

func (c *cluster) attributes(id ring.NodeID) NodeAttributes {
	name := c.names[id]
	return NodeAttributes{ID: id, Name: name, Zone: "z", PeerAddr: name + ":7401", GossipAddr: name + ":7402"}
}

type lockedRand struct{ c *cluster }

func (r lockedRand) Read(b []byte) (int, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.rand.Read(b)
}

func (c *cluster) alive(id ring.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dead[id]
}

func (c *cluster) setDead(id ring.NodeID, dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead[id] = dead
}

func (c *cluster) node(i int) *Manager { return c.get(nodeID(i)) }

func (c *cluster) get(id ring.NodeID) *Manager {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// ids are the nodes in a fixed order.
func (c *cluster) ids() []ring.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Keys(c.nodes), ring.NodeID.Compare)
}

func (c *cluster) candidates(but ring.NodeID) []Candidate {
	var out []Candidate
	for _, id := range c.ids() {
		if m := c.get(id); id != but && c.alive(id) {
			out = append(out, Candidate{NodeAttributes: m.Self(), Founded: m.Snapshot().Founded()})
		}
	}
	return out
}

// call carries one request and its reply, either of which may be lost.
func call[Req, Reply any](ctx context.Context, c *cluster, from, to ring.NodeID, req Req, handle func(*Manager, context.Context, ring.NodeID, Req) (Reply, error)) (none Reply, err error) {
	c.mu.Lock()
	deliver, m, d := c.deliver, c.nodes[to], c.disks[to]
	c.mu.Unlock()
	if deliver == nil {
		deliver = func(_, _ ring.NodeID) bool { return true }
	}
	if m == nil || !c.alive(to) || d.isDown() || !deliver(from, to) {
		return none, errLost
	}
	reply, err := handle(m, ctx, from, req)
	if d.isDown() || !deliver(to, from) {
		return none, errLost
	}
	return reply, err
}

// found makes the nodes found their cluster, the first of them being the founder, and returns it.
func found(t testing.TB, n int) *cluster {
	t.Helper()
	c := newCluster(t, n, func(o *Options) {
		o.Expect, o.Founder, o.Interval = n, o.ID == nodeID(0), time.Millisecond
	})
	var all sync.WaitGroup
	for _, id := range c.ids() {
		all.Go(func() {
			if err := c.get(id).Run(t.Context()); err != nil {
				t.Errorf("found the cluster: %v", err)
			}
		})
	}
	all.Wait()
	return c
}

// settle exchanges documents between all nodes that live until they are equal.
func (c *cluster) settle(t testing.TB) {
	t.Helper()
	for range 2 {
		for _, a := range c.ids() {
			for _, b := range c.ids() {
				if a != b && c.alive(a) && c.alive(b) {
					if _, err := c.get(a).Exchange(t.Context(), b); err != nil && !errors.Is(err, ErrNotMember) {
						t.Fatalf("exchange %s with %s: %v", c.names[a], c.names[b], err)
					}
				}
			}
		}
	}
}
