package node_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Values that expire. Nodes of one process have one wall clock, and hybrid clocks that may be a little ahead of it, so a
// value is there for certain until shortly before its end, and gone for certain from then on.
func TestExpiry(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	for _, test := range []struct {
		name string
		run  func(c *cluster)
	}{
		{"at once and everywhere", expiresEverywhere},
		{"a delete without a context", deleteOfExpired},
		{"a sibling", siblingExpires},
		{"last write wins", lastWriteExpires},
		{"pages count what is live", pagesBesideExpired},
		{"a retry", retryKeepsExpiry},
		{"a bucket's default", bucketExpiry},
		{"no time to live", refusedExpiry},
		{"clocks that differ", expiryUnderSkew},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(c.in(t)) })
	}
}

const (
	// shortTTL is long enough to write a few items and see them, long enough for a machine that does much else.
	shortTTL = 1500 * time.Millisecond
	longTTL  = time.Hour
)

func ttl(d time.Duration) *pb.TimeToLive {
	return &pb.TimeToLive{Kind: &pb.TimeToLive_Ms{Ms: d.Milliseconds()}}
}

func noTTL() *pb.TimeToLive { return &pb.TimeToLive{Kind: &pb.TimeToLive_None{None: true}} }

// allOwners has a write wait for every owner of its item, so that whichever node is asked next knows of it.
func allOwners() *pb.WriteOptions {
	return &pb.WriteOptions{W: all, Mode: pb.QuorumMode_QUORUM_MODE_STRICT}
}

// putFor writes a value on all owners of an item and checks that its expiry is counted from its date.
func (c *cluster) putFor(at int, d time.Duration, req *pb.PutRequest) *pb.PutResponse {
	c.t.Helper()
	req.Ttl, req.Options = ttl(d), allOwners()
	resp := c.put(at, req)
	if want := dateOf(resp).Add(d).UnixMilli(); resp.GetExpiresAtMs() != want {
		c.t.Errorf("dated %v, for %v: expires at %d, want %d", dateOf(resp), d, resp.GetExpiresAtMs(), want)
	}
	return resp
}

// outlive waits until a write has expired by every clock.
func (c *cluster) outlive(resp *pb.PutResponse) {
	time.Sleep(time.Until(time.UnixMilli(resp.GetExpiresAtMs()).Add(time.Millisecond)))
}

// still says whether a write has not expired by any clock; a test whose machine was too slow must not complain.
func still(resp *pb.PutResponse) bool {
	return time.Until(time.UnixMilli(resp.GetExpiresAtMs())) > 100*time.Millisecond
}

// scanned are the sort keys of a whole bucket, sorted.
func (c *cluster) scanned(at int, bucket string, keysOnly bool) []string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	stream, err := c.KV(at).Scan(ctx, &pb.ScanRequest{Bucket: bucket, KeysOnly: keysOnly})
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			slices.Sort(out)
			return out
		}
		if err != nil {
			c.t.Fatal(err)
		}
		for _, item := range resp.GetItems() {
			out = append(out, string(item.GetKey().GetSortKey()))
		}
	}
}

// queried are the sort keys of one partition key, page by page.
func (c *cluster) queried(at int, req *pb.QueryRequest) (keys []string, pages int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for {
		resp, err := c.KV(at).Query(ctx, req)
		if err != nil {
			c.t.Fatal(err)
		}
		pages++
		for _, item := range resp.GetItems() {
			if len(item.GetVersions()) == 0 {
				c.t.Errorf("%q has no versions and is in a page", item.GetKey().GetSortKey())
			}
			keys = append(keys, string(item.GetKey().GetSortKey()))
		}
		if req.PageToken = resp.GetNextPageToken(); len(req.PageToken) == 0 {
			return keys, pages
		}
	}
}

