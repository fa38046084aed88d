package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// scrubbed is one of a node's figures of damaged records.
func (c *cluster) scrubbed(at int, name string) int {
	c.t.Helper()
	return int(c.figure(at, "scrub_"+name))
}

// newScrubbed is a cluster that verifies its records all the time, or only what is read, and does not compare replicas.
func newScrubbed(t *testing.T, passes bool) *cluster {
	return besideOthers(t, testcluster.Options{Configure: func(_ int, cfg *config.Config) {
		cfg.RepairInterval, cfg.ScrubInterval, cfg.ScrubRate = 0, time.Second, 1<<30
		if !passes {
			cfg.ScrubRate = 0
		}
	}})
}

// damage flips a bit of each item on a node that is down.
func (c *cluster) damage(at int, bucket uint64, keys ...*pb.ItemKey) {
	c.t.Helper()
	s := c.Storage(at)
	for _, k := range keys {
		stored := storage.Key{
			Bucket: bucket, Token: uint64(ring.TokenOf(bucket, k.GetPartitionKey())), Partition: k.GetPartitionKey(), Sort: k.GetSortKey(),
		}
		if err := s.Damage(context.Background(), stored); err != nil {
			c.t.Fatal(err)
		}
		if _, err := s.Get(context.Background(), stored); err == nil {
			c.t.Fatalf("%q is not damaged on %s", k.GetPartitionKey(), c.Name(at))
		}
	}
	if err := s.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// unlike counts what any two of the given nodes hold in different states.
func (c *cluster) unlike(nodes []int) (n uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for _, a := range nodes {
		for _, b := range nodes {
			if a >= b {
				continue
			}
			by, with := c.ID(a), c.ID(b)
			got, err := c.Admin(a).Compare(ctx, &pb.CompareRequest{NodeId: by[:], WithId: with[:], Look: true})
			if err != nil {
				c.t.Fatal(err)
			}
			n += got.GetUnlike() + got.GetPartitionsDiffered()
		}
	}
	return n
}

// Records that nobody reads are found damaged by the scrub and mended from the other owners, while reads of all replicas say
// the truth or nothing. Afterwards no two replicas differ.
func TestScrubMends(t *testing.T) {
	c := newScrubbed(t, true)
	var keys []*pb.ItemKey
	for i := range 60 {
		k := key(fmt.Sprint("item-", i), "")
		c.put(0, &pb.PutRequest{Bucket: "default", Key: k, Value: fmt.Append(nil, i), Options: &pb.WriteOptions{W: all}})
		if owners, _ := c.Owners("default", k.GetPartitionKey()); slices.Contains(owners, 1) {
			keys = append(keys, k)
		}
	}
	if len(keys) < 10 {
		t.Fatalf("only %d items to damage", len(keys))
	}
	id := c.bucket(0, "default").GetId()
	c.Crash(1)
	c.damage(1, id, keys...)
	c.Start(1)
	watched := keys[0]
	right := strings.TrimPrefix(string(watched.GetPartitionKey()), "item-")
	c.Eventually("all are mended", func() bool {
		got, err := c.tryGet(0, &pb.GetRequest{Bucket: "default", Key: watched, Options: &pb.ReadOptions{R: all}})
		if err == nil && !slices.Equal(valuesOf(got.GetVersions()), []string{right}) {
			t.Errorf("read %q, want %s", valuesOf(got.GetVersions()), right)
		}
		return c.scrubbed(1, "mended_total") >= len(keys)
	})
	for _, k := range keys {
		c.want(2, "default", k, strings.TrimPrefix(string(k.GetPartitionKey()), "item-"))
	}
	if n := c.unlike([]int{0, 1, 2, 3, 4}); n != 0 {
		t.Errorf("%d differences after all was mended", n)
	}
	passed := c.scrubbed(1, "records_total")
	c.Eventually("passes go on and find nothing", func() bool { return c.scrubbed(1, "records_total") > passed+2*len(keys) })
	for name, want := range map[string]int{"damaged_total": len(keys), "mended_total": len(keys), "waiting": 0} {
		if got := c.scrubbed(1, name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// While another owner is away a damaged item has no vote, but keeps what is written to it, which another owner mints; so it does
// after a restart. The owner that was away comes back, and what only it still had is not lost.
func TestDamagedWhileAnOwnerIsAway(t *testing.T) {
	c := newScrubbed(t, false)
	k := key("item", "")
	owners, _ := c.Owners("default", k.GetPartitionKey())
	hurt, away, third := owners[0], owners[1], owners[2]
	strict := pb.QuorumMode_QUORUM_MODE_STRICT
	c.put(0, &pb.PutRequest{Bucket: "default", Key: k, Value: []byte("first"), Options: &pb.WriteOptions{W: all}})
	id := c.bucket(0, "default").GetId()
	for _, i := range []int{hurt, third} {
		c.Crash(i)
	}
	c.lose(away)
	s := c.Storage(third)
	stored := storage.Key{Bucket: id, Token: uint64(ring.TokenOf(id, k.GetPartitionKey())), Partition: k.GetPartitionKey()}
	if err := s.Lose(context.Background(), stored, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.damage(hurt, id, k)
	c.bring(hurt, third)
	noVote := func() {
		t.Helper()
		for _, at := range []int{hurt, third} {
			got, err := c.tryGet(at, &pb.GetRequest{Bucket: "default", Key: k, Options: &pb.ReadOptions{R: quorum, Mode: strict}})
			if err == nil {
				t.Errorf("two votes, where there is one: %q", valuesOf(got.GetVersions()))
			}
		}
	}
	noVote()
	c.Eventually("the item waits", func() bool { return c.scrubbed(hurt, "waiting") == 1 })
	noVote()
	c.put(hurt, &pb.PutRequest{Bucket: "default", Key: k, Value: []byte("second"), Options: &pb.WriteOptions{W: replicas(2), Mode: strict}})
	noVote()
	got := c.get(hurt, &pb.GetRequest{Bucket: "default", Key: k, Options: &pb.ReadOptions{R: one, Mode: strict}})
	if !slices.Equal(valuesOf(got.GetVersions()), []string{"second"}) {
		t.Errorf("the one that has a vote says %q", valuesOf(got.GetVersions()))
	}
	c.Crash(hurt)
	c.bring(hurt)
	c.Eventually("the item waits after a restart", func() bool { return c.scrubbed(hurt, "waiting") == 1 })
	noVote()
	c.bring(away)
	c.Eventually("it is mended", func() bool { return c.scrubbed(hurt, "mended_total") == 1 && c.scrubbed(hurt, "waiting") == 0 })
	c.want(hurt, "default", k, "first", "second")
	c.Eventually("nobody differs", func() bool { return c.unlike(owners) == 0 }) // a hint may be on its way
}

// Of an item without another owner there is nothing to mend from: it stays damaged, and that is said.
func TestDamagedWithoutAnotherOwner(t *testing.T) {
	c := newScrubbed(t, true)
	c.createBucket(&pb.Bucket{Name: "single", N: 1, R: replicas(1), W: replicas(1)})
	k := key("item", "")
	c.put(0, &pb.PutRequest{Bucket: "single", Key: k, Value: []byte("v")})
	owners, _ := c.Owners("single", k.GetPartitionKey())
	id := c.bucket(0, "single").GetId()
	c.Crash(owners[0])
	c.damage(owners[0], id, k)
	c.bring(owners[0])
	c.Eventually("it is found", func() bool { return c.scrubbed(owners[0], "waiting") == 1 })
	for at := range c.Size() {
		if got, err := c.tryGet(at, &pb.GetRequest{Bucket: "single", Key: k}); err == nil {
			t.Errorf("read %q through %s", valuesOf(got.GetVersions()), c.Name(at))
		}
	}
	if log := c.Log(owners[0]); !strings.Contains(log, "no other node owns it") {
		t.Error("the log does not say why")
	}
}
