package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// clusterIDs are the ids that the running nodes name, without doubles.
func (c *cluster) clusterIDs() (ids []string) {
	c.t.Helper()
	for i := range c.Size() {
		if c.Node(i) == nil {
			continue
		}
		st, err := c.Status(i)
		if err != nil {
			c.t.Fatal(err)
		}
		if id := string(st.GetClusterId()); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Nodes that start at different times wait for the founder, say so, and found one cluster, which outlives a crash of
// all of them.
func TestBootstrap(t *testing.T) {
	c := newCluster(t, testcluster.Options{Later: []int{0, 3}, NoWait: true})
	for _, i := range []int{1, 2, 4} {
		c.Eventually(c.Name(i)+" says that it waits", func() bool { return strings.Contains(c.reasonNotReady(i), "waits for") })
		_, err := c.tryPut(i, &pb.PutRequest{Key: key("early", ""), Value: []byte("x")})
		wantReason(t, "a put before there is a cluster", err, pb.Reason_REASON_NOT_READY)
	}
	c.Start(0)
	c.Crash(1) // in the middle of it, perhaps
	c.Start(3)
	c.Start(1)
	c.WaitReady()
	ids := c.clusterIDs()
	if len(ids) != 1 || len(ids[0]) != 16 {
		t.Fatalf("five nodes founded %d clusters: %x", len(ids), ids)
	}
	c.put(2, &pb.PutRequest{Key: key("kept", ""), Value: []byte("kept")})

	for i := range c.Size() {
		c.Crash(i)
	}
	for i := range c.Size() {
		c.Start(c.Size() - 1 - i)
	}
	c.WaitReady()
	if again := c.clusterIDs(); !slices.Equal(again, ids) {
		t.Errorf("after a crash of all the cluster is %x, was %x", again, ids)
	}
	c.want(4, "", key("kept", ""), "kept")
}

// A node that comes back with an empty disk is refused by its name, be it the founder: it neither joins nor founds
// a cluster of its own, and the others say why.
func TestEmptyDisk(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	ids := c.clusterIDs()
	for _, lost := range []int{0, 3} {
		c.Stop(lost)
		c.Wipe(lost)
		c.Start(lost)
		c.Eventually("the others log why the node is refused", func() bool {
			for i := range c.Size() {
				if i != lost && c.Node(i) != nil && strings.Contains(c.Log(i), "the name \\\""+c.Name(lost)+"\\\" is that of member") &&
					strings.Contains(c.Log(i), "must be replaced, not restarted empty") {
					return true
				}
			}
			return false
		})
		if why := c.reasonNotReady(lost); why == "" {
			t.Errorf("%s serves with an empty disk", c.Name(lost))
		}
		_, err := c.tryPut(lost, &pb.PutRequest{Key: key("empty", ""), Value: []byte("x")})
		wantReason(t, "a put at a node with an empty disk", err, pb.Reason_REASON_NOT_READY)
		for i := range c.Size() {
			if i != lost && c.Node(i) != nil {
				c.put(i, &pb.PutRequest{Key: key("others", c.Name(i)+c.Name(lost)), Value: []byte("fine")})
			}
		}
		c.Stop(lost)
		if now := c.clusterIDs(); !slices.Equal(now, ids) {
			t.Errorf("the cluster is %x, was %x", now, ids)
		}
	}
}

// A node that restarts while all others are away looks for them for a while, then serves what it can alone: sloppy
// writes at W=1, which reach their owners later.
func TestRestartAlone(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	ids := c.clusterIDs()
	for i := range c.Size() {
		c.Stop(i)
	}
	const alone = 2
	c.Start(alone)
	took := c.Within(testcluster.Patience, "the node serves alone", func() bool { return c.reasonNotReady(alone) == "" })
	t.Logf("served after %v", took.Round(time.Millisecond))
	var keys []*pb.ItemKey
	for n := range 20 {
		k := key(numbered("alone-", n), "")
		keys = append(keys, k)
		put := c.put(alone, &pb.PutRequest{Key: k, Value: []byte("alone"), Options: &pb.WriteOptions{W: one}})
		if put.GetAcknowledged() != 1 {
			t.Errorf("acknowledged %d times by one node", put.GetAcknowledged())
		}
		got := c.get(alone, &pb.GetRequest{Key: k, Options: &pb.ReadOptions{R: one}})
		if have := valuesOf(got.GetVersions()); !slices.Equal(have, []string{"alone"}) {
			t.Errorf("%q: %q", k.GetPartitionKey(), have)
		}
		_, err := c.tryPut(alone, &pb.PutRequest{Key: k, Value: []byte("more")})
		wantReason(t, "a write at a quorum, alone", err, pb.Reason_REASON_QUORUM_UNAVAILABLE)
	}
	c.bring(0, 1, 3, 4)
	if now := c.clusterIDs(); !slices.Equal(now, ids) {
		t.Errorf("the cluster is %x, was %x", now, ids)
	}
	c.drained()
	for n, k := range keys {
		c.want(n%c.Size(), "", k, "alone")
	}
	c.checkDisks(keys...)
}