// A value is there, and says until when, and then no read of any kind and through no node returns it. The context of such
// a read replaces it.
func expiresEverywhere(c *cluster) {
	c.createBucket(&pb.Bucket{Name: "expiry"})
	k := key("everywhere", "s")
	forever := key("everywhere", "z")
	c.put(0, &pb.PutRequest{Bucket: "expiry", Key: forever, Value: []byte("kept")})
	written := c.putFor(3, shortTTL, &pb.PutRequest{Bucket: "expiry", Key: k, Value: []byte("v")})
	got := c.get(4, &pb.GetRequest{Bucket: "expiry", Key: k})
	if still(written) && (len(got.GetVersions()) != 1 || got.GetVersions()[0].GetExpiresAtMs() != written.GetExpiresAtMs()) {
		c.t.Errorf("before: %v", got.GetVersions())
	}
	if v := c.want(0, "expiry", forever, "kept").GetVersions(); len(v) != 1 || v[0].GetExpiresAtMs() != 0 {
		c.t.Errorf("a value without time to live: %v", v)
	}
	c.outlive(written)
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for at := range c.Size() {
		got := c.want(at, "expiry", k)
		if len(got.GetContext()) == 0 {
			c.t.Errorf("through %s: no context", c.Name(at))
		}
		batch, err := c.KV(at).BatchGet(ctx, &pb.BatchGetRequest{Bucket: "expiry", Keys: []*pb.ItemKey{k, forever}})
		if err != nil || len(batch.GetResults()[0].GetOk().GetVersions()) != 0 || len(batch.GetResults()[1].GetOk().GetVersions()) != 1 {
			c.t.Errorf("batch through %s: %v, %v", c.Name(at), batch, err)
		}
		for _, reverse := range []bool{false, true} {
			if keys, _ := c.queried(at, &pb.QueryRequest{Bucket: "expiry", PartitionKey: k.GetPartitionKey(), Reverse: reverse}); !slices.Equal(keys, []string{"z"}) {
				c.t.Errorf("query through %s: %q", c.Name(at), keys)
			}
		}
		for _, keysOnly := range []bool{false, true} {
			if keys := c.scanned(at, "expiry", keysOnly); !slices.Equal(keys, []string{"z"}) {
				c.t.Errorf("scan through %s: %q", c.Name(at), keys)
			}
		}
		resp := c.put(at, &pb.PutRequest{Bucket: "expiry", Key: k, Value: []byte("v"), Context: got.GetContext(), Ttl: ttl(time.Millisecond), Options: allOwners()})
		if resp.GetVersions() != 1 {
			c.t.Errorf("%d versions: the context does not cover what has expired", resp.GetVersions())
		}
		c.outlive(resp)
	}
}

func deleteOfExpired(c *cluster) {
	k := key("expired-delete", "")
	c.outlive(c.putFor(0, time.Millisecond, &pb.PutRequest{Key: k, Value: []byte("v")}))
	if resp := c.delete(3, &pb.DeleteRequest{Key: k, Options: allOwners()}); resp.GetVersions() != 1 {
		c.t.Errorf("%d versions after the delete", resp.GetVersions())
	}
	c.want(4, "", k)
}

// An expired sibling is no sibling to readers, whose context still covers it; a tombstone beside it makes no live item.
func siblingExpires(c *cluster) {
	k := key("expired-sibling", "")
	c.put(0, &pb.PutRequest{Key: k, Value: []byte("stays"), Options: allOwners()})
	written := c.putFor(1, time.Millisecond, &pb.PutRequest{Key: k, Value: []byte("goes")})
	if written.GetVersions() != 2 || len(written.GetContext()) != 0 {
		c.t.Errorf("beside another: %v", written)
	}
	c.outlive(written)
	got := c.want(2, "", k, "stays")
	if resp := c.put(3, &pb.PutRequest{Key: k, Value: []byte("new"), Context: got.GetContext(), Options: allOwners()}); resp.GetVersions() != 1 {
		c.t.Errorf("%d versions after a write with the context", resp.GetVersions())
	}
	seen := c.want(4, "", k, "new")
	written = c.putFor(0, time.Millisecond, &pb.PutRequest{Key: k, Value: []byte("goes, too")})
	c.delete(1, &pb.DeleteRequest{Key: k, Context: seen.GetContext(), Options: allOwners()})
	c.outlive(written)
	c.want(2, "", k)
}

