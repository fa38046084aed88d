package node_test

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/storage"
)

// Buckets are made, changed, listed and dropped through any node, and a node that was away learns of it.
func TestBuckets(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), testcluster.Patience)
	defer cancel()
	wanted := &pb.Bucket{Name: "birds", N: 5, R: replicas(2), W: all, Conflict: pb.ConflictPolicy_CONFLICT_POLICY_LWW}
	c.createBucket(wanted)
	first := c.bucket(3, "birds")
	if first.GetN() != 5 || !proto.Equal(first.GetR(), replicas(2)) || !proto.Equal(first.GetW(), all) ||
		first.GetConflict() != wanted.GetConflict() || first.GetDurability() != pb.Durability_DURABILITY_SYNC {
		t.Errorf("the bucket that was made: %v", first)
	}
	again, err := c.Admin(4).CreateBucket(ctx, &pb.CreateBucketRequest{Bucket: wanted})
	if err != nil || again.GetCreated() || again.GetBucket().GetId() != first.GetId() {
		t.Errorf("made again: %v, %v", again, err)
	}
	refusedBuckets(ctx, c)

	if _, err := c.Admin(1).AlterBucket(ctx, &pb.AlterBucketRequest{Name: "birds", W: quorum}); err != nil {
		t.Fatal(err)
	}
	for i := range c.Size() {
		c.Eventually(c.Name(i)+" knows the change", func() bool {
			b := c.bucket(i, "birds")
			return proto.Equal(b.GetW(), quorum) && proto.Equal(b.GetR(), replicas(2)) && b.GetId() == first.GetId()
		})
	}
	dropWhileAway(ctx, c, first)
}

func refusedBuckets(ctx context.Context, c *cluster) {
	c.t.Helper()
	_, err := c.Admin(2).CreateBucket(ctx, &pb.CreateBucketRequest{Bucket: &pb.Bucket{Name: "birds", N: 3}})
	wantReason(c.t, "a bucket of a name that is taken", err, pb.Reason_REASON_BUCKET_EXISTS)
	for name, b := range map[string]*pb.Bucket{
		"without a name":         {},
		"with a name too long":   {Name: string(make([]byte, 256))},
		"with N above the nodes": {Name: "big", N: 6},
		"with N above seven":     {Name: "big", N: 8},
		"with R above N":         {Name: "r", N: 3, R: replicas(4)},
		"with a policy unknown":  {Name: "p", Conflict: 9},
	} {
		_, err := c.Admin(0).CreateBucket(ctx, &pb.CreateBucketRequest{Bucket: b})
		wantReason(c.t, "a bucket "+name, err, pb.Reason_REASON_INVALID_ARGUMENT)
	}
	_, err = c.Admin(0).AlterBucket(ctx, &pb.AlterBucketRequest{Name: "nowhere", W: one})
	wantReason(c.t, "a change of no bucket", err, pb.Reason_REASON_UNKNOWN_BUCKET)
	_, err = c.Admin(0).DropBucket(ctx, &pb.DropBucketRequest{Name: "nowhere"})
	wantReason(c.t, "a drop of no bucket", err, pb.Reason_REASON_UNKNOWN_BUCKET)
	_, err = c.Admin(0).DropBucket(ctx, &pb.DropBucketRequest{Name: "default"})
	wantReason(c.t, "a drop of the default bucket", err, pb.Reason_REASON_INVALID_ARGUMENT)
}

// dropWhileAway drops the bucket, makes it anew and makes another, while one node is down.
func dropWhileAway(ctx context.Context, c *cluster, first *pb.Bucket) {
	c.t.Helper()
	k := key("swift", "s")
	c.put(0, &pb.PutRequest{Bucket: "birds", Key: k, Value: []byte("old"), Options: &pb.WriteOptions{W: all}})
	const away = 4
	c.lose(away)
	c.put(0, &pb.PutRequest{Bucket: "birds", Key: key("hint", ""), Value: []byte("a hint for the node that is away"), Options: &pb.WriteOptions{W: quorum}})
	if _, err := c.Admin(1).DropBucket(ctx, &pb.DropBucketRequest{Name: "birds"}); err != nil {
		c.t.Fatal(err)
	}
	for i := range away {
		c.Eventually(c.Name(i)+" knows of the drop", func() bool { return c.bucket(i, "birds") == nil })
		_, err := c.tryGet(i, &pb.GetRequest{Bucket: "birds", Key: k})
		wantReason(c.t, "a get from a bucket that was dropped", err, pb.Reason_REASON_UNKNOWN_BUCKET)
	}
	c.createBucket(&pb.Bucket{Name: "birds"})
	c.createBucket(&pb.Bucket{Name: "bats", N: 5})
	c.put(2, &pb.PutRequest{Bucket: "bats", Key: k, Value: []byte("new")})

	c.bring(away)
	c.Eventually("the node that was away learns all of it", func() bool {
		birds, bats := c.bucket(away, "birds"), c.bucket(away, "bats")
		return bats.GetN() == 5 && birds.GetN() == 3 && birds.GetId() != first.GetId()
	})
	c.drained()
	for i := range c.Size() {
		c.want(i, "birds", k)
		c.want(i, "bats", k, "new")
	}
	for i := range c.Size() {
		c.Stop(i)
		c.wantNothing(i, first.GetId())
	}
}

// wantNothing checks that the disk of a node that is down holds no item of a bucket, and no hint.
func (c *cluster) wantNothing(i int, bucket uint64) {
	c.t.Helper()
	s := c.Storage(i)
	defer s.Close()
	start, end := storage.PartitionBounds(0, 1<<64-1)
	items, _, err := s.Range(context.Background(), storage.RangeRequest{Bucket: bucket, Start: start, End: end, LimitItems: 10, LimitBytes: 1 << 20})
	if err != nil || len(items) > 0 {
		c.t.Errorf("%s still has %d items of a bucket that was dropped: %v", c.Name(i), len(items), err)
	}
	if hints := s.HintStats(); len(hints) > 0 {
		c.t.Errorf("%s still has hints: %v", c.Name(i), hints)
	}
}
