package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/internal/gossipnet"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// peer is one node of a test cluster on a network in memory.
type peer struct {
	*Membership
	id        ring.NodeID
	ip, addr  string
	detector  *Detector
	clusterID atomic.Pointer[[]byte]
	ready     atomic.Bool
	stop      context.CancelFunc
}

// peerOptions are what a test may want otherwise.
type peerOptions struct {
	cluster   string
	clusterID []byte
	join      []string
	stored    []string
	at        int // the host's number, if not the node's
}

var errForeign = errors.New("of another cluster")

func nodeID(i int) ring.NodeID { return ring.NodeID{0: 0xaa, 14: byte(i >> 8), 15: byte(i)} }

func hostIP(i int) string   { return fmt.Sprintf("10.0.0.%d", i) }
func hostAddr(i int) string { return hostIP(i) + ":7402" }

func startPeer(t *testing.T, n *gossipnet.Network, i int, o peerOptions) *peer {
	t.Helper()
	if o.cluster == "" {
		o.cluster = "test"
	}
	at := o.at
	if at == 0 {
		at = i
	}
	p := &peer{id: nodeID(i), ip: hostIP(at), addr: hostAddr(at)}
	p.clusterID.Store(&o.clusterID)
	transport, err := n.Listen(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.detector = NewDetector(DetectorOptions{Self: p.id, Rand: rand.New(rand.NewPCG(uint64(i), 1))})
	p.Membership, err = New(t.Context(), Options{
		ID:          p.id,
		Meta:        p.meta,
		Cluster:     o.cluster,
		Transport:   transport,
		Join:        o.join,
		StoredPeers: func() []string { return o.stored },
		Refuse:      p.refuse,
		Detector:    p.detector,
		Logger:      slog.New(slog.DiscardHandler),
		Rand:        rand.New(rand.NewPCG(uint64(i), 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.detector.Run(ctx, func(context.Context, ring.NodeID) (Outcome, time.Duration) { return OK, time.Millisecond })
	}()
	p.stop = func() {
		cancel()
		<-done
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	return p
}

func (p *peer) meta() *pb.GossipMeta {
	return &pb.GossipMeta{
		Attributes: &pb.NodeAttributes{Id: p.id[:], Name: "node-" + p.ip, GossipAddr: p.addr},
		ClusterId:  *p.clusterID.Load(),
		Ready:      p.ready.Load(),
	}
}

func (p *peer) refuse(meta *pb.GossipMeta) error {
	ours, theirs := *p.clusterID.Load(), meta.GetClusterId()
	if len(ours) > 0 && len(theirs) > 0 && string(ours) != string(theirs) {
		return errForeign
	}
	return nil
}

func (p *peer) sees(o *peer) State {
	if n, ok := p.Node(o.id); ok {
		return n.State
	}
	return Dead
}

// startPeers starts nodes 1 to n, each told of the first alone.
func startPeers(t *testing.T, net *gossipnet.Network, n int, stored bool) []*peer {
	t.Helper()
	var all []string
	for i := 1; i <= n; i++ {
		all = append(all, hostAddr(i))
	}
	peers := make([]*peer, n)
	for i := range peers {
		o := peerOptions{join: []string{hostAddr(1)}}
		if stored {
			o.stored = all
		}
		peers[i] = startPeer(t, net, i+1, o)
	}
	return peers
}

func stopPeers(peers []*peer) {
	for _, p := range peers {
		p.stop()
	}
	settle()
}

// settle lets memberlist's last probes end: a bubble must not be left before its goroutines are.
func settle() { time.Sleep(10 * time.Second) }

// eventually waits in fake time until holds does, and returns how long that took.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !holds() {
		if time.Since(start) > within {
			t.Fatalf("%s: not within %s", what, within)
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(start)
}

// allSee says that every peer sees every other in a state.
func allSee(peers []*peer, others []*peer, want State) bool {
	for _, p := range peers {
		for _, o := range others {
			if p != o && (p.sees(o) != want || p.detector.State(o.id) != want) {
				return false
			}
		}
	}
	return true
}