// What an expired value replaced does not come back.
func lastWriteExpires(c *cluster) {
	const bucket = "expiry-lww"
	c.createBucket(&pb.Bucket{Name: bucket, Conflict: pb.ConflictPolicy_CONFLICT_POLICY_LWW})
	k := key("k", "")
	c.put(0, &pb.PutRequest{Bucket: bucket, Key: k, Value: []byte("old"), Options: allOwners()})
	c.outlive(c.putFor(1, time.Millisecond, &pb.PutRequest{Bucket: bucket, Key: k, Value: []byte("last")}))
	for at := range c.Size() {
		c.want(at, bucket, k)
	}
	c.put(2, &pb.PutRequest{Bucket: bucket, Key: k, Value: []byte("new"), Options: allOwners()})
	c.want(3, bucket, k, "new")
}

// Every fourth of many items lives; a page of them is full of these.
func pagesBesideExpired(c *cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	batch := &pb.BatchPutRequest{Options: allOwners()}
	var want []string
	for i := range 400 {
		item := &pb.BatchPutItem{Key: key("expired-pages", fmt.Sprintf("%03d", i)), Value: []byte("v"), Ttl: ttl(time.Millisecond)}
		if i%4 == 3 {
			item.Ttl = ttl(longTTL)
			want = append(want, string(item.GetKey().GetSortKey()))
		}
		batch.Items = append(batch.Items, item)
	}
	wrote, err := c.KV(0).BatchPut(ctx, batch)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range wrote.GetResults() {
		if r.GetOk() == nil {
			c.t.Fatal(r.GetError())
		}
		if time.Until(time.UnixMilli(r.GetOk().GetExpiresAtMs())) < longTTL/2 {
			c.outlive(r.GetOk())
		}
	}
	keys, pages := c.queried(1, &pb.QueryRequest{PartitionKey: []byte("expired-pages"), Limit: 25})
	if !slices.Equal(keys, want) || pages != 4 {
		c.t.Errorf("%d items in %d pages, want %d in 4", len(keys), pages, len(want))
	}
}

