package spread_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/gossipnet"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/spread"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

var (
	nodesFlag      = flag.Int("nodes", 60, "how many nodes TestAgreement gossips among")
	partitionsFlag = flag.Int("partitions", 1024, "how many partitions their ring has")
)

const (
	clusterName = "scale"
	// agreeBound is how long all nodes may take to learn of a new layout.
	agreeBound = time.Minute
	// settleTime is what they get to meet before that, quietTime for which it is then measured what gossip costs at rest.
	settleTime, quietTime = 2 * time.Minute, time.Minute
)

// memory is the metadata of a node that never restarts.
type memory struct {
	mu   sync.Mutex
	meta map[string][]byte
}

func (m *memory) SetMeta(name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.meta[name] = bytes.Clone(value)
	return nil
}

func (m *memory) Meta(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta[name], nil
}

func (*memory) Adopt([16]byte, string) error { return nil }

// scale is many nodes that do nothing but gossip. All that makes up a node's view of the cluster is the real thing: membership,
// document, spreading. The network and the disks are in memory, time is fake.
type scale struct {
	t     *testing.T
	nodes []*member
	byID  map[ring.NodeID]*member
	rand  *rand.ChaCha8
	// fetched counts the bytes of documents, gossiped those of packets and streams.
	fetched atomic.Int64
}

type member struct {
	id     ring.NodeID
	attrs  state.NodeAttributes
	m      *state.Manager
	list   *membership.Membership
	spread *spread.Spreader
	served atomic.Int64 // documents given away
	learnt atomic.Int64 // when it had the new epoch, unix nanoseconds
}

func scaleID(i int) ring.NodeID {
	return ring.NodeID{0: 0x60, 6: 0x40, 8: 0x80, 14: byte(i >> 8), 15: byte(i)}
}

func scaleAddr(i int) string { return fmt.Sprintf("10.%d.%d.1:7402", i>>8, i&0xff) }

