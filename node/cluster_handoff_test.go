package node_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// lose crashes a node and waits until all that run know.
func (c *cluster) lose(i int) {
	c.t.Helper()
	c.Crash(i)
	for by := range c.Size() {
		if c.Node(by) != nil {
			c.Eventually(c.Name(by)+" finds "+c.Name(i)+" dead", func() bool {
				return c.Liveness(i, by) == pb.Liveness_LIVENESS_DEAD
			})
		}
	}
}

// bring starts nodes again, and waits until they serve.
func (c *cluster) bring(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.Start(i)
	}
	c.WaitReady()
}

func (c *cluster) drained() {
	c.t.Helper()
	c.Eventually("all hints are handed over", func() bool {
		for i := range c.Size() {
			if c.Node(i) != nil && c.hints(i) != 0 {
				return false
			}
		}
		return true
	})
}

// stored is what a node that is down has on disk of an item of the default bucket.
func (c *cluster) stored(i int, bucket uint64, k *pb.ItemKey) (state causal.State, hints int) {
	c.t.Helper()
	s := c.Storage(i)
	defer s.Close()
	state, err := s.Get(context.Background(), storage.Key{
		Bucket: bucket, Token: uint64(ring.TokenOf(bucket, k.GetPartitionKey())), Partition: k.GetPartitionKey(), Sort: k.GetSortKey(),
	})
	if err != nil {
		c.t.Fatalf("storage of %s: %v", c.Name(i), err)
	}
	for _, h := range s.HintStats() {
		hints += int(h.Items)
	}
	return state, hints
}

// checkDisks stops all nodes and checks that every owner of the items holds the same versions, and nobody else any.
func (c *cluster) checkDisks(keys ...*pb.ItemKey) {
	c.t.Helper()
	bucket := c.bucket(0, "default").GetId()
	owners := make([][]int, len(keys))
	for at, k := range keys {
		owners[at], _ = c.Owners("", k.GetPartitionKey())
	}
	for i := range c.Size() {
		c.Stop(i)
	}
	for at, k := range keys {
		want, _ := c.stored(owners[at][0], bucket, k)
		if !want.Live() {
			c.t.Errorf("%q: its first owner, %s, has no value", k.GetPartitionKey(), c.Name(owners[at][0]))
		}
		for i := range c.Size() {
			have, hints := c.stored(i, bucket, k)
			if owns := slices.Contains(owners[at], i); owns && have.Digest() != want.Digest() || !owns && len(have.Versions) > 0 {
				c.t.Errorf("%q on the disk of %s (owner: %v): %v, want %v", k.GetPartitionKey(), c.Name(i), owns, have, want)
			}
			if hints > 0 {
				c.t.Errorf("%d hints on the disk of %s", hints, c.Name(i))
			}
		}
	}
}

// traceOf finds what a node was asked to do.
func (c *cluster) traceOf(x *pb.Explain, node int, action string) *pb.ReplicaTrace {
	for _, r := range x.GetReplicas() {
		if r.GetNode() == c.Name(node) && r.GetAction() == action {
			return r
		}
	}
	return nil
}

