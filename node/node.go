// Package node is one server: it puts storage, ring, gossip, coordinator, hints and services together, starts
// them in order and stops them in the reverse order. It holds no decision of its own about data.
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/memberlist"
	"google.golang.org/grpc"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/hinted"
	"github.com/starling-db/starling/internal/pace"
	"github.com/starling-db/starling/internal/task"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/internal/workers"
	"github.com/starling-db/starling/node/admission"
	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/node/decide"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/spread"
	"github.com/starling-db/starling/node/state"
	"github.com/starling-db/starling/node/telemetry"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Version is the binary's version. Releases set it when they are linked.
var Version = "dev"

// Options are what a node is made of. All but Config may be zero: then the node uses the operating system's
// file system, clock, randomness and network.
type Options struct {
	Config config.Config
	FS     vfs.FS
	Now    func() time.Time
	// Elapsed is a clock that only runs forward, by which jumps of Now are noticed. Nil: the process's own.
	Elapsed func() time.Duration
	// Rand is safe for concurrent use.
	Rand   io.Reader
	Listen func(network, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	// GossipTransport carries gossip; nil: UDP and TCP on Config.GossipAddr.
	GossipTransport memberlist.Transport
	Logger          *slog.Logger
}

func (o *Options) ensureDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		start := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(start) }
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Addrs are the addresses that a node is bound to, host:port.
type Addrs struct {
	Client, Peer, Gossip, HTTP string
}

// Node is one running server.
type Node struct {
	opts  Options
	cfg   config.Config
	log   *slog.Logger
	id    ring.NodeID
	addrs Addrs

	store       *storage.Store
	clock       *causal.Clock
	bound       boundKeeper
	state       *state.Manager
	pool        *transport.Pool
	replicaSrv  *transport.Server
	detector    *membership.Detector
	members     *membership.Membership
	decider     *decide.Decider
	abstaining  abstaining
	coordinator *coordinator.Coordinator
	hints       *hinted.Replayer
	repairs     *antientropy.Runner
	rounds      *antientropy.Rounds
	vouching    vouching
	tasks       *task.Registry
	foreground  *foreground
	moves       transferring
	scrub       scrubbing
	admission   *admission.Gate
	pace        *pace.Gate // of requests about one item
	metrics     *telemetry.Metrics
	offsets     clockOffsets
	lastAnswer  sync.Map // ring.NodeID -> time.Time, of the members only
	unready     sync.Map // ring.NodeID -> time.Time: since when a node says that it takes no requests
	sealed      atomic.Pointer[causal.Sealer]
	spread      *spread.Spreader
	learning    learning
	cleared     cleared
	ringSeen    atomic.Uint64 // the epoch that onState saw last
	drops       chan struct{} // room for one: buckets may have been dropped
	rebuilds    chan struct{} // room for one: there may be something to rebuild
	purges      chan struct{} // room for one: purge levels have risen

	clientSrv, peerSrv *grpc.Server
	httpSrv            *telemetry.Server
	health             *healthService

	// phase says why the node takes no requests; nil when it does. It is changed under phaseMu.
	phase      atomic.Pointer[string]
	phaseMu    sync.Mutex
	phaseEnded bool          // it says that the node is stopping
	ready      chan struct{} // closed when it first does
	// announced is whether gossip was last told that the node is ready.
	announced atomic.Bool

	stopping       context.Context // ends when Close begins
	stop           context.CancelFunc
	cancel         context.CancelFunc // ends the loops
	loops          sync.WaitGroup
	workers        *workers.Pool // requests
	waitingReplies atomic.Int64  // bytes, of all sessions
	sessionCounts  sessionCounts
	sessions       sync.WaitGroup // readers and writers of sessions
	done           chan struct{}  // closed when the node has stopped, by itself or by Close
	failed         chan error     // what stops it by itself; room for one
	closeOnce      sync.Once
	err            error // set before done is closed
}

// keptWorkers bounds the goroutines that are kept for the next requests, each with a stack of some kilobytes, and keptFor
// is for how long: what a burst needed is soon given back.
const (
	keptWorkers = 1024
	keptFor     = 5 * time.Second
)

