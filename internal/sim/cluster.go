package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/starling-db/starling/internal/gossipnet"
	"github.com/starling-db/starling/node"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// cluster is the nodes of a run, with their network and disks. Its methods may be called from any goroutine of the
// bubble.
type cluster struct {
	trace   *trace
	network *network
	gossip  *gossipnet.Network
	members []*member
}

// member is one place in the cluster, whatever runs there.
type member struct {
	at    place
	cfg   config.Config
	clock *wallClock
	disk  *disk
	rand  *seededReader
	conn  *grpc.ClientConn // of the clients, to its client port; lives as long as the cluster

	mu   sync.Mutex
	node *node.Node // nil: down
	// starting: it is about to run.
	starting bool
	endings  sync.WaitGroup // of runs that have crashed and are being put away
}

func newCluster(p *Plan, t *trace) (*cluster, error) {
	c := &cluster{
		trace:   t,
		network: newNetwork(p.rng("network"), weather{delay: 200 * time.Microsecond, jitter: 600 * time.Microsecond}),
		gossip: gossipnet.New(gossipnet.Options{
			MinLatency: 200 * time.Microsecond, MaxLatency: 5 * time.Millisecond, Loss: p.GossipLoss, Duplicate: p.GossipDuplicate,
			Rand: p.rng("gossip"),
		}),
	}
	for i := range p.Nodes {
		m := &member{
			at: place(i), cfg: config.Default(), clock: newWallClock(p.Clocks[i]), disk: newDisk(p.rng("disk", i)),
			rand: newSeededReader(p.rng("node", i)),
		}
		m.cfg.Name, m.cfg.Cluster, m.cfg.Dir = nodeName(i), "sim", "/data"
		m.cfg.ClientAddr, m.cfg.PeerAddr, m.cfg.HTTPAddr = hostOf(i)+":7400", hostOf(i)+":7401", hostOf(i)+":7403"
		m.cfg.GossipAddr = hostOf(i) + ":7402"
		m.cfg.Join = []string{hostOf(0) + ":7402", hostOf(1) + ":7402"}
		m.cfg.BootstrapExpect = p.Nodes
		m.cfg.Partitions = p.Partitions
		m.cfg.CacheBytes, m.cfg.MemTableBytes, m.cfg.ItemCacheBytes = 1<<20, config.Bytes(p.MemTable), 1<<20
		m.cfg.DrainTimeout = 5 * time.Second
		if m.cfg.RepairInterval = p.Repair; p.Repair == 0 {
			m.cfg.ScrubRate = 0 // it counts leaves anew, and faults in them must be seen
		}
		if p.hurtsAtRest() {
			m.cfg.ScrubInterval = scrubEvery
		}
		m.cfg.MaxSiblings = p.MaxSiblings
		var err error
		if m.conn, err = c.connect(m.cfg.ClientAddr); err != nil {
			return nil, err
		}
		c.members = append(c.members, m)
	}
	return c, nil
}

func hostOf(i int) string   { return fmt.Sprintf("10.0.0.%d", i+1) }
func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// connect makes a client connection that finds a node that comes back soon.
func (c *cluster) connect(addr string) (*grpc.ClientConn, error) {
	params := grpc.ConnectParams{MinConnectTimeout: 2 * time.Second}
	params.Backoff.BaseDelay, params.Backoff.MaxDelay, params.Backoff.Multiplier = 50*time.Millisecond, 500*time.Millisecond, 1.6
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(params),
		grpc.WithContextDialer(c.dialClient))
}

func (c *cluster) dialClient(ctx context.Context, addr string) (net.Conn, error) {
	return c.network.dial(ctx, clients, addr)
}

func (c *cluster) dialHTTP(ctx context.Context, _, addr string) (net.Conn, error) {
	return c.network.dial(ctx, clients, addr)
}

// start starts a node that is down.
func (c *cluster) start(i int) error {
	m := c.members[i]
	m.mu.Lock()
	if m.node != nil || m.starting {
		m.mu.Unlock()
		return errors.New("it runs already, or is about to")
	}
	m.starting = true
	m.mu.Unlock()
	// Not under the mutex: a start waits for disks, in the bubble's time.
	n, err := c.startNode(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node, m.starting = n, false
	if err == nil {
		c.trace.add(m.at, "started")
	}
	return err
}

func (c *cluster) startNode(m *member) (*node.Node, error) {
	transport, err := c.gossip.Listen(m.cfg.GossipAddr)
	if err != nil {
		return nil, err
	}
	n, err := node.Start(context.Background(), node.Options{
		Config: m.cfg, FS: m.disk.open(), Now: m.clock.now, Rand: m.rand,
		Listen: func(_, addr string) (net.Listener, error) { return c.network.listen(m.at, addr) },
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return c.network.dial(ctx, m.at, addr)
		},
		GossipTransport: transport, Logger: slog.New(slog.NewTextHandler(c.trace.writer(m.at), &slog.HandlerOptions{
			Level: slog.LevelInfo, ReplaceAttr: dropTime,
		})),
	})
	if err != nil {
		return nil, errors.Join(err, transport.Shutdown())
	}
	return n, nil
}

