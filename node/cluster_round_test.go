package node_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// figure is a metric of a node, by its name, and labels if it has some, behind "starling_".
func (c *cluster) figure(i int, name string) float64 {
	c.t.Helper()
	found := regexp.MustCompile(`(?m)^starling_` + regexp.QuoteMeta(name) + ` ([0-9.e+]+)$`).FindStringSubmatch(c.metrics(i))
	if found == nil {
		c.t.Fatalf("%s has no figure %s", c.Name(i), name)
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c *cluster) figures(name string) (sum float64) {
	for i := range c.Size() {
		if c.Node(i) != nil {
			sum += c.figure(i, name)
		}
	}
	return sum
}

// claims are what a node that is down has on disk, by partition, for three replicas.
func (c *cluster) claims(i int) map[int]storage.Claim {
	c.t.Helper()
	s := c.Storage(i)
	defer s.Close()
	out := map[int]storage.Claim{}
	for _, claim := range s.Claims() {
		if claim.N == 3 {
			out[claim.Partition] = claim
		}
	}
	return out
}

const roundPartitions = 32

func roundsOften(_ int, cfg *config.Config) {
	cfg.RepairInterval = time.Second
	cfg.RequestTimeout = 2 * time.Second
	cfg.Partitions = roundPartitions
}

// Floors rise while all guardians are there, stop where one is away, and go on when it is back.
func TestRoundsRaiseFloors(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Configure: roundsOften})
	for i := range 40 {
		c.put(i%c.Size(), &pb.PutRequest{Bucket: "default", Key: key(fmt.Sprint("item-", i), ""), Value: []byte("x")})
	}
	c.Eventually("each partition has had two rounds", func() bool { return c.figures("round_partitions_total") >= 2*roundPartitions })
	failed := c.figures("round_partitions_failed_total")
	c.lose(4)
	floors := c.claims(4)
	if len(floors) < roundPartitions*3/5-1 {
		t.Errorf("%d partitions have a floor", len(floors))
	}
	for p, claim := range floors {
		if age := time.Since(claim.Floor.Time()); claim.Rebuilding || claim.PurgeLevel > claim.Floor || age < 0 || age > time.Minute {
			t.Errorf("partition %d: %+v, %v old", p, claim, age)
		}
	}
	c.Eventually("rounds come to nothing where n5 is a guardian", func() bool { return c.figures("round_partitions_failed_total") > failed })
	// Of five nodes all are guardians of every partition, so what was raised before this was the last.
	raised := c.figures("round_partitions_total")
	time.Sleep(3 * time.Second)
	if now := c.figures("round_partitions_total"); now != raised {
		t.Errorf("%v partitions were raised without n5", now-raised)
	}
	c.bring(4)
	c.Eventually("floors rise again", func() bool { return c.figures("round_partitions_total") >= raised+roundPartitions })
}

// A node comes back with a claim that others have purged beyond: its copies have no vote, until they have been compared with
// all others. Nothing is lost meanwhile, nor read wrong.
func TestStaleCopyIsRebuilt(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Configure: roundsOften})
	const items = 60
	for i := range items {
		c.put(i%c.Size(), &pb.PutRequest{Bucket: "default", Key: key(fmt.Sprint("item-", i), ""), Value: fmt.Append(nil, i), Options: &pb.WriteOptions{W: all}})
	}
	c.Eventually("purge levels are there", func() bool { return c.figures("round_partitions_total") >= 4*roundPartitions })
	c.lose(1)
	s := c.Storage(1)
	var stale []storage.Claim
	levels := make(map[int]bool) // partitions where the others can tell that a floor of 1 is old
	for _, claim := range s.Claims() {
		if claim.PurgeLevel > 1 {
			levels[claim.Partition] = true
		}
		stale = append(stale, storage.Claim{N: claim.N, Partition: claim.Partition, Floor: 1})
	}
	if len(levels) == 0 {
		t.Fatal("there are no purge levels")
	}
	bits := 0
	for p := roundPartitions; p > 1; p /= 2 {
		bits++
	}
	if err := s.SetClaims(context.Background(), bits, stale); err != nil {
		t.Fatal(err)
	}
	id := c.bucket(0, "default").GetId()
	for i := range items / 2 { // and it has lost half of its items, which nobody must notice by reading
		k := key(fmt.Sprint("item-", i), "")
		token := uint64(ring.TokenOf(id, k.GetPartitionKey()))
		if !levels[int(token>>(64-bits))] {
			continue
		}
		err := s.Lose(context.Background(), storage.Key{Bucket: id, Token: token, Partition: k.GetPartitionKey(), Sort: k.GetSortKey()}, false)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.bring(1)
	for i := range items {
		got := c.get(1, &pb.GetRequest{Bucket: "default", Key: key(fmt.Sprint("item-", i), ""), Options: &pb.ReadOptions{R: one}})
		if len(got.GetVersions()) != 1 {
			t.Errorf("item %d has %d versions", i, len(got.GetVersions()))
		}
	}
	c.Eventually("everything is rebuilt", func() bool { return c.figure(1, "rebuilding_partitions") == 0 })
	c.lose(1)
	for p, claim := range c.claims(1) {
		if claim.Rebuilding || claim.Floor < 2 {
			t.Errorf("partition %d: %+v", p, claim)
		}
	}
}

