package membership

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/internal/gossipnet"
)

// move restarts nodes elsewhere: node i+1 is at host at[i] then.
func move(t *testing.T, net *gossipnet.Network, peers []*peer, nodes, at []int, join ...string) {
	t.Helper()
	for _, i := range nodes {
		net.Kill(peers[i].addr)
		peers[i].stop()
	}
	for n, i := range nodes {
		peers[i] = startPeer(t, net, i+1, peerOptions{at: at[n], join: join})
	}
}

// foundAt says whether all see all others alive, each where it is now.
func foundAt(peers []*peer) bool {
	for _, p := range peers {
		for _, o := range peers {
			if n, _ := p.Node(o.id); p != o && (n.State != Alive || n.Addr != o.addr) {
				return false
			}
		}
	}
	return allSee(peers, peers, Alive)
}

// Two pods get each other's address. Each is found at its new one: a node is its id, and an address says nothing.
func TestTwoNodesSwapAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		peers := startPeers(t, net, 5, false)
		defer func() { stopPeers(peers) }()
		eventually(t, 30*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })
		move(t, net, peers, []int{3, 4}, []int{5, 4}, hostAddr(1))
		took := eventually(t, 30*time.Second, "each is found at the other's address", func() bool { return foundAt(peers) })
		t.Logf("found after %s", took)
	})
}

// All pods get new addresses at once. They meet again by the names that they were told to join by, of which one leads
// somewhere; the addresses that they have stored lead nowhere.
func TestAllNodesMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		peers := startPeers(t, net, 5, true)
		defer func() { stopPeers(peers) }()
		eventually(t, 30*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })
		move(t, net, peers, []int{0, 1, 2, 3, 4}, []int{11, 12, 13, 14, 15}, hostAddr(11))
		took := eventually(t, 30*time.Second, "all are found at their new addresses", func() bool { return foundAt(peers) })
		t.Logf("found after %s", took)
	})
}

// Somebody starts a second node on a copy of a node's directory. The others go on with the one that they know, and count
// what the copy says.
func TestCopyOfANodeIsNotTakenForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := lan()
		peers := startPeers(t, net, 5, false)
		defer stopPeers(peers)
		eventually(t, 30*time.Second, "five nodes meet", func() bool { return allSee(peers, peers, Alive) })
		clone := startPeer(t, net, 5, peerOptions{at: 55, join: []string{hostAddr(1)}})
		defer clone.stop()
		for range 120 {
			time.Sleep(time.Second)
			if !foundAt(peers) {
				t.Fatal("the copy has taken a node's place, or unsettled it")
			}
		}
		for _, p := range peers[:4] {
			if p.Stats().AddressConflicts == 0 {
				t.Errorf("%s has not counted the copy", p.ip)
			}
		}
	})
}
