package client_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestWritesGoToTheFirstOwnerAndReadsToAll(t *testing.T) {
	cluster := kvfake.Start(t, 5)
	for i := range 40 {
		// Hedges and second tries would count as reads on a busy machine, and a client that has measured nothing sets no
		// node aside.
		c := open(t, cluster, client.HedgeShare(0), client.MaxTries(1))
		key := client.NewKey(fmt.Sprintf("k%d", i), "")
		owners := cluster.Owners(bucket, key.Partition)
		before := calls(owners, "Put")
		put(t, c, key, "v")
		if after := calls(owners, "Put"); after[0] != before[0]+1 {
			t.Fatalf("%s: the first owner did not take the put: %v, then %v", key, before, after)
		}
		before = calls(owners, "Get")
		for range owners {
			get(t, c, key)
		}
		for o, after := range calls(owners, "Get") {
			if after != before[o]+1 {
				t.Fatalf("%s: owner %d took %d gets of 3", key, o, after-before[o])
			}
		}
	}
}

func calls(nodes []*kvfake.Node, method string) []int {
	counts := make([]int, len(nodes))
	for i, n := range nodes {
		counts[i] = n.Calls(method)
	}
	return counts
}

func TestDeadAndSuspectOwnersAreAvoided(t *testing.T) {
	cluster := kvfake.Start(t, 5)
	key := client.NewKey("k", "")
	owners := cluster.Owners(bucket, key.Partition)
	cluster.SetLiveness(owners[0].Name, pb.Liveness_LIVENESS_DEAD)
	cluster.SetLiveness(owners[1].Name, pb.Liveness_LIVENESS_SUSPECT)
	c := open(t, cluster)
	put(t, c, key, "v")
	get(t, c, key)
	if puts, gets := calls(owners, "Put"), calls(owners, "Get"); puts[2] != 1 || gets[2] != 1 {
		t.Fatalf("puts %v, gets %v", puts, gets)
	}
}

func TestFailover(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	key := client.NewKey("k", "")
	owners := cluster.Owners(bucket, key.Partition)
	put(t, c, key, "before")
	owners[0].Stop()
	for range 5 {
		put(t, c, key, "after one")
		get(t, c, key)
	}
	owners[1].Stop()
	put(t, c, key, "after two")
	owners[2].Stop()
	// What was never sent is not uncertain; a connection that breaks under a call is.
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := c.Put(t.Context(), bucket, key, nil)
		if err == nil {
			t.Fatal("stored by no node")
		}
		if errors.Is(err, client.ErrConnect) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestOpen(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	gone := kvfake.Start(t, 1)
	gone.Nodes[0].Stop()

	c, err := client.Open(within(t), []string{gone.Nodes[0].Addr, cluster.Nodes[1].Addr})
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, client.NewKey("k", ""), "v")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), bucket, client.NewKey("k", "")); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}

	if _, err := client.Open(within(t), gone.Addrs()); !errors.Is(err, client.ErrConnect) {
		t.Errorf("no node: %v", err)
	}
	if _, err := client.Open(within(t), nil); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("no address: %v", err)
	}
	if _, err := client.Open(within(t), cluster.Addrs(), client.RefreshEvery(0)); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("no interval: %v", err)
	}
}

// The nodes that gossip has found since Open are used, the addresses given to Open being gone.
func TestRingIsRefreshed(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c, err := client.Open(within(t), []string{cluster.Nodes[0].Addr}, client.RefreshEvery(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	cluster.Nodes[0].Stop()
	for i := range 20 {
		put(t, c, client.NewKey(fmt.Sprintf("k%d", i), ""), "v")
	}
	before := cluster.Nodes[1].Calls("Ring") + cluster.Nodes[2].Calls("Ring")
	for cluster.Nodes[1].Calls("Ring")+cluster.Nodes[2].Calls("Ring") < before+2 {
		select {
		case <-time.After(time.Millisecond):
		case <-within(t).Done():
			t.Fatal("the ring is not refreshed")
		}
	}
}