// A retry, through another node and with another time to live, changes nothing.
func retryKeepsExpiry(c *cluster) {
	id, err := causal.NewRequestID(time.Now().UnixMilli(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	first := &pb.PutRequest{Key: key("expiry-retry", ""), Value: []byte("v"), RequestId: id[:]}
	written := c.putFor(0, longTTL, first)
	for at := range c.Size() {
		again := c.put(at, &pb.PutRequest{Key: first.Key, Value: first.Value, RequestId: first.RequestId, Ttl: ttl(2 * longTTL)})
		if !again.GetRepeated() || again.GetExpiresAtMs() != written.GetExpiresAtMs() {
			c.t.Errorf("a retry through %s: repeated is %t, expires at %d, before at %d", c.Name(at), again.GetRepeated(), again.GetExpiresAtMs(), written.GetExpiresAtMs())
		}
	}
}

// What a put does not say its bucket says, at the time of the put.
func bucketExpiry(c *cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	const bucket = "expiry-default"
	c.createBucket(&pb.Bucket{Name: bucket, TtlMs: longTTL.Milliseconds()})
	lives := func(what string, at int, want time.Duration, t *pb.TimeToLive) {
		c.t.Helper()
		k := key(what, c.Name(at))
		resp := c.put(at, &pb.PutRequest{Bucket: bucket, Key: k, Value: []byte("v"), Ttl: t, Options: allOwners()})
		expires := int64(0)
		if want > 0 {
			expires = dateOf(resp).Add(want).UnixMilli()
		}
		got := c.want(at, bucket, k, "v").GetVersions()
		if resp.GetExpiresAtMs() != expires || len(got) != 1 || got[0].GetExpiresAtMs() != expires {
			c.t.Errorf("%s, through %s: expires at %d and %v, want %d", what, c.Name(at), resp.GetExpiresAtMs(), got, expires)
		}
	}
	alter := func(t *pb.TimeToLive, want time.Duration) {
		c.t.Helper()
		if _, err := c.Admin(1).AlterBucket(ctx, &pb.AlterBucketRequest{Name: bucket, Ttl: t}); err != nil {
			c.t.Fatal(err)
		}
		for at := range c.Size() {
			c.Eventually(c.Name(at)+" knows the change", func() bool { return c.bucket(at, bucket).GetTtlMs() == want.Milliseconds() })
		}
	}
	for at := range c.Size() {
		lives("default", at, longTTL, nil)
		lives("empty", at, longTTL, &pb.TimeToLive{})
		lives("its own", at, 2*longTTL, ttl(2*longTTL))
		lives("none", at, 0, noTTL())
	}
	alter(ttl(3*longTTL), 3*longTTL)
	lives("altered", 4, 3*longTTL, nil)
	alter(noTTL(), 0)
	lives("no more", 4, 0, nil)
	alter(nil, 0)
	_, err := c.Admin(0).CreateBucket(ctx, &pb.CreateBucketRequest{Bucket: &pb.Bucket{Name: bucket, TtlMs: 1}})
	wantReason(c.t, "a bucket that is there with another time to live", err, pb.Reason_REASON_BUCKET_EXISTS)
}

// What can't be a time to live is refused, and nothing is written.
func refusedExpiry(c *cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	k := key("expiry-refused", "")
	for _, t := range []*pb.TimeToLive{
		{Kind: &pb.TimeToLive_Ms{}},
		{Kind: &pb.TimeToLive_Ms{Ms: -1}},
		{Kind: &pb.TimeToLive_Ms{Ms: -1 << 63}},
		{Kind: &pb.TimeToLive_Ms{Ms: 36_500*24*3600*1000 + 1}},
		{Kind: &pb.TimeToLive_Ms{Ms: 1<<63 - 1}},
		{Kind: &pb.TimeToLive_None{}},
	} {
		for at := range c.Size() {
			_, err := c.tryPut(at, &pb.PutRequest{Key: k, Value: []byte("v"), Ttl: t})
			wantReason(c.t, "a put with "+t.String(), err, pb.Reason_REASON_INVALID_ARGUMENT)
		}
		_, err := c.Admin(0).AlterBucket(ctx, &pb.AlterBucketRequest{Name: "default", Ttl: t})
		wantReason(c.t, "a bucket with "+t.String(), err, pb.Reason_REASON_INVALID_ARGUMENT)
	}
	for _, ms := range []int64{-1, 36_500*24*3600*1000 + 1, 1<<63 - 1} {
		_, err := c.Admin(0).CreateBucket(ctx, &pb.CreateBucketRequest{Bucket: &pb.Bucket{Name: "refused", TtlMs: ms}})
		wantReason(c.t, "a new bucket", err, pb.Reason_REASON_INVALID_ARGUMENT)
	}
	if got := c.want(0, "", k); len(got.GetContext()) != 0 {
		c.t.Error("something was written")
	}
	longest := c.put(1, &pb.PutRequest{Key: k, Value: []byte("v"), Ttl: ttl(36_500 * 24 * time.Hour)})
	if years := time.UnixMilli(longest.GetExpiresAtMs()).Year() - time.Now().Year(); years < 99 || years > 100 {
		c.t.Errorf("the longest time to live ends in %d years", years)
	}
}

// A node whose clock is behind shows a value for as much longer as it is behind: what counts is the clock of the node
// that reads, and the one that dated the write. (The node that is behind is far from the offset that it would be refused
// for.)
func expiryUnderSkew(c *cluster) {
	const behind, late = 2, 200 * time.Millisecond
	k := key("expiry-skew", "")
	others := slices.DeleteFunc(rangeOf(c.Size()), func(i int) bool { return i == behind })
	c.SetClock(behind, -late)
	defer c.SetClock(behind, 0)
	written := c.putFor(others[0], time.Millisecond, &pb.PutRequest{Key: k, Value: []byte("v")})
	c.outlive(written)
	for _, at := range others {
		c.want(at, "", k)
	}
	time.Sleep(late)
	c.want(behind, "", k)
}
