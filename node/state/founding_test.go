package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/starling-db/starling/ring"
)

func TestFoundingMakesOneClusterOfAllNodes(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := found(t, n)
			first := c.node(0)
			for _, id := range c.ids() {
				s := c.get(id).Snapshot()
				if !s.Founded() || s.ClusterID != first.Snapshot().ClusterID || s.Epoch.Number != 0 || len(s.Members()) != n || !s.IsMember(id) {
					t.Fatalf("%s has not adopted the cluster: %+v", c.names[id], s)
				}
				if c.disks[id].adopted != s.ClusterID {
					t.Errorf("%s: the directory is bound to %x", c.names[id], c.disks[id].adopted)
				}
				b, ok := s.Bucket(DefaultBucket)
				if want := min(3, n); !ok || b.N != want || b.R != want/2+1 || b.W != want/2+1 || !b.Sync {
					t.Errorf("%s: bucket default is %+v", c.names[id], b)
				}
				if got := s.Nodes[id].PeerAddr; got != c.names[id]+":7401" {
					t.Errorf("%s: own address is %q", c.names[id], got)
				}
			}
			c.settle(t)
			for _, id := range c.ids() {
				if c.get(id).Fingerprint() != first.Fingerprint() {
					t.Errorf("%s holds another document than the first node", c.names[id])
				}
			}
		})
	}
}

func TestFoundedNodesStayWhatTheyAreAfterARestart(t *testing.T) {
	c := found(t, 3)
	before := c.node(1).Snapshot()
	m := c.start(nodeID(1))
	if s := m.Snapshot(); s.ClusterID != before.ClusterID || s.Epoch == nil || m.Waiting() != "" {
		t.Fatalf("after the restart: %+v", s)
	}
	if err := m.Run(t.Context()); err != nil {
		t.Fatalf("Run of a founded node: %v", err)
	}
}

// Steps of a founding in random order, with messages and replies lost, and processes that end at any of their
// durable writes. All nodes end in one cluster, and never is there a second.
func TestFoundingSurvivesCrashesAndLoss(t *testing.T) {
	for seed := range uint64(100) {
		foundUnderFaults(t, seed, 2+int(seed%4), func(id ring.NodeID) bool { return id == nodeID(0) }, true)
	}
}

// Nodes that disagree about who the founder is: there may be no cluster, but there are never two.
func TestRivalFoundersNeverFoundTwoClusters(t *testing.T) {
	decided := 0
	for seed := range uint64(60) {
		founders := func(id ring.NodeID) bool { return id == nodeID(0) || id == nodeID(1) }
		decided += foundUnderFaults(t, seed, 2+int(seed%4), founders, false)
	}
	if decided == 0 {
		t.Error("no run decided anything: the test tests nothing")
	}
}

// foundUnderFaults returns how many clusters were founded, failing when that is more than one, or with must none.
func foundUnderFaults(t *testing.T, seed uint64, n int, founder func(ring.NodeID) bool, must bool) int {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	c := newCluster(t, n, func(o *Options) { o.Expect, o.Founder = n, founder(o.ID) })
	var mu sync.Mutex
	loss := 0.3
	c.deliver = func(_, _ ring.NodeID) bool {
		mu.Lock()
		defer mu.Unlock()
		return r.Float64() >= loss
	}
	ids := c.ids()
	all := func() (clusters map[[16]byte]int) {
		clusters = make(map[[16]byte]int)
		for _, id := range ids {
			if s := c.get(id).Snapshot(); s.Founded() {
				clusters[s.ClusterID]++
			}
		}
		return clusters
	}
	const rounds = 240
	for i := range rounds {
		if i == rounds*3/4 {
			mu.Lock()
			loss = 0
			mu.Unlock()
		}
		id := ids[r.IntN(n)]
		m, d := c.get(id), c.disks[id]
		if i < rounds/2 && r.IntN(4) == 0 {
			d.mu.Lock()
			d.left, d.after = r.IntN(3), r.IntN(2) == 0
			d.mu.Unlock()
		}
		if m.Snapshot().Founded() {
			m.tellDecision(t.Context())
			_, _ = m.Exchange(t.Context(), ids[r.IntN(n)])
		} else if err := m.found(t.Context()); err != nil && !errors.Is(err, errCrashed) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, other := range ids {
			if c.disks[other].isDown() {
				c.start(other)
			}
		}
		if got := all(); len(got) > 1 {
			t.Fatalf("seed %d, step %d: %d clusters were founded: %v", seed, i, len(got), got)
		}
	}
	got := all()
	if must && (len(got) != 1 || got[c.get(ids[0]).Snapshot().ClusterID] != n) {
		t.Fatalf("seed %d: not all of %d nodes are in one cluster: %v (%s)", seed, n, got, c.node(0).Waiting())
	}
	return len(got)
}

