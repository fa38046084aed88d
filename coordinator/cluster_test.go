package coordinator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// fakeCluster is a handful of replicas in memory, each with a coordinator, whose messages the test can delay,
// refuse and lose. It runs in a synctest bubble, so its delays take no time.
type fakeCluster struct {
	t      *testing.T
	epoch  *ring.Epoch
	nodes  map[ring.NodeID]*fakeNode
	ids    []ring.NodeID
	policy causal.Policy

	mu  sync.Mutex
	hlc causal.HLC
}

type fakeNode struct {
	c        *fakeCluster
	id       ring.NodeID
	coord    *Coordinator
	messages messages

	mu     sync.Mutex
	items  map[string]causal.State
	hints  map[string]map[ring.NodeID]bool
	health map[ring.NodeID]Health
	actor  causal.Actor

	epoch  *ring.Epoch // nil: the cluster's
	learnt int         // epochs asked for

	delay   time.Duration // of every message to it
	down    bool          // refuses every message
	silent  bool          // never answers
	writes  int
	syncErr error
}

var errDown = errors.New("connection refused")

func newFakeCluster(t *testing.T, nodes int) *fakeCluster {
	t.Helper()
	c := &fakeCluster{t: t, nodes: map[ring.NodeID]*fakeNode{}, hlc: causal.NewHLC(1_000, 0)}
	var members []ring.Member
	for i := range nodes {
		id := ring.NodeID{byte(i + 1)}
		c.ids = append(c.ids, id)
		members = append(members, ring.Member{ID: id, Zone: "z", Weight: 1})
	}
	layout, err := ring.Plan(ring.PlanInput{Members: members, Partitions: 16, Replicas: min(nodes, 5), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	c.epoch = ring.Genesis(layout)
	for i, id := range c.ids {
		n := &fakeNode{
			c: c, id: id, items: map[string]causal.State{}, hints: map[string]map[ring.NodeID]bool{},
			health: map[ring.NodeID]Health{}, actor: causal.Actor(i + 1),
		}
		n.coord = New(Options{Cluster: n.cluster(), Replicas: n.replicas()})
		c.nodes[id] = n
		t.Cleanup(func() { n.coord.Close(); n.messages.running.Wait() })
	}
	return c
}

func (n *fakeNode) cluster() Cluster {
	return Cluster{
		Self:  n.id,
		Epoch: n.ring,
		Learn: n.learn,
		Health: func(id ring.NodeID) Health {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.health[id]
		},
		Latency: func(ring.NodeID) time.Duration { return 0 },
	}
}

func (n *fakeNode) replicas() Replicas {
	return Replicas{
		Mint: n.mint,
		Write: n.messages.write(func(ctx context.Context, id ring.NodeID, req WriteRequest) error {
			to := n.c.nodes[id]
			if err := to.reach(ctx); err != nil {
				return err
			}
			if err := to.fence(req.Epoch, req.Item, req.N); err != nil {
				return err
			}
			to.merge(req.Item, req.State, req.HintFor)
			return nil
		}),
		Read: n.messages.read(func(ctx context.Context, id ring.NodeID, req ReadRequest) (ReadReply, error) {
			to := n.c.nodes[id]
			if err := to.reach(ctx); err != nil {
				return ReadReply{}, err
			}
			if err := to.fence(req.Epoch, req.Item, req.N); err != nil {
				return ReadReply{}, err
			}
			s := to.state(req.Item)
			reply := ReadReply{Digest: s.Digest()}
			if !req.Digest {
				reply.State = s
			}
			return reply, nil
		}),
		Range: func(ctx context.Context, id ring.NodeID, req RangeRequest) (RangeReply, error) {
			to := n.c.nodes[id]
			if err := to.reach(ctx); err != nil {
				return RangeReply{}, err
			}
			first := ring.Token(binary.BigEndian.Uint64(append(bytes.Clone(req.Start), make([]byte, 8)...)))
			if err := to.fenceAt(req.Epoch, first, req.N); err != nil {
				return RangeReply{}, err
			}
			return to.scan(req), nil
		},
		ItemOf: func(bucket uint64, key []byte) (causal.ItemKey, error) { return decodeItem(bucket, key), nil },
		Owe: func(_ context.Context, item causal.ItemKey, owner ring.NodeID, _ uint64) error {
			n.addHint(item, owner)
			return nil
		},
	}
}

// ring is the epoch that the node has.
func (n *fakeNode) ring() *ring.Epoch {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.epoch != nil {
		return n.epoch
	}
	return n.c.epoch
}

// has gives the node an epoch of its own.
func (n *fakeNode) has(e *ring.Epoch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.epoch = e
}

// learn takes the epoch of another node, if that can be reached.
func (n *fakeNode) learn(ctx context.Context, from ring.NodeID, _ uint64) error {
	n.mu.Lock()
	n.learnt++
	n.mu.Unlock()
	if err := n.c.nodes[from].reach(ctx); err != nil {
		return err
	}
	n.has(n.c.nodes[from].ring())
	return nil
}

var errStale = errors.New("stale")

func (n *fakeNode) fence(planned uint64, item causal.ItemKey, replicas int) error {
	return n.fenceAt(planned, ring.TokenOf(item.Bucket, item.Partition), replicas)
}

func (n *fakeNode) fenceAt(planned uint64, token ring.Token, replicas int) error {
	e := n.ring()
	switch e.Fence(planned, e.PartitionOf(token), replicas) {
	case ring.Stale:
		return &StaleError{Node: n.id, Epoch: e.Number, Err: errStale}
	case ring.Learn:
		return errors.New("not learnt")
	}
	return nil
}

// reach is a message's way to the node.
func (n *fakeNode) reach(ctx context.Context) error {
	n.mu.Lock()
	down, silent, delay := n.down, n.silent, n.delay
	n.mu.Unlock()
	if down {
		return errDown
	}
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *fakeNode) mint(_ context.Context, req MintRequest) (Minted, error) {
	n.c.mu.Lock()
	n.c.hlc = n.c.hlc.Next()
	h := n.c.hlc
	n.c.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	key := encodeItem(req.Item)
	s := n.items[key]
	if v, known := s.Known(req.Write.RequestID); known {
		m := Minted{State: s, Repeated: true, Durable: n.durable}
		if v != nil {
			m.Version = *v
		}
		return m, nil
	}
	s, v := causal.Mint(req.Policy, s, n.actor, h, req.Write)
	n.items[key] = s
	if !req.HintFor.IsZero() {
		n.hintLocked(key, req.HintFor)
	}
	for _, owner := range req.Owes {
		n.hintLocked(key, owner)
	}
	return Minted{State: s, Version: v, Durable: n.durable}, nil
}

func (n *fakeNode) durable(_ context.Context, done func(error)) { done(n.syncErr) }

func (n *fakeNode) merge(item causal.ItemKey, s causal.State, hintFor ring.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := encodeItem(item)
	n.items[key] = causal.Merge(n.c.policy, n.items[key], s)
	n.writes++
	if !hintFor.IsZero() {
		n.hintLocked(key, hintFor)
	}
}

func (n *fakeNode) state(item causal.ItemKey) causal.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.items[encodeItem(item)]
}

func (n *fakeNode) addHint(item causal.ItemKey, owner ring.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hintLocked(encodeItem(item), owner)
}

func (n *fakeNode) hintLocked(key string, owner ring.NodeID) {
	if n.hints[key] == nil {
		n.hints[key] = map[ring.NodeID]bool{}
	}
	n.hints[key][owner] = true
}

func (n *fakeNode) hinted(item causal.ItemKey) []ring.NodeID {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []ring.NodeID
	for id := range n.hints[encodeItem(item)] {
		out = append(out, id)
	}
	return out
}

func (n *fakeNode) scan(req RangeRequest) RangeReply {
	n.mu.Lock()
	defer n.mu.Unlock()
	var keys []string
	for key := range n.items {
		if b := []byte(key); bytes.Compare(b, req.Start) >= 0 && (req.End == nil || bytes.Compare(b, req.End) < 0) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if req.Reverse {
		slices.Reverse(keys)
	}
	reply := RangeReply{Exhausted: len(keys) <= req.LimitItems}
	for _, key := range keys[:min(len(keys), req.LimitItems)] {
		reply.Items = append(reply.Items, RangeItem{Key: []byte(key), State: n.items[key]})
	}
	return reply
}

// encodeItem stands in for storage's range keys: token and sort key are enough for these tests.
func encodeItem(item causal.ItemKey) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(ring.TokenOf(item.Bucket, item.Partition)))
	b = append(b, byte(len(item.Partition)))
	b = append(b, item.Partition...)
	return string(append(b, item.Sort...))
}