// A node holds an old hint of a bucket that it has never heard of. It can't tell which partitions it is of, so it attests for none,
// and goes on.
func TestHintOfAnUnknownBucket(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Nodes: 3, Configure: roundsOften})
	c.lose(1)
	s := c.Storage(1)
	clock := causal.NewClock(time.Now, time.Second, s.HLCBound())
	clock.Raise(causal.MaxHLC)
	s.UseClock(clock)
	old := causal.NewHLC(time.Now().Add(-time.Hour).UnixMilli(), 0)
	state, _ := causal.Mint(causal.Siblings, causal.State{}, 1, old, causal.Write{Value: []byte("x")})
	errs := s.Merge(context.Background(), []storage.Merge{{
		Key: storage.Key{Bucket: 4711, Token: 5, Partition: []byte("k")}, State: state, HintFor: storage.NodeID(c.ID(2)), Sync: true,
	}})
	if err := errors.Join(errs[0], s.Close()); err != nil {
		t.Fatal(err)
	}
	c.bring(1)
	c.Eventually("rounds come to nothing for its sake", func() bool {
		return strings.Contains(c.Log(0)+c.Log(1)+c.Log(2), c.Name(1)+" holds old hints")
	})
	c.put(1, &pb.PutRequest{Bucket: "default", Key: key("a", ""), Value: []byte("x")})
}

// With nothing to mend, a round costs a partition less than 64 bytes for each pair of its owners, all that travels counted.
func TestQuietRoundsCostLittle(t *testing.T) {
	const partitions = 256 // more are a share of the same messages
	c := besideOthers(t, testcluster.Options{Configure: func(i int, cfg *config.Config) {
		roundsOften(i, cfg)
		cfg.Partitions, cfg.RepairInterval = partitions, 8*time.Second
	}})
	for i := range 1000 {
		c.put(i%c.Size(), &pb.PutRequest{
			Bucket: "default", Key: key(fmt.Sprint("item-", i), ""), Value: []byte("x"), Options: &pb.WriteOptions{W: all},
		})
	}
	rounds := func(n float64, since float64) {
		c.Eventually(fmt.Sprint(n, " rounds of each partition"), func() bool { return c.figures("round_partitions_total") >= since+n*partitions })
	}
	rounds(2, 0)
	const pairs, want = 3, 64
	begun, before := c.figures("round_partitions_total"), c.bulkBytes()
	mended := c.figures("repair_items_fetched_total") + c.figures("repair_items_pushed_total")
	rounds(3, begun)
	bytes, raised := c.bulkBytes()-before, c.figures("round_partitions_total")-begun
	each := bytes / raised / pairs
	t.Logf("%.0f bytes for %.0f partitions: %.1f for each pair", bytes, raised, each)
	if each >= want || bytes == 0 {
		t.Errorf("a quiet round sends %.1f bytes for each partition and pair, want less than %d", each, want)
	}
	if now := c.figures("repair_items_fetched_total") + c.figures("repair_items_pushed_total"); now != mended {
		t.Errorf("%v items were mended", now-mended)
	}
}

// bulkBytes are all bytes sent and received between nodes for what is not a client's.
func (c *cluster) bulkBytes() float64 {
	return c.figures(`peer_sent_bytes_total{stream="bulk"}`) + c.figures(`peer_received_bytes_total{stream="bulk"}`)
}

// All nodes are restarted while one of them gets an old disk. Nobody has a claim yet that could tell; the others remember all the
// same how far its clock had come.
func TestOldDiskAfterAllWereDown(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Configure: func(_ int, cfg *config.Config) { cfg.RepairInterval = 0 }})
	all := []int{0, 1, 2, 3, 4}
	stop := func() {
		for _, i := range all {
			c.Stop(i)
		}
	}
	put := func(value string) {
		for i := range 20 {
			c.put(i%c.Size(), &pb.PutRequest{Bucket: "default", Key: key(fmt.Sprint("item-", i), ""), Value: []byte(value)})
		}
	}
	put("old")
	stop()
	putBack := c.Image(1)
	c.bring(all...)
	put("new")
	time.Sleep(2 * time.Second) // some pings
	stop()
	putBack()
	c.bring(all...)
	c.Eventually("n2 finds its disk to be old", func() bool {
		return strings.Contains(c.Log(1), "the data directory is older than what other nodes remember")
	})
	for _, i := range []int{0, 2, 3, 4} {
		if strings.Contains(c.Log(i), "the data directory is older") {
			t.Errorf("%s finds so too", c.Name(i))
		}
	}
}
