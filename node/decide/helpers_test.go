package decide

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errCrashed = errors.New("the process has ended")
	clusterID  = bytes.Repeat([]byte{7}, 16)
)

func nodeID(i int) ring.NodeID { return ring.NodeID{0: 0x60, 15: byte(i + 1)} }

// memory is a store whose writes are durable at once.
type memory struct {
	mu   sync.Mutex
	meta map[string][]byte
}

func (s *memory) SetMeta(name string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meta[name] = bytes.Clone(value)
	return nil
}

func (s *memory) Meta(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meta[name], nil
}

func (*memory) Adopt([16]byte, string) error { return nil }

// plug stands between a process and its store. The process ends at its write number left, before or after it took place.
type plug struct {
	state.Store
	mu    sync.Mutex
	name  string // of the document whose writes count
	left  int    // negative: it never ends
	after bool
	ended bool
}

func (p *plug) SetMeta(name string, value []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return errCrashed
	}
	if name == p.name && p.left >= 0 {
		if p.left--; p.left < 0 {
			p.ended = true
			if !p.after {
				return errCrashed
			}
			return errors.Join(p.Store.SetMeta(name, value), errCrashed)
		}
	}
	return p.Store.SetMeta(name, value)
}

func (p *plug) down() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

type testNode struct {
	id       ring.NodeID
	store    state.Store
	plug     *plug
	m        *state.Manager
	d        *Decider
	abstains bool
}

// world is a set of nodes that talk through a network that loses, delays and doubles messages.
type world struct {
	t     *testing.T
	hlc   causal.HLC
	nodes []*testNode

	mu    sync.Mutex
	rng   *rand.Rand
	loss  float64
	again float64
	slow  time.Duration
	dead  map[ring.NodeID]bool // known to be
	cut   map[ring.NodeID]bool // not known to be
}

// newWorld is a cluster of so many members and some nodes beside them, which know its document.
func newWorld(t *testing.T, members, others int, stores func(i int) state.Store) *world {
	t.Helper()
	w := &world{t: t, rng: rand.New(rand.NewPCG(5, uint64(members))), dead: map[ring.NodeID]bool{}, cut: map[ring.NodeID]bool{}}
	e := ring.Genesis(layout(t, nil, 0, numbers(members)...))
	doc, err := proto.Marshal(&pb.ClusterDocument{Name: "test", ClusterId: clusterID, Epochs: map[uint64][]byte{0: ring.AppendEpoch(nil, e)}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range members + others {
		n := &testNode{id: nodeID(i), store: &memory{meta: map[string][]byte{}}}
		if stores != nil {
			n.store = stores(i)
		}
		if err := n.store.SetMeta("cluster/document", doc); err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, n)
		w.start(i)
	}
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.d.Close()
			n.m.Close()
		}
	})
	return w
}