// A fallback takes a dead owner's part and hands it over when the owner is back, then forgets the item. Meanwhile
// sloppy reads find it there, and one that meets the owner before the hint does mends it.
func TestHandoffOfOneOwner(t *testing.T) {
	// An owner that a busy machine keeps waiting is not one that is slow: nobody is to stand in for it.
	c := newCluster(t, testcluster.Options{Configure: func(_ int, cfg *config.Config) { cfg.SlowReplica = time.Second }})
	k := key("handoff", "s")
	owners, others := c.Owners("", k.GetPartitionKey())
	a, b, gone, fallback := owners[0], owners[1], owners[2], others[0]
	c.lose(gone)

	put := c.put(a, &pb.PutRequest{Key: k, Value: []byte("kept"), Options: &pb.WriteOptions{W: all, Explain: true}})
	if put.GetAcknowledged() != 3 || put.GetFallbacks() != 1 {
		t.Errorf("acknowledged %d, of fallbacks %d; want 3 and 1", put.GetAcknowledged(), put.GetFallbacks())
	}
	x := put.GetExplain()
	if x.GetCoordinator() != c.Name(a) || x.GetReceivedBy() != "" || x.GetN() != 3 || x.GetRequired() != 3 || x.GetReceived() != 3 {
		t.Errorf("explain: %v", x)
	}
	if m := c.traceOf(x, fallback, "write"); !m.GetFallback() || m.GetHintFor() != c.Name(gone) || m.GetOutcome() != "ok" || m.GetAnsweredUs() == 0 {
		t.Errorf("the fallback's part: %v", m)
	}
	for _, owner := range []int{a, b} {
		if m := c.traceOf(x, owner, "write"); m == nil || m.GetFallback() || m.GetHintFor() != "" || m.GetOutcome() != "ok" || len(m.GetVersions()) != 1 {
			t.Errorf("an owner's part: %v", m)
		}
	}
	if m := c.traceOf(x, gone, "write"); m != nil {
		t.Errorf("the dead owner was asked: %v", m)
	}
	c.wantHint(fallback, gone)

	got := c.get(others[1], &pb.GetRequest{Key: k, Options: &pb.ReadOptions{R: all, Explain: true}})
	if !slices.Equal(valuesOf(got.GetVersions()), []string{"kept"}) || got.GetAnswered() != 3 || got.GetFallbacks() != 1 {
		t.Errorf("a sloppy read of all: %v", got)
	}
	asked := slices.IndexFunc(got.GetExplain().GetReplicas(), func(m *pb.ReplicaTrace) bool {
		return m.GetNode() == c.Name(fallback) && m.GetFallback() && m.GetHintFor() == c.Name(gone)
	})
	if asked < 0 {
		t.Errorf("the fallback does not show in the trace of the read: %v", got.GetExplain())
	}

	c.Stop(fallback) // so that its hint can't come before the read
	c.bring(gone)
	got = c.get(a, &pb.GetRequest{Key: k, Options: &pb.ReadOptions{R: all, Explain: true}})
	if !slices.Equal(valuesOf(got.GetVersions()), []string{"kept"}) || got.GetFallbacks() != 0 {
		t.Errorf("a read that meets the owner that was away: %v", got)
	}
	repaired := slices.IndexFunc(got.GetExplain().GetReplicas(), func(m *pb.ReplicaTrace) bool {
		return m.GetNode() == c.Name(gone) && m.GetRepaired()
	})
	back := c.traceOf(got.GetExplain(), gone, "write-back")
	if repaired < 0 || back == nil {
		t.Errorf("the read did not mend the owner: %v", got.GetExplain())
	}
	c.bring(fallback)
	c.drained()
	c.checkDisks(k)
}

// wantHint checks that one node tells of a hint for another, whomever is asked.
func (c *cluster) wantHint(holder, target int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for i := range c.Size() {
		if c.Node(i) == nil {
			continue
		}
		resp, err := c.Admin(i).Hints(ctx, &pb.HintsRequest{})
		if err != nil {
			c.t.Errorf("hints at %s: %v", c.Name(i), err)
			continue
		}
		at := slices.IndexFunc(resp.GetHints(), func(h *pb.HintStatus) bool {
			return h.GetHolder() == c.Name(holder) && h.GetTarget() == c.Name(target) && h.GetItems() > 0 && h.GetBytes() > 0
		})
		if at < 0 {
			c.t.Errorf("%s does not show the hint that %s holds for %s: %v", c.Name(i), c.Name(holder), c.Name(target), resp)
		}
		if !slices.Contains(resp.GetMissing(), c.Name(target)) {
			c.t.Errorf("%s does not show %s as missing: %v", c.Name(i), c.Name(target), resp)
		}
	}
}