func decodeItem(bucket uint64, key []byte) causal.ItemKey {
	n := int(key[8])
	return causal.ItemKey{Bucket: bucket, Partition: key[9 : 9+n], Sort: key[9+n:]}
}

// item is an item and its preference list: the first n are owners.
func (c *fakeCluster) item(name string, n int) (causal.ItemKey, []*fakeNode) {
	item := causal.ItemKey{Bucket: 1, Partition: []byte(name)}
	p := c.epoch.Base.PartitionOf(ring.TokenOf(item.Bucket, item.Partition))
	var out []*fakeNode
	for _, id := range c.epoch.Base.Guardians(p, n) {
		out = append(out, c.nodes[id])
	}
	return item, out
}

// see sets what every node believes of one.
func (c *fakeCluster) see(id ring.NodeID, h Health) {
	for _, n := range c.nodes {
		n.mu.Lock()
		n.health[id] = h
		n.mu.Unlock()
	}
}

func write(seq byte, value string, context causal.Past) causal.Write {
	id := causal.RequestID{15: seq, 6: 0x70, 8: 0x80}
	return causal.Write{RequestID: id, Value: []byte(value), Context: context}
}

func values(s causal.State) []string {
	var out []string
	for _, v := range s.Versions {
		out = append(out, string(v.Value))
	}
	slices.Sort(out)
	return out
}