// dropTime leaves out the wall clock: the trace has its own time.
func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// crash ends a node as a power cut does: nobody hears of it, and of what it had not synced this part in a hundred is
// kept. It does nothing to a node that is down.
func (c *cluster) crash(i, keep int) bool {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node
	if n == nil {
		return false
	}
	m.node = nil
	c.gossip.Kill(m.cfg.GossipAddr)
	c.network.sever(m.at)
	m.disk.crash(keep)
	// What still runs goes on in another world, until it notices that it should not.
	m.endings.Go(func() {
		ended, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
		defer cancel()
		_ = n.Close(ended)
	})
	return true
}

// stop ends a node gracefully. It does nothing to one that is down.
func (c *cluster) stop(i int) bool {
	m := c.members[i]
	m.mu.Lock()
	n := m.node
	m.node = nil
	m.mu.Unlock()
	if n == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.DrainTimeout)
	defer cancel()
	_ = n.Close(ctx) // why it stopped by itself, if it did, is in its log
	return true
}

// reap says whether a node has stopped by itself, and puts it away if so. What it had not synced is lost: a disk that
// failed may have dropped it.
func (c *cluster) reap(i int) error {
	m := c.members[i]
	m.mu.Lock()
	n := m.node
	m.mu.Unlock()
	if n == nil {
		return nil
	}
	select {
	case <-n.Done():
	default:
		return nil
	}
	err := n.Err()
	c.crash(i, 0)
	if err == nil {
		err = errors.New("it does not say why")
	}
	return err
}

// running is the node that runs at a place, nil if it is down.
func (c *cluster) running(i int) *node.Node {
	m := c.members[i]
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

func (c *cluster) kv(i int) pb.KVClient         { return pb.NewKVClient(c.members[i].conn) }
func (c *cluster) admin(i int) pb.ClusterClient { return pb.NewClusterClient(c.members[i].conn) }

// status is what a node says of the cluster, by itself.
func (c *cluster) status(i int) (*pb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.admin(i).Status(ctx, &pb.StatusRequest{Local: true})
}

// awaitReady waits until all nodes that run serve and see each other so.
func (c *cluster) awaitReady(limit time.Duration, want []int) error {
	deadline := time.Now().Add(limit)
	for {
		why := c.unready(want)
		if why == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v the cluster is not ready: %s", limit, why)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *cluster) unready(want []int) string {
	for _, i := range want {
		st, err := c.status(i)
		if err != nil {
			return fmt.Sprintf("%s: %v", nodeName(i), err)
		}
		ready := map[string]bool{}
		for _, n := range st.GetNodes() {
			ready[n.GetName()] = n.GetLiveness() == pb.Liveness_LIVENESS_ALIVE && n.GetReady()
		}
		for _, j := range want {
			if !ready[nodeName(j)] {
				return fmt.Sprintf("%s does not see %s ready", nodeName(i), nodeName(j))
			}
		}
	}
	return ""
}

// hints counts the hints that are left on the nodes, by the node that holds them.
func (c *cluster) hints(want []int) (map[string]int, error) {
	left := map[string]int{}
	for _, i := range want {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		resp, err := c.admin(i).Hints(ctx, &pb.HintsRequest{Local: true})
		cancel()
		if err != nil {
			return nil, err
		}
		for _, h := range resp.GetHints() {
			left[nodeName(i)] += int(h.GetItems())
		}
	}
	return left, nil
}

// close ends everything that is left.
func (c *cluster) close() {
	var stopping sync.WaitGroup
	for i := range c.members {
		stopping.Go(func() { c.stop(i) })
	}
	stopping.Wait()
	for _, m := range c.members {
		m.endings.Wait()
		_ = m.conn.Close()
	}
}

// wallClock is a node's clock: it may be off and run too fast or too slow.
type wallClock struct {
	mu     sync.Mutex
	start  time.Time
	offset time.Duration
	drift  float64 // seconds gained a second
}

func newWallClock(c Clock) *wallClock {
	return &wallClock{start: time.Now(), offset: c.Offset, drift: c.Drift}
}

func (w *wallClock) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := time.Now()
	return t.Add(w.offset + time.Duration(w.drift*float64(t.Sub(w.start))))
}

// jump sets the clock by d.
func (w *wallClock) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// seededReader is randomness that is the same for the same seed, as far as it is read in the same order.
type seededReader struct {
	mu  sync.Mutex
	rng *rand.Rand
}

var _ io.Reader = (*seededReader)(nil)

func newSeededReader(rng *rand.Rand) *seededReader { return &seededReader{rng: rng} }

func (r *seededReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b {
		b[i] = byte(r.rng.Uint32())
	}
	return len(b), nil
}
