package membership

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/internal/gossipnet"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// lan is a network like that of a busy data centre.
func lan() *gossipnet.Network {
	return gossipnet.New(gossipnet.Options{
		Rand:       rand.New(rand.NewPCG(7, 7)),
		Loss:       0.02,
		MinLatency: 200 * time.Microsecond,
		MaxLatency: 2 * time.Millisecond,
	})
}

func TestFiveNodesMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := startPeers(t, lan(), 5, false)
		defer stopPeers(peers)
		took := eventually(t, 5*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })
		t.Logf("met after %s", took)

		peers[3].ready.Store(true)
		peers[3].UpdateMeta()
		eventually(t, 3*time.Second, "news spread", func() bool {
			for _, p := range peers {
				if n, _ := p.Node(peers[3].id); p != peers[3] && !n.Meta.GetReady() {
					return false
				}
			}
			return true
		})
	})
}

func TestKilledNodeIsDetected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		peers := startPeers(t, net, 5, false)
		defer stopPeers(peers)
		eventually(t, 5*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })

		net.Kill(peers[4].addr)
		took := eventually(t, 6*time.Second, "the death is seen by all", func() bool { return allSee(peers[:4], peers[4:], Dead) })
		t.Logf("detected after %s", took)

		peers[4].stop()
		peers[4] = startPeer(t, net, 5, peerOptions{join: []string{hostAddr(1)}})
		took = eventually(t, 5*time.Second, "the return is seen by all", func() bool { return allSee(peers, peers, Alive) })
		t.Logf("back after %s", took)
	})
}

func TestGoodbyeIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Without loss: who misses the goodbye may take it for a death.
		peers := startPeers(t, gossipnet.New(gossipnet.Options{MaxLatency: time.Millisecond}), 5, false)
		defer stopPeers(peers)
		eventually(t, 5*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })
		if err := peers[4].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 3*time.Second, "the goodbye is heard by all", func() bool { return allSee(peers[:4], peers[4:], Left) })
		peers[4].UpdateMeta() // must do nothing: memberlist would panic once it has reaped this node
		time.Sleep(2 * time.Minute)
		if err := peers[4].Leave(t.Context()); err != nil {
			t.Fatalf("leaving twice: %v", err)
		}
	})
}

// After ten minutes memberlist itself has forgotten the other side.
func TestLongPartitionHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		peers := startPeers(t, net, 5, true)
		defer stopPeers(peers)
		eventually(t, 5*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })

		net.Partition([]string{hostIP(1), hostIP(2)}, []string{hostIP(3), hostIP(4), hostIP(5)})
		eventually(t, 10*time.Second, "both sides notice", func() bool {
			return allSee(peers[:2], peers[2:], Dead) && allSee(peers[2:], peers[:2], Dead)
		})
		time.Sleep(10 * time.Minute)
		net.Heal()
		took := eventually(t, 30*time.Second, "the sides meet again", func() bool { return allSee(peers, peers, Alive) })
		t.Logf("met again after %s", took)
	})
}

func TestOtherClustersNameIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		ours := startPeer(t, net, 1, peerOptions{})
		theirs := startPeer(t, net, 2, peerOptions{cluster: "other", join: []string{hostAddr(1)}})
		defer stopPeers([]*peer{ours, theirs})
		time.Sleep(30 * time.Second)
		if len(ours.Nodes())+len(theirs.Nodes()) != 0 {
			t.Fatalf("met: %v, %v", ours.Nodes(), theirs.Nodes())
		}
		if ours.Stats().ForeignCluster == 0 {
			t.Error("gossip of another cluster was not counted")
		}
	})
}

func TestOtherClustersIDIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		a, b := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)
		peers := []*peer{
			startPeer(t, net, 1, peerOptions{clusterID: a}),
			startPeer(t, net, 2, peerOptions{clusterID: a, join: []string{hostAddr(1)}}),
			startPeer(t, net, 3, peerOptions{clusterID: b, join: []string{hostAddr(1)}}),
			// A candidate that knows no cluster meets both; that must not bring the two together.
			startPeer(t, net, 4, peerOptions{join: []string{hostAddr(1), hostAddr(3)}}),
		}
		defer stopPeers(peers)
		time.Sleep(time.Minute)
		if !allSee(peers[:2], peers[:2], Alive) {
			t.Error("nodes of one cluster have not met")
		}
		if !allSee(peers[:2], peers[2:3], Dead) || !allSee(peers[2:3], peers[:2], Dead) {
			t.Error("nodes of two clusters have met")
		}
		if peers[0].Stats().RefusedNodes == 0 {
			t.Error("the refusal was not counted")
		}
	})
}

// Pods swap or change addresses: a node is its id.
func TestNodeMovesToAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		peers := startPeers(t, net, 5, false)
		defer stopPeers(peers)
		eventually(t, 5*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })
		net.Kill(peers[4].addr)
		peers[4].stop()
		peers[4] = startPeer(t, net, 5, peerOptions{at: 55, join: []string{hostAddr(1)}})
		took := eventually(t, 15*time.Second, "it is found at its new address", func() bool {
			for _, p := range peers[:4] {
				if n, _ := p.Node(peers[4].id); n.State != Alive || n.Addr != peers[4].addr {
					return false
				}
			}
			return allSee(peers, peers, Alive)
		})
		t.Logf("found after %s", took)
	})
}

func TestSubscribersSeeDeathBetweenLives(t *testing.T) {
	var b inbox
	b.init()
	id := nodeID(1)
	for _, here := range []bool{true, false, true, true} {
		b.put(event{id: id, here: here})
	}
	if got := b.take(); len(got) != 1 || !got[0].here || !got[0].gone {
		t.Errorf("join, leave, join, update: %+v", got)
	}
	b.put(event{id: id, here: true})
	b.put(event{id: id, here: false})
	if got := b.take(); len(got) != 1 || got[0].here || got[0].gone {
		t.Errorf("join, leave: %+v", got)
	}
}

func TestLongNamesAreRefusedAtStart(t *testing.T) {
	id := nodeID(1)
	meta := &pb.GossipMeta{Attributes: &pb.NodeAttributes{Id: id[:], Name: strings.Repeat("n", 450)}}
	_, err := New(t.Context(), Options{ID: id, Cluster: "c", Meta: func() *pb.GossipMeta { return meta }})
	var long *MetaTooLongError
	if !errors.As(err, &long) || long.Size <= long.Limit {
		t.Fatalf("got %v", err)
	}
	meta.Attributes.Name, meta.Attributes.Id = "n", []byte("another")
	if _, err := New(t.Context(), Options{ID: id, Cluster: "c", Meta: func() *pb.GossipMeta { return meta }}); err == nil {
		t.Error("metadata of another node was accepted")
	}
}

func TestLeaveAfterContextEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, lan(), 1, peerOptions{})
		p.stop()
		settle()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("leaving a closed membership: %v", err)
		}
	})
}
