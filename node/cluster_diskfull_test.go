package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// A node whose disk is nearly full serves reads, passes writes on to nodes that have room, and is caught up when it has
// room itself. Only when no node has any is a write refused, and that says why.
func TestFullDisks(t *testing.T) {
	const reserve, room = 64 << 20, 1 << 30
	c := newCluster(t, testcluster.Options{Nodes: 4, Configure: func(_ int, cfg *config.Config) { cfg.DiskReserve, cfg.SlowReplica = reserve, time.Second }})
	for i := range c.Size() {
		c.SetDiskFree(i, room)
		c.Stop(i)
		c.Start(i)
	}
	c.WaitReady()
	k := func(i int) *pb.ItemKey { return key("full", fmt.Sprint(i)) }
	owners, others := c.Owners("", k(0).GetPartitionKey())
	full, strict := owners[0], &pb.WriteOptions{Mode: pb.QuorumMode_QUORUM_MODE_STRICT}
	c.put(full, &pb.PutRequest{Key: k(0), Value: []byte("before")})
	isFull := func(i int) bool {
		st, err := c.Admin(i).Status(context.Background(), &pb.StatusRequest{})
		if err != nil {
			return false
		}
		for _, n := range st.GetNodes() {
			if n.GetName() == c.Name(i) {
				return n.GetReady() && strings.Contains(n.GetReason(), "refuses writes")
			}
		}
		return false
	}

	c.SetDiskFree(full, reserve-1)
	c.Eventually("the node says that its disk is full", func() bool { return isFull(full) })
	for i := 1; i <= 10; i++ {
		c.put(full, &pb.PutRequest{Key: k(i), Value: []byte("x"), Options: strict})
	}
	// All three copies are there at once: a fallback stands in for the owner that is full.
	resp := c.put(full, &pb.PutRequest{Key: k(11), Value: []byte("x"), Options: &pb.WriteOptions{W: all}})
	if resp.GetFallbacks() != 1 {
		t.Errorf("%d fallbacks stood in, want 1", resp.GetFallbacks())
	}
	c.want(full, "", k(0), "before")
	c.want(full, "", k(1), "x")

	for _, i := range append(owners[1:], others...) {
		c.SetDiskFree(i, reserve-1)
	}
	c.Eventually("all nodes say so", func() bool {
		for i := range c.Size() {
			if !isFull(i) {
				return false
			}
		}
		return true
	})
	for i := range c.Size() {
		_, err := c.tryPut(i, &pb.PutRequest{Key: k(99), Value: []byte("x")})
		wantReason(t, "a put when all disks are full", err, pb.Reason_REASON_DISK_FULL)
		c.want(i, "", k(1), "x")
	}

	for i := range c.Size() {
		c.SetDiskFree(i, room)
	}
	c.Eventually("writes go on", func() bool {
		_, err := c.tryPut(full, &pb.PutRequest{Key: k(12), Value: []byte("x"), Options: &pb.WriteOptions{W: all, Mode: strict.Mode}})
		return err == nil
	})
	c.Eventually("the node is caught up", func() bool {
		for i := range c.Size() {
			h, err := c.Admin(i).Hints(context.Background(), &pb.HintsRequest{})
			if err != nil || len(h.GetHints()) > 0 || len(h.GetMissing()) > 0 {
				return false
			}
		}
		return true
	})
}
