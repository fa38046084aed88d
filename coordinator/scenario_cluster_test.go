package coordinator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/hinted"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// stage is the cluster that a scenario plays on. Everything that decides is the real thing: each node has a
// Coordinator, a storage.Store on a disk in memory, a clock, an epoch of package ring, and hands hints on by
// package hinted. Only the network and what is known of the nodes' health are the scenario's to say.
//
// It lives in a synctest bubble. A message to node nK takes K milliseconds, so that no two things happen in one
// moment and every run of a scenario is the same.
type stage struct {
	t         *testing.T
	n         int
	item      causal.ItemKey
	layout    *ring.Layout
	partition int
	nodes     []*stageNode // in the order of the item's preference list
	closing   sync.WaitGroup

	mu       sync.Mutex
	cut      map[[2]*stageNode]bool
	held     map[*stageNode]chan struct{}
	versions map[causal.Dot]string
}

// stageNode is a machine: its disk stays when the process on it dies.
type stageNode struct {
	s    *stage
	name string
	id   ring.NodeID
	trip time.Duration // of every message to it

	// Guarded by stage.mu.
	fs    *vfs.MemFS
	epoch *ring.Epoch
	down  bool     // unreachable, and known to be
	proc  *process // nil: dead
}

// process is one run of a node, from its start to its death.
type process struct {
	node  *stageNode
	store *storage.Store
	clock *causal.Clock
	coord *Coordinator
	dead  chan struct{}

	messages messages

	acks, diesAfter int // guarded by stage.mu; diesAfter 0: never
}

var (
	errRefused = errors.New("connection refused")
	errDied    = errors.New("the process died")
)

// itemName is the one item of a scenario. The nodes are named by its preference list.
const itemName = "cart"

