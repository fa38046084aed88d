package client

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Bucket is a namespace and its settings.
type Bucket struct {
	// Name has 1 to 255 bytes.
	Name string
	// ID is assigned by the cluster.
	ID uint64
	// N is the number of replicas, 1 to 7. 0 when creating: 3, or the number of members if that is less.
	N int
	// R and W hold for calls that say nothing. Default when creating: quorum.
	R, W Level
	// Conflict says what becomes of concurrent writes; it never changes. Default when creating: siblings.
	Conflict Conflict
	// Durability holds for writes that say nothing. Default when creating: sync.
	Durability Durability
	// TTL is how long values live whose put says nothing, in whole milliseconds, bounded as in the option TTL; what is
	// finer is rounded up. Zero: for ever.
	TTL time.Duration
	// Created and Altered are the cluster's clock when it was made and last changed.
	Created, Altered time.Time
}

// BucketChange is what may change about a bucket; what is left zero stays.
type BucketChange struct {
	// R, W and Durability as in a Bucket.
	R, W       Level
	Durability Durability
	// TTL as in a Bucket, for values that are written from then on. NoTTL, which goes before it, lets them live for ever.
	TTL   time.Duration
	NoTTL bool
}

// CreateBucket makes a bucket, durably on a majority of the members, and returns it as the cluster keeps
// it. created is false when it was there with the same settings; with others the error is
// ErrBucketExists. Options: Timeout.
func (c *Client) CreateBucket(ctx context.Context, b Bucket, opts ...CallOption) (made Bucket, created bool, err error) {
	o := newCallOptions(opts)
	request := &pb.CreateBucketRequest{Bucket: &pb.Bucket{
		Name: b.Name, N: uint32(max(b.N, 0)), R: b.R.proto(), W: b.W.proto(),
		Conflict: b.Conflict.proto(), Durability: b.Durability.proto(), TtlMs: timeToLive(b.TTL).GetMs(),
	}}
	reply, err := invoke(ctx, c, call{op: "create bucket", kind: kindWrite, timeout: o.timeout},
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.CreateBucketResponse, error) {
			return e.cluster.CreateBucket(ctx, request, opts...)
		})
	if err != nil {
		return Bucket{}, false, err
	}
	if reply.GetCreated() {
		c.fresh.add(b.Name)
	}
	c.wantRefresh()
	return bucketFromProto(reply.GetBucket()), reply.GetCreated(), nil
}

// AlterBucket changes a bucket and returns it as it is then. Options: Timeout.
func (c *Client) AlterBucket(ctx context.Context, name string, change BucketChange, opts ...CallOption) (Bucket, error) {
	o := newCallOptions(opts)
	request := &pb.AlterBucketRequest{
		Name: name, R: change.R.proto(), W: change.W.proto(), Durability: change.Durability.proto(),
	}
	switch {
	case change.NoTTL:
		request.Ttl = noTimeToLive()
	case change.TTL != 0:
		request.Ttl = timeToLive(change.TTL)
	}
	reply, err := invoke(ctx, c, call{op: "alter bucket", kind: kindWrite, timeout: o.timeout},
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.AlterBucketResponse, error) {
			return e.cluster.AlterBucket(ctx, request, opts...)
		})
	if err != nil {
		return Bucket{}, err
	}
	return bucketFromProto(reply.GetBucket()), nil
}

// ListBuckets lists all buckets. Options: Timeout.
func (c *Client) ListBuckets(ctx context.Context, opts ...CallOption) ([]Bucket, error) {
	o := newCallOptions(opts)
	reply, err := invoke(ctx, c, call{op: "list buckets", timeout: o.timeout},
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.ListBucketsResponse, error) {
			return e.cluster.ListBuckets(ctx, &pb.ListBucketsRequest{}, opts...)
		})
	if err != nil {
		return nil, err
	}
	return bucketsFromProto(reply.GetBuckets()), nil
}

// DropBucket removes a bucket and, in time, its data. It is sent again only if it certainly was not
// carried out: a bucket of that name may have been made anew meanwhile. Options: Timeout.
func (c *Client) DropBucket(ctx context.Context, name string, opts ...CallOption) error {
	o := newCallOptions(opts)
	_, err := invoke(ctx, c, call{op: "drop bucket", kind: kindOnce, timeout: o.timeout},
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.DropBucketResponse, error) {
			return e.cluster.DropBucket(ctx, &pb.DropBucketRequest{Name: name}, opts...)
		})
	c.wantRefresh()
	return err
}

func bucketsFromProto(buckets []*pb.Bucket) []Bucket {
	out := make([]Bucket, len(buckets))
	for i, b := range buckets {
		out[i] = bucketFromProto(b)
	}
	return out
}

func bucketFromProto(b *pb.Bucket) Bucket {
	return Bucket{
		Name: b.GetName(), ID: b.GetId(), N: int(b.GetN()),
		R: levelFromProto(b.GetR()), W: levelFromProto(b.GetW()),
		Conflict: Conflict(b.GetConflict()), Durability: Durability(b.GetDurability()),
		TTL:     time.Duration(b.GetTtlMs()) * time.Millisecond,
		Created: causal.HLC(b.GetCreatedHlc()).Time(), Altered: causal.HLC(b.GetAlteredHlc()).Time(),
	}
}