// With two owners down, then all three, sloppy writes and reads go on over fallbacks while strict ones are refused;
// when all are back each owner holds everything and the fallbacks hold nothing.
func TestHandoffOfAllOwners(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	k := key("orphan", "s")
	owners, others := c.Owners("", k.GetPartitionKey())
	c.put(owners[0], &pb.PutRequest{Key: k, Value: []byte("before"), Options: &pb.WriteOptions{W: all}})
	c.lose(owners[1])
	c.lose(owners[2])

	// Strict: on a busy machine others[0] itself may be asked beside the owner, and has nothing.
	got := c.get(others[0], &pb.GetRequest{Key: k, Options: &pb.ReadOptions{R: one, Mode: pb.QuorumMode_QUORUM_MODE_STRICT}})
	put := c.put(others[1], &pb.PutRequest{Key: k, Value: []byte("one owner"), Context: got.GetContext(), Options: &pb.WriteOptions{W: all, Explain: true}})
	if put.GetFallbacks() != 2 || put.GetExplain().GetCoordinator() != c.Name(owners[0]) || put.GetExplain().GetReceivedBy() != c.Name(others[1]) {
		t.Errorf("a write with one owner left: %v", put)
	}
	c.wantValue(others[0], k, "one owner")
	c.wantRefused(owners[0], k, "1")

	c.lose(owners[0])
	put = c.put(others[0], &pb.PutRequest{Key: k, Value: []byte("no owner"), Context: put.GetContext(), Options: &pb.WriteOptions{Explain: true}})
	if put.GetAcknowledged() != 2 || put.GetFallbacks() != 2 || len(put.GetContext()) == 0 {
		t.Errorf("a write with no owner left: %v", put)
	}
	hinted := map[string]bool{}
	for _, m := range put.GetExplain().GetReplicas() {
		if !m.GetFallback() || m.GetHintFor() == "" || hinted[m.GetHintFor()] {
			t.Errorf("each stands in for another owner: %v", put.GetExplain())
		}
		hinted[m.GetHintFor()] = true
	}
	c.wantValue(others[1], k, "no owner")
	c.wantRefused(others[0], k, "0")

	c.bring(owners...)
	c.drained()
	for i := range c.Size() {
		c.want(i, "", k, "no owner")
	}
	c.checkDisks(k)
}

// wantValue checks what a sloppy quorum reads.
func (c *cluster) wantValue(at int, k *pb.ItemKey, value string) {
	c.t.Helper()
	got := c.get(at, &pb.GetRequest{Key: k, Options: &pb.ReadOptions{R: quorum}})
	if have := valuesOf(got.GetVersions()); !slices.Equal(have, []string{value}) {
		c.t.Errorf("%q through %s: %q, want %q", k.GetPartitionKey(), c.Name(at), have, value)
	}
}

// wantRefused checks that strict quorums are refused, with the numbers.
func (c *cluster) wantRefused(at int, k *pb.ItemKey, live string) {
	c.t.Helper()
	_, err := c.tryPut(at, &pb.PutRequest{Key: k, Value: []byte("refused"), Options: &pb.WriteOptions{Mode: pb.QuorumMode_QUORUM_MODE_STRICT}})
	wantReason(c.t, "a strict put", err, pb.Reason_REASON_QUORUM_UNAVAILABLE)
	if m := infoOf(err).GetMetadata(); m["required"] != "2" || m["live"] != live {
		c.t.Errorf("a strict put: %v, want required 2 and live %s", m, live)
	}
	_, err = c.tryGet(at, &pb.GetRequest{Key: k, Options: &pb.ReadOptions{Mode: pb.QuorumMode_QUORUM_MODE_STRICT}})
	if reason := reasonOf(err); reason != "QUORUM_UNAVAILABLE" {
		c.t.Errorf("a strict get: %v (reason %q)", err, reason)
	}
}