func TestFounderReplacesItsProposalWhenANodeWasWiped(t *testing.T) {
	c := newCluster(t, 3, func(o *Options) { o.Expect, o.Founder = 3, o.ID == nodeID(0) })
	ctx := t.Context()
	lost := nodeID(2)
	c.deliver = func(from, to ring.NodeID) bool { return to != lost }
	takeStep(t, c, 0) // proposes, gets the votes of itself and of node 1
	first := bytes.Clone(c.node(0).founder.proposal.GetProposalId())
	c.setDead(lost, true)
	c.deliver = nil
	takeStep(t, c, 0)
	if w := c.node(0).Waiting(); w != "waits for node n2 ("+lost.String()+") is away" {
		t.Errorf("while a voter is away: %q", w)
	}
	c.add(nodeID(7), "n2") // comes back with an empty disk: another node
	for range 4 {
		takeStep(t, c, 0)
	}
	s := c.node(0).Snapshot()
	if !s.Founded() || !s.IsMember(nodeID(7)) || s.IsMember(lost) {
		t.Fatalf("the cluster was not founded with the new node: %s", c.node(0).Waiting())
	}
	if bytes.Equal(first, c.node(0).founder.proposal.GetProposalId()) {
		t.Error("the proposal of other nodes has the old one's id")
	}
	c.node(0).tellDecision(ctx)
	if !c.node(1).Snapshot().Founded() || !c.get(nodeID(7)).Snapshot().Founded() {
		t.Error("the others have not adopted the cluster")
	}
}

func TestFormerFounderReleasesItsVoters(t *testing.T) {
	rival := true
	c := newCluster(t, 3, func(o *Options) { o.Expect, o.Founder = 3, o.ID == nodeID(0) || rival && o.ID == nodeID(1) })
	c.deliver = func(from, to ring.NodeID) bool { return from != nodeID(2) && to != nodeID(2) }
	takeStep(t, c, 1) // the rival votes for itself, and has node 0's vote too
	c.deliver = nil
	takeStep(t, c, 0)
	if c.node(0).Snapshot().Founded() {
		t.Fatal("founded without the rival's vote")
	}
	rival = false // its --join is corrected
	c.start(nodeID(1))
	for range 3 {
		takeStep(t, c, 1)
		takeStep(t, c, 0)
	}
	if !c.node(0).Snapshot().Founded() {
		t.Fatalf("not founded once the rival has given up: %s", c.node(0).Waiting())
	}
}

func TestNodesOfAnotherSizeOfClusterAreLeftOut(t *testing.T) {
	c := newCluster(t, 4, func(o *Options) {
		if o.ID != nodeID(1) { // n1 was started without --bootstrap-expect
			o.Expect, o.Founder = 3, o.ID == nodeID(0)
		}
	})
	for range 4 {
		takeStep(t, c, 0)
	}
	s := c.node(0).Snapshot()
	if !s.Founded() || s.IsMember(nodeID(1)) {
		t.Fatalf("founded %v with members %v: %s", s.Founded(), s.Members(), c.node(0).Waiting())
	}
	if _, err := c.node(1).Exchange(t.Context(), nodeID(0)); !errors.Is(err, ErrNotMember) {
		t.Errorf("a candidate that hears of the cluster: %v", err)
	}
	if c.node(1).Snapshot().Founded() {
		t.Error("a node that the cluster does not name has adopted it")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	c := newCluster(t, 1, func(o *Options) { o.Expect = 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	c.node(0).o.Interval = time.Millisecond
	if err := c.node(0).Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run returned %v", err)
	}
}

func takeStep(t *testing.T, c *cluster, i int) {
	t.Helper()
	if m := c.node(i); !m.Snapshot().Founded() {
		if err := m.found(t.Context()); err != nil {
			t.Fatalf("step of node %d: %v", i, err)
		}
	}
}