func newStage(t *testing.T, nodes, n int) *stage {
	t.Helper()
	s := &stage{
		t: t, n: n, item: causal.ItemKey{Bucket: 1, Partition: []byte(itemName)}, cut: map[[2]*stageNode]bool{},
		held: map[*stageNode]chan struct{}{}, versions: map[causal.Dot]string{},
	}
	var members []ring.Member
	for i := range nodes {
		members = append(members, ring.Member{ID: ring.NodeID{byte(i + 1)}, Zone: "z", Weight: 1})
	}
	layout, err := ring.Plan(ring.PlanInput{Members: members, Partitions: stagePartitions, Replicas: min(nodes, 5), Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.layout = layout
	s.partition = layout.PartitionOf(ring.TokenOf(s.item.Bucket, s.item.Partition))
	for i, id := range layout.Guardians(s.partition, nodes) {
		node := &stageNode{
			s: s, name: fmt.Sprintf("n%d", i+1), id: id, trip: time.Duration(i+1) * time.Millisecond,
			fs: vfs.NewCrashableMem(), epoch: ring.Genesis(layout),
		}
		s.nodes = append(s.nodes, node)
		node.start()
	}
	t.Cleanup(s.close)
	return s
}

func (s *stage) close() {
	for _, n := range s.nodes {
		if p := n.process(); p != nil {
			p.close()
		}
	}
	s.closing.Wait()
}

// start runs a process on what is on the node's disk.
func (n *stageNode) start() {
	store, err := storage.Open(storage.Options{Dir: "/data", FS: n.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		n.s.t.Fatal(err)
	}
	p := &process{
		node: n, store: store, dead: make(chan struct{}),
		clock: causal.NewClock(time.Now, 500*time.Millisecond, store.HLCBound()),
	}
	p.clock.Raise(causal.MaxHLC)
	store.UseClock(p.clock)
	p.coord = New(Options{Cluster: p.cluster(), Replicas: p.replicas()})
	n.s.mu.Lock()
	n.proc, n.down = p, false
	n.s.mu.Unlock()
}

// kill ends the node's process, with all messages that it has under way, as a power cut does: the disk keeps what
// was synced and nothing else.
func (n *stageNode) kill() {
	n.s.mu.Lock()
	p := n.proc
	n.proc, n.down = nil, true
	n.fs = n.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
	n.s.mu.Unlock()
	close(p.dead)
	n.s.closing.Go(p.close) // the request that it dies in has yet to return
}

func (p *process) close() {
	p.coord.Close()
	p.messages.running.Wait()
	if err := p.store.Close(); err != nil {
		p.node.s.t.Error(err)
	}
}

func (n *stageNode) process() *process {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.proc
}

func (n *stageNode) isDown() bool {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.down
}

func (n *stageNode) ring() *ring.Epoch {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.epoch
}

func (p *process) died() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

func (s *stage) node(id ring.NodeID) *stageNode {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	s.t.Fatalf("no node %v", id)
	return nil
}

func (p *process) cluster() Cluster {
	s := p.node.s
	return Cluster{
		Self:  p.node.id,
		Epoch: p.node.ring,
		Health: func(id ring.NodeID) Health {
			if s.node(id).isDown() {
				return Down
			}
			return Up
		},
		Latency: func(id ring.NodeID) time.Duration { return s.node(id).trip },
	}
}

// call takes a message to a node and its answer back. What a dead process has sent or would answer is lost.
func (p *process) call(ctx context.Context, to *stageNode, handle func(*process) error) error {
	if p.died() {
		return errDied
	}
	if to == p.node {
		return handle(p)
	}
	if err := p.node.s.travel(ctx, p.node, to); err != nil {
		return err
	}
	err := errRefused
	if target := to.process(); target != nil {
		err = handle(target)
	}
	if p.node.s.isCut(to, p.node) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (s *stage) travel(ctx context.Context, from, to *stageNode) error {
	s.mu.Lock()
	down, cut, held := to.down, s.cut[[2]*stageNode{from, to}], s.held[to]
	s.mu.Unlock()
	if down {
		return errRefused
	}
	if cut {
		<-ctx.Done()
		return ctx.Err()
	}
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-time.After(to.trip):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stage) isCut(from, to *stageNode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut[[2]*stageNode{from, to}]
}

func (p *process) replicas() Replicas {
	s := p.node.s
	return Replicas{
		Mint: p.mint,
		Write: p.messages.write(func(ctx context.Context, id ring.NodeID, req WriteRequest) error {
			if err := p.call(ctx, s.node(id), func(to *process) error { return to.write(ctx, req) }); err != nil {
				return err
			}
			return p.acked(ctx)
		}),
		Read: p.messages.read(func(ctx context.Context, id ring.NodeID, req ReadRequest) (reply ReadReply, err error) {
			err = p.call(ctx, s.node(id), func(to *process) error {
				reply, err = to.read(ctx, req)
				return err
			})
			return reply, err
		}),
		Owe: func(ctx context.Context, item causal.ItemKey, owner ring.NodeID, epoch uint64) error {
			return p.call(ctx, p.node, func(*process) error {
				return p.store.Owe(ctx, storageKey(item), storage.NodeID(owner), epoch)
			})
		},
	}
}

// acked counts what the coordinator of this process is told, and is where it dies if it is to.
func (p *process) acked(ctx context.Context) error {
	s := p.node.s
	s.mu.Lock()
	p.acks++
	dies := p.diesAfter > 0 && p.acks == p.diesAfter
	s.mu.Unlock()
	if !dies {
		return nil
	}
	p.node.kill()
	<-ctx.Done()
	return errDied
}

func storageKey(item causal.ItemKey) storage.Key {
	return storage.Key{Bucket: item.Bucket, Token: uint64(ring.TokenOf(item.Bucket, item.Partition)), Partition: item.Partition}
}

func (p *process) mint(ctx context.Context, req MintRequest) (Minted, error) {
	if p.died() {
		return Minted{}, errDied
	}
	put := storage.Put{Key: storageKey(req.Item), Policy: req.Policy, Write: req.Write, Sync: req.Sync, Epoch: req.Epoch}
	if !req.HintFor.IsZero() {
		put.HintFor = []storage.NodeID{storage.NodeID(req.HintFor)}
	}
	for _, id := range req.Owes {
		put.Owes = append(put.Owes, storage.NodeID(id))
	}
	res, commit, err := p.store.Put(ctx, put)
	if err != nil {
		return Minted{}, err
	}
	if !res.Repeated {
		p.node.s.christen(res.Version.Dot, p.node)
	}
	durable := p.messages.wait(func(ctx context.Context) error {
		if err := commit.Wait(ctx); err != nil {
			return err
		}
		return p.acked(ctx)
	})
	return Minted{State: res.State, Version: res.Version, Repeated: res.Repeated, Durable: durable}, nil
}

func (p *process) write(ctx context.Context, req WriteRequest) error {
	if err := p.fence(req.Epoch, req.N); err != nil {
		return err
	}
	if err := p.clock.Observe(req.State.MaxHLC()); err != nil {
		return err
	}
	return p.store.Merge(ctx, []storage.Merge{{
		Key: storageKey(req.Item), Policy: req.Policy, State: req.State, HintFor: storage.NodeID(req.HintFor),
		Sync: req.Sync, Epoch: req.Epoch,
	}})[0]
}

func (p *process) read(ctx context.Context, req ReadRequest) (ReadReply, error) {
	if err := p.fence(req.Epoch, req.N); err != nil {
		return ReadReply{}, err
	}
	state, err := p.store.Get(ctx, storageKey(req.Item))
	reply := ReadReply{Digest: state.Digest()}
	if !req.Digest {
		reply.State = state
	}
	return reply, err
}

// fence says no to a request by the verdict of package ring.
func (p *process) fence(planned uint64, n int) error {
	epoch := p.node.ring()
	if v := epoch.Fence(planned, p.node.s.partition, n); v != ring.Serve {
		return fmt.Errorf("%v: planned at epoch %d, this node is at %d", v, planned, epoch.Number)
	}
	return nil
}

// christen gives a version the name by which a scenario speaks of it: the k-th of all, and who minted it.
func (s *stage) christen(d causal.Dot, by *stageNode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[d] = fmt.Sprintf("v%d@%s", len(s.versions)+1, by.name)
}

func (s *stage) nameOf(d causal.Dot) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions[d]
}

// replay lets one node hand its hints to whoever is up, and tells each delivery to note.
func (p *process) replay(note func(target *stageNode, state causal.State, err error)) {
	s := p.node.s
	r, err := hinted.New(hinted.Options{
		Store: p.store,
		Up:    func(id ring.NodeID) bool { return !s.node(id).isDown() },
		Owns:  func(storage.Key) bool { return p.node.ring().Base.IsOwner(s.partition, s.n, p.node.id) },
		Send: func(ctx context.Context, target ring.NodeID, batch []hinted.Handoff) []error {
			errs := make([]error, len(batch))
			for i, h := range batch {
				req := WriteRequest{Item: s.item, N: s.n, State: h.State, Sync: true, Epoch: p.node.ring().Number}
				errs[i] = p.call(ctx, s.node(target), func(to *process) error { return to.write(ctx, req) })
				note(s.node(target), h.State, errs[i])
			}
			return errs
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 50*time.Millisecond) // a pass, and no second try
	defer cancel()
	if err := r.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		s.t.Errorf("replay of %s: %v", p.node.name, err)
	}
}

// stagePartitions times ring.MaxReplicas is the size of an epoch's tables; below 128 it takes one byte.
const stagePartitions = 16

// epochAt is the ring of an epoch that ends a move of all partitions which was given up: the owners are who they were,
// but between epochs changed-1 and changed others counted too. With changed zero no partition ever moved. To get to
// such numbers would take many moves, so it is put together from its encoding.
func (s *stage) epochAt(number, changed uint64) *ring.Epoch {
	const head, tail = 3, 4 // format, kind, number; two tables of one run of zeros
	const cells = stagePartitions * ring.MaxReplicas
	genesis := ring.AppendEpoch(nil, ring.Genesis(s.layout))
	b := binary.AppendUvarint(genesis[:head-1:head-1], number)
	b = append(b, genesis[head:len(genesis)-tail]...)
	b = binary.AppendUvarint(append(b, cells), changed)
	epoch, err := ring.DecodeEpoch(append(b, cells, 0))
	if err != nil {
		s.t.Fatal(err)
	}
	return epoch
}
