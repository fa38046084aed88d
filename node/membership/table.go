package membership

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// forgetAfter is how long a node that is gone stays in the table.
const forgetAfter = 24 * time.Hour

// Node is what gossip knows of another node.
type Node struct {
	ID ring.NodeID
	// Meta is what the node last said of itself. It is shared: read only.
	Meta *pb.GossipMeta
	// Addr is its gossip address, IP and port.
	Addr string
	// State is Alive, Dead or Left: gossip's own view (a Detector knows more). Since is when it began.
	State State
	Since time.Time
}

// event is one call of memberlist's, to be worked off where waiting is allowed.
type event struct {
	id   ring.NodeID
	meta *pb.GossipMeta
	addr string
	here bool
	// gone says that the node was gone in between, so that none takes it for having stayed.
	gone bool
}

// inbox holds the last event of each node that was not yet worked off: so it is bounded by the number of
// nodes and putting never waits.
type inbox struct {
	mu     sync.Mutex
	events map[ring.NodeID]event
	order  []ring.NodeID
	wake   chan struct{}
}

func (b *inbox) init() {
	b.events = map[ring.NodeID]event{}
	b.wake = make(chan struct{}, 1)
}

func (b *inbox) put(e event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, waiting := b.events[e.id]; waiting {
		e.gone = e.here && (last.gone || !last.here)
	} else {
		b.order = append(b.order, e.id)
	}
	b.events[e.id] = e
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := make([]event, len(b.order))
	for i, id := range b.order {
		batch[i] = b.events[id]
	}
	clear(b.events)
	b.order = b.order[:0]
	return batch
}

// dispatch works the inbox off: table first, then detector, then subscribers.
func (m *Membership) dispatch(ctx context.Context) {
	sweep := time.NewTicker(time.Hour)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			m.table.forget(m.o.Now().Add(-forgetAfter))
		case <-m.inbox.wake:
			for _, e := range m.inbox.take() {
				if e.gone {
					m.apply(event{id: e.id, meta: e.meta, addr: e.addr})
				}
				m.apply(e)
			}
		}
	}
}

func (m *Membership) apply(e event) {
	n := Node{ID: e.id, Meta: e.meta, Addr: e.addr, State: Alive, Since: m.o.Now()}
	switch {
	case e.here:
	case e.meta.GetLeaving():
		n.State = Left
	default:
		n.State = Dead
	}
	last, known := m.table.get(n.ID)
	if known && last.State == n.State {
		n.Since = last.Since
	} else {
		m.o.Logger.Info("gossip: node is "+n.State.String(), "node", e.meta.GetAttributes().GetName(), "id", n.ID, "addr", n.Addr)
	}
	m.table.put(n)
	if d := m.o.Detector; d != nil {
		switch n.State {
		case Alive:
			d.GossipAlive(n.ID)
		case Left:
			d.GossipLeft(n.ID)
		default:
			d.GossipDead(n.ID)
		}
	}
	m.table.tell(n)
}

// table is who is there.
type table struct {
	mu          sync.RWMutex
	nodes       map[ring.NodeID]Node
	subscribers []func(Node)
}

func (t *table) init() { t.nodes = map[ring.NodeID]Node{} }

func (t *table) get(id ring.NodeID) (Node, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok := t.nodes[id]
	return n, ok
}

func (t *table) all() []Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.SortedFunc(maps.Values(t.nodes), func(a, b Node) int { return a.ID.Compare(b.ID) })
}

func (t *table) put(n Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes[n.ID] = n
}

// forget drops the nodes that have been gone since before.
func (t *table) forget(before time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.nodes, func(_ ring.NodeID, n Node) bool { return n.State != Alive && n.Since.Before(before) })
}

func (t *table) subscribe(f func(Node)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscribers = append(t.subscribers, f)
}

func (t *table) tell(n Node) {
	t.mu.RLock()
	to := slices.Clone(t.subscribers)
	t.mu.RUnlock()
	for _, f := range to {
		f(n)
	}
}
