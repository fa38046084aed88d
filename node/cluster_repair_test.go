package node_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// repaired adds up a counter of repair over all nodes that run.
func (c *cluster) repaired(name string) int {
	c.t.Helper()
	sum := 0
	for i := range c.Size() {
		if c.Node(i) != nil {
			sum += c.repairedBy(i, name)
		}
	}
	return sum
}

// repairedBy is a counter of repair of one node.
func (c *cluster) repairedBy(i int, name string) int {
	c.t.Helper()
	return int(c.figure(i, "repair_"+name))
}

// Two owners lose items behind the cluster's back, different ones, and one of them miscounts besides. Nobody reads, no hints
// are kept, and all owners come to hold everything again; then they find nothing to mend any more.
func TestReplicasAreMendedUnread(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Configure: func(_ int, cfg *config.Config) { cfg.RepairInterval = time.Second }})
	const items = 200
	keys := make([]*pb.ItemKey, items)
	for i := range keys {
		keys[i] = key(fmt.Sprint("item-", i), "")
		c.put(i%c.Size(), &pb.PutRequest{Bucket: "default", Key: keys[i], Value: fmt.Append(nil, i), Options: &pb.WriteOptions{W: all}})
	}
	if got := c.get(0, &pb.GetRequest{Bucket: "default", Key: keys[0]}); len(got.GetVersions()) != 1 {
		t.Fatal("nothing was written")
	}
	id := c.bucket(0, "default").GetId()
	stored := func(k *pb.ItemKey) storage.Key {
		return storage.Key{Bucket: id, Token: uint64(ring.TokenOf(id, k.GetPartitionKey())), Partition: k.GetPartitionKey(), Sort: k.GetSortKey()}
	}
	lost := 0
	for _, i := range []int{1, 3} {
		c.lose(i)
		s := c.Storage(i)
		for j, k := range keys {
			state, err := s.Get(context.Background(), stored(k))
			if err != nil {
				t.Fatal(err)
			}
			if len(state.Versions) == 0 || j%4 != i%4 {
				continue
			}
			lost++
			if err := s.Lose(context.Background(), stored(k), i == 3 && j%8 == 3); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c.bring(i)
	}
	if lost < 20 {
		t.Fatalf("only %d copies were lost", lost)
	}
	c.Eventually("what was lost is mended", func() bool {
		return c.repaired("items_fetched_total")+c.repaired("items_pushed_total") >= lost
	})
	again := func() {
		exchanges := c.repaired("exchanges_total")
		c.Eventually("everybody has compared again", func() bool { return c.repaired("exchanges_total") >= exchanges+30 })
	}
	again() // exchanges that had begun before the last copy was mended are over
	settled := c.repaired("partitions_differed_total")
	again()
	if now := c.repaired("partitions_differed_total"); now != settled {
		t.Errorf("%d partitions differed before, %d after all was mended", settled, now)
	}
	if n := c.repaired("items_refused_total"); n != 0 {
		t.Errorf("%d items were refused", n)
	}
	copies := make([]int, items)
	for i := range c.Size() {
		c.Crash(i)
		s := c.Storage(i)
		for j, k := range keys {
			state, err := s.Get(context.Background(), stored(k))
			if err != nil {
				t.Fatal(err)
			}
			if (state.Digest() != causal.Digest{}) {
				copies[j]++
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for j, n := range copies {
		if n != 3 {
			t.Errorf("item %d has %d copies, want 3", j, n)
		}
	}
}