// Start opens the data directory, binds the ports and starts the node. It returns with everything running, but the
// node may still wait for its cluster: Ready tells. ctx bounds the start alone. Errors are those of the
// configuration, the directory (storage.ErrLocked and so on) and the ports; nothing is left behind then.
func Start(ctx context.Context, o Options) (*Node, error) {
	o.ensureDefaults()
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		opts: o, cfg: o.Config, log: o.Logger, ready: make(chan struct{}), done: make(chan struct{}),
		failed: make(chan error, 1), drops: make(chan struct{}, 1),
		rebuilds: make(chan struct{}, 1), purges: make(chan struct{}, 1), learning: learning{turn: make(chan struct{}, 1)},
		scrub:     scrubbing{try: make(chan struct{}, 1)},
		moves:     transferring{wake: make(chan struct{}, 1)},
		admission: admission.New(int64(o.Config.MaxInFlight), int64(o.Config.MaxInFlightBytes)),
		pace:      pace.NewGate(pace.Options{Min: minPace, Start: startPace, Max: o.Config.MaxInFlight}, o.Now),
		metrics:   telemetry.NewMetrics(Version),
		workers:   workers.New(keptWorkers, keptFor),
	}
	n.stopping, n.stop = context.WithCancel(context.Background())
	n.setPhase("starting")
	undo := &cleanup{}
	undo.add(func() error { n.workers.Close(); return nil })
	if err := n.open(ctx, undo); err != nil {
		return nil, errors.Join(err, undo.run())
	}
	n.run()
	return n, nil
}

// cleanup takes back the steps of a start that failed, the last one first.
type cleanup struct{ steps []func() error }

func (c *cleanup) add(step func() error) { c.steps = append(c.steps, step) }

func (c *cleanup) run() error {
	var errs []error
	for i := len(c.steps) - 1; i >= 0; i-- {
		errs = append(errs, c.steps[i]())
	}
	return errors.Join(errs...)
}

// itemCache is a setting in the storage's terms, where 0 is the default.
func itemCache(b config.Bytes) int64 {
	if b == 0 {
		return -1
	}
	return int64(b)
}

// open makes the parts in the order in which they depend on each other.
func (n *Node) open(ctx context.Context, undo *cleanup) error {
	store, err := storage.Open(storage.Options{
		Dir: n.cfg.Dir, FS: n.opts.FS, Name: n.cfg.Name, Rand: n.opts.Rand, Logger: n.log,
		CacheBytes: int64(n.cfg.CacheBytes), MemTableBytes: int64(n.cfg.MemTableBytes), ItemCacheBytes: itemCache(n.cfg.ItemCacheBytes),
		HintBytesPerTarget: int64(n.cfg.HintBytesPerTarget), HintBytesTotal: int64(n.cfg.HintBytes),
		MaxSiblings: n.cfg.MaxSiblings, MaxStateBytes: int64(n.cfg.MaxStateBytes), DiskReserve: int64(n.cfg.DiskReserve),
	})
	if err != nil {
		return err
	}
	undo.add(store.Close)
	if err := checkCluster(n.cfg, store.Identity()); err != nil {
		return err
	}
	n.store, n.id = store, ring.NodeID(store.Identity().NodeID)
	n.vouching.opened = store.HLCBound()
	if err := n.loadRemembered(); err != nil {
		return err
	}
	n.clock = causal.NewClock(n.opts.Now, n.cfg.MaxClockOffset, max(store.HLCBound(), store.Attested()))
	n.bound = boundKeeper{
		clock: n.clock, store: store, raising: make(chan struct{}, 1), elapsed: n.opts.Elapsed, confirm: n.confirmClock,
	}
	store.UseClock(n.clock) // the first write raises the bound: a clock that is wrong now must not leave one behind
	listeners, err := n.listen(undo)
	if err != nil {
		return err
	}
	if err := n.openCluster(ctx, listeners, undo); err != nil {
		return err
	}
	if err := n.openRequests(undo); err != nil {
		return err
	}
	if err := n.openGossip(ctx, listeners, undo); err != nil {
		return err
	}
	n.serve(listeners)
	return nil
}