// founded is the document of a cluster of all nodes, with these epochs.
func (s *scale) founded(epochs ...*ring.Epoch) []byte {
	s.t.Helper()
	doc := &pb.ClusterDocument{
		Name: clusterName, ClusterId: bytes.Repeat([]byte{7}, 16), Epochs: make(map[uint64][]byte), Nodes: make(map[string]*pb.NodeAttributes),
	}
	for _, n := range s.nodes {
		doc.Nodes[hex.EncodeToString(n.id[:])] = n.attrs.Proto()
	}
	for _, e := range epochs {
		doc.Epochs[e.Number] = ring.AppendEpoch(nil, e)
	}
	b, err := proto.Marshal(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *scale) start(i int, doc []byte, network *gossipnet.Network) {
	s.t.Helper()
	n := s.nodes[i]
	var err error
	n.m, err = state.New(state.Options{
		ID: n.id, Cluster: clusterName, Store: &memory{meta: map[string][]byte{"cluster/document": doc}},
		HLC:  func(after causal.HLC) (causal.HLC, error) { return after + 1, nil },
		Rand: s.rand, Live: func(ring.NodeID) bool { return true }, Candidates: func() []state.Candidate { return nil },
		Push:    func(context.Context, ring.NodeID, *pb.PushState) (*pb.PushStateReply, error) { return nil, errUnused },
		Propose: func(context.Context, ring.NodeID, *pb.Propose) (*pb.ProposeReply, error) { return nil, errUnused },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	transport, err := network.Listen(scaleAddr(i))
	if err != nil {
		s.t.Fatal(err)
	}
	var join []string
	for seed := range 3 {
		if seed != i {
			join = append(join, scaleAddr(seed))
		}
	}
	n.list, err = membership.New(s.t.Context(), membership.Options{
		ID: n.id, Cluster: clusterName, Transport: transport, Join: join, Rand: rand.New(rand.NewPCG(uint64(i), 1)),
		Meta: func() *pb.GossipMeta {
			snap := n.m.Snapshot()
			return &pb.GossipMeta{
				Attributes: n.attrs.Proto(), ClusterId: snap.ClusterID[:], Epoch: snap.Epoch.Number, Document: n.m.Fingerprint(), Ready: true,
			}
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	n.spread, err = spread.New(spread.Options{
		Own: n.m.Fingerprint, Rand: rand.New(rand.NewPCG(uint64(i), 2)),
		Peers: func() []spread.Peer {
			var peers []spread.Peer
			for _, seen := range n.list.Nodes() {
				if seen.State == membership.Alive {
					peers = append(peers, spread.Peer{ID: seen.ID, Print: seen.Meta.GetDocument(), Epoch: seen.Meta.GetEpoch()})
				}
			}
			return peers
		},
		Fetch: func(ctx context.Context, id ring.NodeID) error {
			from := s.byID[id]
			from.served.Add(1)
			doc := from.m.Document()
			s.fetched.Add(int64(len(doc)))
			_, err := n.m.Offer(ctx, doc)
			return err
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	n.m.OnChange(func() {
		if n.m.Snapshot().Epoch.Number > 0 {
			n.learnt.CompareAndSwap(0, time.Now().UnixNano())
		}
		n.list.UpdateMeta()
		n.spread.Wake()
	})
	n.list.Subscribe(func(seen membership.Node) {
		if seen.Meta.GetDocument() != n.m.Fingerprint() {
			n.spread.Wake()
		}
	})
}

var errUnused = errors.New("not part of this test")

// layouts are one of all nodes, and one in which the first has twice the weight.
func (s *scale) layouts(partitions int) (now, next *ring.Layout) {
	s.t.Helper()
	in := ring.PlanInput{Partitions: partitions, Replicas: min(ring.MaxReplicas, len(s.nodes)), Version: 1}
	for i, n := range s.nodes {
		in.Members = append(in.Members, ring.Member{ID: n.id, Zone: fmt.Sprint("z", i%3), Weight: 1})
	}
	now, err := ring.Plan(in)
	if err != nil {
		s.t.Fatal(err)
	}
	if next, err = ring.PlanChanges(now, []ring.Change{{Kind: ring.SetWeight, Node: s.nodes[0].id, Weight: 2}}, 2); err != nil {
		s.t.Fatal(err)
	}
	return now, next
}

// TestAgreement has one of many nodes learn of a new layout, and waits until all have heard of it by gossip alone.
func TestAgreement(t *testing.T) {
	s := &scale{t: t, byID: make(map[ring.NodeID]*member), rand: rand.NewChaCha8([32]byte{1})}
	for i := range *nodesFlag {
		id := scaleID(i)
		n := &member{id: id, attrs: state.NodeAttributes{
			ID: id, Name: fmt.Sprint("n", i), Zone: fmt.Sprint("z", i%3), GossipAddr: scaleAddr(i), PeerAddr: scaleAddr(i), Generation: 1,
		}}
		s.nodes, s.byID[id] = append(s.nodes, n), n
	}
	now, next := s.layouts(*partitionsFlag)
	genesis := ring.Genesis(now)
	joint, err := genesis.Begin(next)
	if err != nil {
		t.Fatal(err)
	}
	before, after := s.founded(genesis), s.founded(genesis, joint)
	synctest.Test(t, func(t *testing.T) {
		s.t = t
		network := gossipnet.New(gossipnet.Options{
			Rand: rand.New(rand.NewPCG(1, 1)), Loss: 0.01, MinLatency: time.Millisecond, MaxLatency: 20 * time.Millisecond,
		})
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		for i, n := range s.nodes {
			s.start(i, before, network)
			running.Go(func() { _ = n.spread.Run(ctx) })
		}
		defer func() {
			cancel()
			running.Wait()
			for _, n := range s.nodes {
				if err := n.list.Close(); err != nil {
					t.Error(err)
				}
				n.m.Close()
			}
			time.Sleep(time.Minute) // for what memberlist leaves behind
		}()
		time.Sleep(settleTime)
		for _, n := range s.nodes {
			if met := len(n.list.Nodes()); met != len(s.nodes)-1 {
				t.Fatalf("node %v knows %d others after %v", n.id, met, settleTime)
			}
		}
		gossiped := network.Bytes()
		time.Sleep(quietTime)
		atRest := network.Bytes() - gossiped
		if s.fetched.Load() != 0 {
			t.Errorf("%d bytes of documents were fetched with nothing new", s.fetched.Load())
		}

		began := time.Now()
		if _, err := s.nodes[len(s.nodes)/2].m.Offer(ctx, after); err != nil {
			t.Fatal(err)
		}
		time.Sleep(agreeBound)
		synctest.Wait()
		var took []time.Duration
		served := int64(0)
		for _, n := range s.nodes {
			served = max(served, n.served.Load())
			if at := n.learnt.Load(); at != 0 {
				took = append(took, time.Unix(0, at).Sub(began))
			}
		}
		if len(took) != len(s.nodes) {
			t.Fatalf("%d of %d nodes know the new layout after %v", len(took), len(s.nodes), agreeBound)
		}
		slices.Sort(took)
		each := float64(len(s.nodes))
		t.Logf("%d nodes, %d partitions, a document of %d bytes: half of them knew the new layout after %v, all after %v",
			len(s.nodes), *partitionsFlag, len(after), took[len(took)/2], took[len(took)-1])
		t.Logf("documents fetched: %.2f for each node, at most %d from one", float64(s.fetched.Load())/float64(len(after))/each, served)
		t.Logf("gossip sent by a node in a minute: %.0f bytes at rest, %.0f in the minute of the change", float64(atRest)/each,
			float64(network.Bytes()-gossiped-atRest)/each)
		if most := 2 * float64(len(after)) * each; float64(s.fetched.Load()) > most {
			t.Errorf("%d bytes of documents were fetched, want %.0f at most", s.fetched.Load(), most)
		}
	})
}
