package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/starling-db/starling/ring"
)

// Membership is this node's part in gossip. It must be Closed.
type Membership struct {
	o     Options
	guard *guard
	list  *memberlist.Memberlist
	addr  string

	// meta is what memberlist's delegate hands out: encoded, and known to fit.
	meta atomic.Pointer[[]byte]
	// updates asks the announcer for a rebroadcast, leave for a goodbye.
	updates chan struct{}
	leave   chan leaveRequest
	rejoin  chan struct{}
	// conflicted is how many more rounds this node speaks up because a peer still held its former address.
	conflicted atomic.Int32

	refused, conflicts, rejoined atomic.Uint64

	inbox inbox
	table table

	cancel    context.CancelFunc
	announced chan struct{}
	wg        sync.WaitGroup
	once      sync.Once
	err       error
}

// New joins gossip: the sockets are bound and the node answers when it returns, but nobody is met yet.
func New(ctx context.Context, o Options) (*Membership, error) {
	o = o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	ip, port, err := o.advertised(ctx)
	if err != nil {
		return nil, err
	}
	if o.Transport == nil {
		if o.Transport, _, err = Listen(ctx, o.Bind, o.Logger); err != nil {
			return nil, err
		}
	}
	m := &Membership{
		o:         o,
		guard:     newGuard(o.Transport, clusterLabel(o.Cluster), o.Logger),
		updates:   make(chan struct{}, 1),
		leave:     make(chan leaveRequest),
		rejoin:    make(chan struct{}, 1),
		announced: make(chan struct{}),
	}
	m.inbox.init()
	m.table.init()
	if err := m.start(ip, port); err != nil {
		return nil, errors.Join(err, m.guard.Shutdown())
	}
	return m, nil
}

func (m *Membership) start(ip string, port int) error {
	at, final, err := m.guard.FinalAdvertiseAddr(ip, port)
	if err != nil {
		return fmt.Errorf("gossip address: %w", err)
	}
	if at.IsUnspecified() {
		return fmt.Errorf("gossip address: others can't dial %s: set the address to advertise", at)
	}
	m.addr = net.JoinHostPort(at.String(), strconv.Itoa(final))
	if err := m.encodeMeta(false); err != nil {
		return err
	}
	if m.list, err = memberlist.Create(m.config(ip, port)); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.wg.Go(func() { m.dispatch(ctx) })
	m.wg.Go(func() { m.announce(ctx) })
	m.wg.Go(func() { m.rejoinLoop(ctx) })
	return nil
}

// advertised splits Advertise, with its host resolved: gossip speaks of IP addresses only.
func (o Options) advertised(ctx context.Context) (ip string, port int, err error) {
	if o.Advertise == "" {
		return "", 0, nil
	}
	host, port, err := hostPort(o.Advertise)
	if err != nil {
		return "", 0, fmt.Errorf("advertised gossip address: %w", err)
	}
	at, err := resolveOne(ctx, host, o.Resolve)
	if err != nil {
		return "", 0, fmt.Errorf("advertised gossip address: %w", err)
	}
	return at.String(), port, nil
}

// config translates our options into memberlist's.
func (m *Membership) config(ip string, port int) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = m.o.ID.String()
	c.Transport = m.guard
	// Outgoing gossip is labelled by memberlist, incoming was checked and stripped by the guard.
	c.Label = clusterLabel(m.o.Cluster)
	c.SkipInboundLabelCheck = true
	c.AdvertiseAddr, c.AdvertisePort = ip, port
	c.ProbeInterval, c.ProbeTimeout = m.o.Tuning.ProbeInterval, m.o.Tuning.ProbeTimeout
	c.SuspicionMult = m.o.Tuning.SuspicionMult
	// One peer that agrees is enough for the short timeout; alone, don't wait much longer than that.
	c.SuspicionMaxTimeoutMult = 2
	c.GossipInterval, c.PushPullInterval = m.o.Tuning.GossipInterval, m.o.Tuning.PushPullInterval
	c.TCPTimeout = m.o.Tuning.StreamTimeout
	// A node that comes back elsewhere (a pod with a new address) is the same node: as soon as it is dead
	// under the old address it may take the new one.
	c.DeadNodeReclaimTime = time.Nanosecond
	c.EnableCompression = false
	d := (*delegate)(m)
	c.Delegate, c.Events, c.Alive, c.Merge, c.Conflict = d, d, d, d, d
	c.Logger = bridge(m.o.Logger)
	return c
}

// Addr is the gossip address that others are told, IP and port.
func (m *Membership) Addr() string { return m.addr }

// Close ends gossip without a goodbye (see Leave), and waits for every goroutine of ours. A probe that
// memberlist has under way goes on for a probe interval or a few, unheard: it can't be waited for.
func (m *Membership) Close() error {
	m.once.Do(func() {
		m.cancel()
		<-m.announced // memberlist panics when a goodbye comes after its shutdown
		m.err = m.list.Shutdown()
		m.wg.Wait()
	})
	return m.err
}

// Stats are counts since the start.
type Stats struct {
	// ForeignCluster counts packets and streams of other clusters' names, Garbage those that were no gossip
	// at all, ExcessStreams those beyond the bound.
	ForeignCluster, Garbage, ExcessStreams uint64
	// RefusedNodes counts messages about nodes that Refuse turned away or whose metadata was no good.
	RefusedNodes uint64
	// AddressConflicts counts claims of one node id by two addresses: a node that has moved, for a few
	// seconds, or two that run on copies of one data directory.
	AddressConflicts uint64
	// Rejoins counts peers that were missing and have been reached.
	Rejoins uint64
}

// Stats returns the counts.
func (m *Membership) Stats() Stats {
	return Stats{
		ForeignCluster:   m.guard.foreign.Load(),
		Garbage:          m.guard.garbage.Load(),
		ExcessStreams:    m.guard.excess.Load(),
		RefusedNodes:     m.refused.Load(),
		AddressConflicts: m.conflicts.Load(),
		Rejoins:          m.rejoined.Load(),
	}
}

// Node returns what gossip knows of a node.
func (m *Membership) Node(id ring.NodeID) (Node, bool) { return m.table.get(id) }

// Nodes lists all that gossip knows of, the dead of the last day included and this node not, by id.
func (m *Membership) Nodes() []Node { return m.table.all() }

// Subscribe has f called with every change of the table, in order, one at a time. f may call Membership
// but should be quick: the others' news wait for it.
func (m *Membership) Subscribe(f func(Node)) { m.table.subscribe(f) }