// checkCluster refuses a directory of another cluster before anything else is made of it.
func checkCluster(c config.Config, id storage.Identity) error {
	if !id.Adopted() || id.Cluster == c.Cluster {
		return nil
	}
	return fmt.Errorf("data directory %s belongs to cluster %q and not to %q: name another directory with --dir, or its cluster with --cluster",
		c.Dir, id.Cluster, c.Cluster)
}

// listeners are the bound ports. Gossip has its own two.
type listeners struct {
	client, peer, http net.Listener
	gossip             memberlist.Transport
	// What others are told to dial.
	clientAt, peerAt, gossipAt string
}

func (n *Node) listen(undo *cleanup) (*listeners, error) {
	l := &listeners{gossip: n.opts.GossipTransport}
	for _, port := range []struct {
		name, addr string
		at         *net.Listener
		bound      *string
	}{
		{"client", n.cfg.ClientAddr, &l.client, &n.addrs.Client},
		{"peer", n.cfg.PeerAddr, &l.peer, &n.addrs.Peer},
		{"http", n.cfg.HTTPAddr, &l.http, &n.addrs.HTTP},
	} {
		listener, err := n.opts.Listen("tcp", port.addr)
		if err != nil {
			return nil, fmt.Errorf("%s port: %w; choose another with --%s-addr", port.name, err, port.name)
		}
		undo.add(func() error { return ignoreClosed(listener.Close()) })
		*port.at, *port.bound = listener, listener.Addr().String()
	}
	n.addrs.Gossip = n.cfg.GossipAddr
	if l.gossip == nil {
		var err error
		if l.gossip, n.addrs.Gossip, err = membership.Listen(context.Background(), n.cfg.GossipAddr, n.log); err != nil {
			return nil, fmt.Errorf("%w; choose another with --gossip-addr", err)
		}
		undo.add(l.gossip.Shutdown)
	}
	for _, at := range []struct {
		bound, override string
		to              *string
	}{
		{n.addrs.Client, n.cfg.ClientAdvertise, &l.clientAt},
		{n.addrs.Peer, n.cfg.PeerAdvertise, &l.peerAt},
		{n.addrs.Gossip, n.cfg.GossipAdvertise, &l.gossipAt},
	} {
		var err error
		if *at.to, err = config.Advertise(at.bound, at.override, net.InterfaceAddrs); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// openRequests makes what runs requests: coordinator and hint replay.
func (n *Node) openRequests(undo *cleanup) error {
	p := peers{n}
	n.coordinator = coordinator.New(coordinator.Options{
		Cluster: coordinator.Cluster{
			Self: n.id, Epoch: n.epoch, Health: n.healthOf, Latency: n.detector.Latency, Late: n.late, Learn: n.learn,
		},
		Replicas: coordinator.Replicas{
			Mint: n.local().mint, Write: p.write, Read: p.read, Range: p.scan, ItemOf: itemOf, Owe: n.local().owe,
		},
		Events: coordinator.Events{
			WriteBack: n.metrics.WriteBack, Repair: n.metrics.ReadRepair, Hedge: n.metrics.Hedge, StandIn: n.metrics.StandIn,
			OweFailed: func() { n.log.Warn("a hint could not be stored; the owner will be repaired by reads") },
		},
		SlowWrite: n.cfg.SlowReplica, Hedge: n.hedgeAfter, Now: n.opts.Now, Clock: n.clock.Current,
	})
	undo.add(func() error { n.coordinator.Close(); return nil })
	return errors.Join(n.openHints(), n.openForeground(), n.openRepairs(), n.openRounds(), n.openTasks(), n.openSpread(), n.openTransfer())
}

// Ready is closed when the node first takes requests.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Done is closed when the node has stopped, by Close or by a failure that Err tells.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is why the node stopped by itself; nil before Done, and after a Close.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}

// Addrs are the addresses that the node is bound to.
func (n *Node) Addrs() Addrs { return n.addrs }

// Name is the node's name in the cluster.
func (n *Node) Name() string { return n.cfg.Name }

// Store is the node's storage, for tests that damage it behind the node's back. It belongs to the node, which closes it.
func (n *Node) Store() *storage.Store { return n.store }

// ID is the node's random id, which lives with its data.
func (n *Node) ID() ring.NodeID { return n.id }

// epoch is the present state of the ring. Only requests that serving let in ask for it.
func (n *Node) epoch() *ring.Epoch { return n.state.Snapshot().Epoch }

func (n *Node) sealer() *causal.Sealer {
	if s := n.sealed.Load(); s != nil {
		return s
	}
	s := causal.NewSealer(n.state.Snapshot().ClusterID)
	n.sealed.Store(&s)
	return &s
}

// attributes are what is known of a node: by its own gossip, or by the document when it is away.
func (n *Node) attributes(id ring.NodeID) state.NodeAttributes {
	if id != n.id {
		if seen, ok := n.members.Node(id); ok && seen.State == membership.Alive {
			return state.NodeAttributesOf(seen.Meta.GetAttributes())
		}
	}
	a := n.state.Snapshot().Nodes[id]
	if a.ID.IsZero() {
		a.ID = id
		if seen, ok := n.members.Node(id); ok {
			a = state.NodeAttributesOf(seen.Meta.GetAttributes())
		}
	}
	return a
}

func (n *Node) name(id ring.NodeID) string {
	if name := n.attributes(id).Name; name != "" {
		return name
	}
	return id.String()
}

func (n *Node) zone(id ring.NodeID) string { return n.attributes(id).Zone }

func (n *Node) peerAddr(id ring.NodeID) (string, bool) {
	addr := n.attributes(id).PeerAddr
	return addr, addr != ""
}

// healthOf is the detector's verdict in the coordinator's words. A node that says itself that it takes no requests,
// because its clock is off, say, is as good as down. One that has only just said so may be ready before gossip tells.
func (n *Node) healthOf(id ring.NodeID) coordinator.Health {
	if since, unready := n.unready.Load(id); unready {
		if n.opts.Now().Sub(since.(time.Time)) < startingFor {
			return coordinator.Slow
		}
		return coordinator.Down
	}
	switch n.detector.State(id) {
	case membership.Alive:
		return coordinator.Up
	case membership.Suspect:
		if n.detector.Answering(id) {
			return coordinator.Slow
		}
	}
	return coordinator.Down
}

// startingFor is how long a node that says it is not ready is taken to be about to be.
const startingFor = time.Second

// late is told of a replica that let a write's budget pass. Under load all of them do now and then, so it counts
// against a node only when nothing at all has come from it for a while.
func (n *Node) late(id ring.NodeID) {
	last, ok := n.lastAnswer.Load(id)
	if ok && n.opts.Now().Sub(last.(time.Time)) < silentAfter {
		return
	}
	n.detector.Report(id, membership.Timeout, 0)
}

// silentAfter is how long a node that was asked may say nothing before requests go round it.
const silentAfter = 400 * time.Millisecond

// Bounds of the automatic hedge: a percentile of a few lucky microseconds must not double every read.
const (
	minHedge = 2 * time.Millisecond
	maxHedge = 100 * time.Millisecond
	noHedge  = 24 * time.Hour
)

func (n *Node) hedgeAfter(id ring.NodeID) time.Duration {
	switch h := n.cfg.Hedge; {
	case h.Auto:
		p95 := n.detector.LatencyP95(id)
		if p95 == 0 {
			p95 = maxHedge / 4
		}
		return min(max(2*p95, minHedge), maxHedge)
	case h.After > 0:
		return h.After
	default:
		return noHedge
	}
}

// nodeAttributes are this node's own, for the document and for gossip.
func (n *Node) nodeAttributes(l *listeners) state.NodeAttributes {
	return state.NodeAttributes{
		ID: n.id, Name: n.cfg.Name, Zone: n.cfg.Zone, ClientAddr: l.clientAt, PeerAddr: l.peerAt, GossipAddr: l.gossipAt,
		HTTPAddr: n.addrs.HTTP, Version: Version,
	}
}

var _ pb.KVServer = (*kvService)(nil)
