package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// callTimeout bounds one request of a test that should succeed.
const callTimeout = 20 * time.Second

func key(partition, sort string) *pb.ItemKey {
	return &pb.ItemKey{PartitionKey: []byte(partition), SortKey: []byte(sort)}
}

func replicas(n int) *pb.Consistency {
	return &pb.Consistency{Kind: &pb.Consistency_Replicas{Replicas: uint32(n)}}
}

func level(l pb.Level) *pb.Consistency {
	return &pb.Consistency{Kind: &pb.Consistency_Level{Level: l}}
}

var (
	all    = level(pb.Level_LEVEL_ALL)
	quorum = level(pb.Level_LEVEL_QUORUM)
	one    = level(pb.Level_LEVEL_ONE)
)

// cluster is a testcluster with the calls that many tests make. Every call goes to the node that it names.
type cluster struct {
	*testcluster.Cluster
	t *testing.T
}

func newCluster(t *testing.T, o testcluster.Options) *cluster {
	t.Helper()
	return &cluster{testcluster.New(t, o), t}
}

// besideOthers is newCluster for a test that mostly waits: it runs while other such tests do.
func besideOthers(t *testing.T, o testcluster.Options) *cluster {
	t.Helper()
	t.Parallel()
	o.Foreign = true
	return newCluster(t, o)
}

// in is the cluster for a subtest.
func (c *cluster) in(t *testing.T) *cluster { return &cluster{c.In(t), t} }

func (c *cluster) tryPut(at int, req *pb.PutRequest) (*pb.PutResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return c.KV(at).Put(ctx, req)
}

func (c *cluster) put(at int, req *pb.PutRequest) *pb.PutResponse {
	c.t.Helper()
	resp, err := c.tryPut(at, req)
	if err != nil {
		c.t.Fatalf("put %q at %s: %v", req.GetKey().GetPartitionKey(), c.Name(at), err)
	}
	return resp
}

func (c *cluster) tryGet(at int, req *pb.GetRequest) (*pb.GetResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return c.KV(at).Get(ctx, req)
}

func (c *cluster) get(at int, req *pb.GetRequest) *pb.GetResponse {
	c.t.Helper()
	resp, err := c.tryGet(at, req)
	if err != nil {
		c.t.Fatalf("get %q at %s: %v", req.GetKey().GetPartitionKey(), c.Name(at), err)
	}
	return resp
}

// want checks the values of an item, read from all its replicas through one node.
func (c *cluster) want(at int, bucket string, k *pb.ItemKey, values ...string) *pb.GetResponse {
	c.t.Helper()
	got := c.get(at, &pb.GetRequest{Bucket: bucket, Key: k, Options: &pb.ReadOptions{R: all}})
	if have := valuesOf(got.GetVersions()); !slices.Equal(have, slices.Sorted(slices.Values(values))) {
		c.t.Errorf("%q through %s: %q, want %q", k.GetPartitionKey(), c.Name(at), have, values)
	}
	return got
}

// valuesOf are the values of versions, sorted; a tombstone is "†".
func valuesOf(versions []*pb.Version) []string {
	var out []string
	for _, v := range versions {
		if v.GetTombstone() {
			out = append(out, "†")
		} else {
			out = append(out, string(v.GetValue()))
		}
	}
	slices.Sort(out)
	return out
}

// createBucket makes a bucket and waits until all running nodes know it.
func (c *cluster) createBucket(b *pb.Bucket) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := c.Admin(0).CreateBucket(ctx, &pb.CreateBucketRequest{Bucket: b}); err != nil {
		c.t.Fatalf("create bucket %s: %v", b.GetName(), err)
	}
	for i := range c.Size() {
		if c.Node(i) != nil {
			c.Eventually(c.Name(i)+" knows bucket "+b.GetName(), func() bool { return c.bucket(i, b.GetName()) != nil })
		}
	}
}

// bucket is a bucket as a node knows it, nil if it does not.
func (c *cluster) bucket(at int, name string) *pb.Bucket {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	list, err := c.Admin(at).ListBuckets(ctx, &pb.ListBucketsRequest{})
	if err != nil {
		return nil
	}
	for _, b := range list.GetBuckets() {
		if b.GetName() == name {
			return b
		}
	}
	return nil
}

// reasonOf is the reason in the ErrorInfo of an error; empty if it has none.
func reasonOf(err error) string {
	info := infoOf(err)
	if info.GetDomain() != "starling" {
		return ""
	}
	return info.GetReason()
}

func infoOf(err error) *errdetails.ErrorInfo {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// wantReason checks that an error is of Starling's and says why.
func wantReason(t *testing.T, what string, err error, reason pb.Reason) {
	t.Helper()
	want := strings.TrimPrefix(reason.String(), "REASON_")
	if got := reasonOf(err); err == nil || got != want {
		t.Errorf("%s: %v (reason %q), want reason %s", what, err, got, want)
	}
}

// hints adds up the hints that a node's cluster has waiting; -1 when not all nodes that run answered.
func (c *cluster) hints(at int) int {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	resp, err := c.Admin(at).Hints(ctx, &pb.HintsRequest{})
	if err != nil {
		return -1
	}
	n := 0
	for _, h := range resp.GetHints() {
		n += int(h.GetItems())
	}
	for _, name := range resp.GetMissing() {
		if i := c.Index(name); i >= 0 && c.Node(i) != nil {
			return -1
		}
	}
	return n
}

// permutations calls f with every order of 0 to n-1.
func permutations(n int, f func(order []int)) {
	var walk func(order, rest []int)
	walk = func(order, rest []int) {
		if len(rest) == 0 {
			f(slices.Clone(order))
			return
		}
		for i, x := range rest {
			left := append(slices.Clone(rest[:i]), rest[i+1:]...)
			walk(append(slices.Clone(order), x), left)
		}
	}
	walk(nil, rangeOf(n))
}

func rangeOf(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func numbered(prefix string, i int) string { return fmt.Sprintf("%s%04d", prefix, i) }