// start starts a node's process, after the end of one before it.
func (w *world) start(i int) {
	w.t.Helper()
	n := w.nodes[i]
	if n.d != nil {
		n.d.Close()
		n.m.Close()
	}
	n.plug = &plug{Store: n.store, left: -1}
	m, err := state.New(state.Options{
		ID: n.id, Cluster: "test", Store: n.plug, Rand: rand.NewChaCha8([32]byte{byte(i)}), Live: w.live, HLC: w.now,
		Candidates: func() []state.Candidate { return nil },
		Push: func(ctx context.Context, to ring.NodeID, req *pb.PushState) (*pb.PushStateReply, error) {
			return carry(ctx, w, n.id, to, func(ctx context.Context, at *testNode) (*pb.PushStateReply, error) {
				return at.m.PushState(ctx, n.id, req)
			})
		},
		Propose: func(context.Context, ring.NodeID, *pb.Propose) (*pb.ProposeReply, error) {
			return nil, errors.New("not here")
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := New(Options{
		ID: n.id, Store: n.plug, State: m, Live: w.live, Rand: rand.New(rand.NewPCG(9, uint64(i))),
		Abstain: func() bool { w.mu.Lock(); defer w.mu.Unlock(); return n.abstains },
		Send: func(ctx context.Context, to ring.NodeID, req *pb.Decide) (*pb.DecideReply, error) {
			return carry(ctx, w, n.id, to, func(ctx context.Context, at *testNode) (*pb.DecideReply, error) {
				return at.d.Handle(ctx, n.id, proto.CloneOf(req))
			})
		},
		Forward: func(ctx context.Context, to ring.NodeID, req *pb.ProposeEpoch) (*pb.ProposeEpochReply, error) {
			return carry(ctx, w, n.id, to, func(ctx context.Context, at *testNode) (*pb.ProposeEpochReply, error) {
				return at.d.HandlePropose(ctx, req)
			})
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	n.m, n.d = m, d
	w.mu.Unlock()
}

func (w *world) now(after causal.HLC) (causal.HLC, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hlc = max(w.hlc, after) + 1
	return w.hlc, nil
}

func (w *world) live(id ring.NodeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.dead[id]
}

// carry brings a request to a node and its answer back, if the network is so kind.
func carry[Reply proto.Message](
	ctx context.Context, w *world, from, to ring.NodeID, handle func(context.Context, *testNode) (Reply, error),
) (none Reply, err error) {
	hop := func() bool {
		w.mu.Lock()
		lost := w.cut[from] || w.cut[to] || w.dead[from] || w.dead[to] || w.rng.Float64() < w.loss
		took := time.Duration(w.rng.Int64N(int64(w.slow) + 1))
		w.mu.Unlock()
		timer := time.NewTimer(took)
		defer timer.Stop()
		if lost {
			timer.Stop()
		}
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	w.mu.Lock()
	var at *testNode
	for _, n := range w.nodes {
		if n.id == to {
			c := *n
			at = &c
		}
	}
	twice := w.rng.Float64() < w.again
	w.mu.Unlock()
	if at == nil || at.plug.down() {
		return none, fmt.Errorf("node %s: %w", to, errCrashed)
	}
	if !hop() {
		return none, ctx.Err()
	}
	reply, err := handle(ctx, at)
	if twice {
		if _, failed := handle(ctx, at); failed != nil && err == nil && ctx.Err() == nil {
			w.t.Errorf("a doubled message: %v", failed)
		}
	}
	if at.plug.down() {
		return none, fmt.Errorf("node %s: %w", to, errCrashed)
	}
	if !hop() {
		return none, ctx.Err()
	}
	return reply, err
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// layout is one of these nodes; those from 100 on have twice the weight.
func layout(t *testing.T, previous *ring.Layout, version uint64, nodes ...int) *ring.Layout {
	t.Helper()
	in := ring.PlanInput{Partitions: 8, Replicas: min(3, len(nodes)), Version: version, Previous: previous}
	for _, i := range nodes {
		in.Members = append(in.Members, ring.Member{ID: nodeID(i % 100), Weight: 1 + uint32(i/100)})
	}
	l, err := ring.Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// begin is a move of the present layout to these nodes.
func (w *world) begin(e *ring.Epoch, nodes ...int) *ring.Epoch {
	w.t.Helper()
	return must(e.Begin(layout(w.t, e.Base, e.Base.Version()+1, nodes...)))
}

func must(e *ring.Epoch, err error) *ring.Epoch {
	if err != nil {
		panic(err)
	}
	return e
}

func (w *world) epoch(i int) *ring.Epoch { return w.nodes[i].m.Snapshot().Epoch }

// propose proposes at a node within a time.
func (w *world) propose(i int, e *ring.Epoch, within time.Duration) (*ring.Epoch, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return w.nodes[i].d.Propose(ctx, e)
}

func equal(a, b *ring.Epoch) bool {
	return bytes.Equal(ring.AppendEpoch(nil, a), ring.AppendEpoch(nil, b))
}

// change changes what the network does.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}
