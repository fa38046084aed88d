package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Queries and scans against an oracle, on a cluster that is whole and on one that has lost a node.
func TestQueries(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	oracle := c.fillForQueries(rng)
	check := func(what string) {
		t.Run(what, func(t *testing.T) {
			c := c.in(t)
			for partition, items := range oracle {
				for range 25 {
					c.checkQuery(rng, partition, items)
				}
			}
			c.checkScan(rng, oracle)
		})
	}
	check("whole")
	t.Run("tokens", func(t *testing.T) { pageTokens(c.in(t)) })
	c.lose(2)
	check("one node down")
	for partition := range oracle {
		for n := range 20 { // siblings and deletes that the lost node has not seen
			k := key(partition, fmt.Sprintf("new-%02d", n))
			c.put(0, &pb.PutRequest{Key: k, Value: []byte(k.GetSortKey())})
			if n%2 == 0 {
				c.delete(1, &pb.DeleteRequest{Key: k})
			} else {
				oracle[partition][string(k.GetSortKey())] = string(k.GetSortKey())
			}
		}
	}
	c.Start(2) // hints are on their way while the queries run
	c.Eventually("the node serves again", func() bool { return c.reasonNotReady(2) == "" })
	check("a node just back")
	c.drained()
	check("whole again")
}

// fillForQueries writes partitions of items, a third of them deleted, and returns what is left: values by sort key.
func (c *cluster) fillForQueries(rng *rand.Rand) map[string]map[string]string {
	c.t.Helper()
	oracle := map[string]map[string]string{}
	for p := range 4 {
		partition := numbered("query-", p)
		items := map[string]string{}
		oracle[partition] = items
		batch := &pb.BatchPutRequest{}
		for range 150 {
			sort := make([]byte, rng.IntN(4))
			for i := range sort {
				sort[i] = []byte{0, 1, 'a', 'b', 0xfe, 0xff}[rng.IntN(6)]
			}
			if _, there := items[string(sort)]; there {
				continue
			}
			items[string(sort)] = fmt.Sprintf("%x", sort)
			batch.Items = append(batch.Items, &pb.BatchPutItem{Key: key(partition, string(sort)), Value: []byte(items[string(sort)])})
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		resp, err := c.KV(p).BatchPut(ctx, batch)
		cancel()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, r := range resp.GetResults() {
			if r.GetError() != nil {
				c.t.Fatal(r.GetError())
			}
		}
		for _, sort := range slices.Sorted(maps.Keys(items)) {
			if rng.IntN(3) == 0 {
				c.delete(rng.IntN(c.Size()), &pb.DeleteRequest{Key: key(partition, sort)})
				delete(items, sort)
			}
		}
	}
	return oracle
}

// running is a node that runs.
func (c *cluster) running(rng *rand.Rand) int {
	for {
		if i := rng.IntN(c.Size()); c.Node(i) != nil {
			return i
		}
	}
}

// checkQuery asks for a random part of a partition, page by page, each from another node.
func (c *cluster) checkQuery(rng *rand.Rand, partition string, items map[string]string) {
	c.t.Helper()
	keys := slices.Sorted(maps.Keys(items))
	req := &pb.QueryRequest{PartitionKey: []byte(partition), Limit: uint32(rng.IntN(30)), Reverse: rng.IntN(2) == 0}
	if rng.IntN(3) > 0 {
		req.From = []byte(keys[rng.IntN(len(keys))])
	}
	if rng.IntN(3) > 0 {
		req.To = append([]byte(keys[rng.IntN(len(keys))]), make([]byte, rng.IntN(2))...)
	}
	var want []string
	for _, k := range keys {
		if (req.From == nil || k >= string(req.From)) && (req.To == nil || k <= string(req.To)) {
			want = append(want, k)
		}
	}
	if req.Reverse {
		slices.Reverse(want)
	}
	var got []string
	for {
		at := c.running(rng)
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		page, err := c.KV(at).Query(ctx, req)
		cancel()
		if err != nil {
			c.t.Fatalf("query at %s: %v", c.Name(at), err)
		}
		if req.Limit > 0 && len(page.GetItems()) > int(req.Limit) {
			c.t.Errorf("%d items on a page of %d", len(page.GetItems()), req.Limit)
		}
		for _, item := range page.GetItems() {
			sort := string(item.GetKey().GetSortKey())
			got = append(got, sort)
			if have := valuesOf(item.GetVersions()); !slices.Equal(have, []string{items[sort]}) || len(item.GetContext()) == 0 {
				c.t.Errorf("item %q/%q: %q", partition, sort, have)
			}
		}
		if req.PageToken = page.GetNextPageToken(); len(req.PageToken) == 0 {
			break
		}
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("query from %q to %q, limit %d, reverse %v: %q, want %q", req.From, req.To, req.Limit, req.Reverse, got, want)
	}
}

// checkScan reads the whole bucket in pieces: each ends by a limit or is broken off, the next goes on elsewhere.
func (c *cluster) checkScan(rng *rand.Rand, oracle map[string]map[string]string) {
	c.t.Helper()
	got := map[string]map[string]string{}
	req := &pb.ScanRequest{}
	progress := 0.0
	for done := false; !done; {
		req.Limit = uint64(rng.IntN(100))
		done = c.scanPiece(rng, req, got, &progress)
	}
	for partition, items := range oracle {
		if !maps.Equal(got[partition], items) {
			c.t.Errorf("a scan shows %d items of %q, want %d", len(got[partition]), partition, len(items))
		}
	}
	if progress != 1 {
		c.t.Errorf("progress at the end: %v", progress)
	}
}

func (c *cluster) scanPiece(rng *rand.Rand, req *pb.ScanRequest, got map[string]map[string]string, progress *float64) (done bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	stream, err := c.KV(c.running(rng)).Scan(ctx, req)
	if err != nil {
		c.t.Fatal(err)
	}
	items := uint64(0)
	for range 1 + rng.IntN(60) {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return req.Limit == 0 || items < req.Limit
		}
		if err != nil {
			c.t.Fatalf("scan: %v", err)
		}
		if resp.GetProgress() < *progress || resp.GetProgress() > 1 {
			c.t.Errorf("progress from %v to %v", *progress, resp.GetProgress())
		}
		*progress = resp.GetProgress()
		req.ResumeToken = resp.GetResumeToken()
		for _, item := range resp.GetItems() {
			items++
			partition, sort := string(item.GetKey().GetPartitionKey()), string(item.GetKey().GetSortKey())
			if got[partition] == nil {
				got[partition] = map[string]string{}
			}
			if _, twice := got[partition][sort]; twice {
				c.t.Errorf("a scan shows %q/%q twice", partition, sort)
			}
			got[partition][sort] = valuesOf(item.GetVersions())[0]
		}
	}
	return false
}

// A token goes with its own query, on any node, and with nothing else.
func pageTokens(c *cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	query := func(change func(*pb.QueryRequest)) (*pb.QueryResponse, error) {
		req := &pb.QueryRequest{PartitionKey: []byte("query-0000"), From: []byte{0}, Limit: 2}
		change(req)
		return c.KV(0).Query(ctx, req)
	}
	first, err := query(func(*pb.QueryRequest) {})
	if err != nil || len(first.GetNextPageToken()) == 0 {
		c.t.Fatalf("a first page: %v, %v", first, err)
	}
	token := first.GetNextPageToken()
	if _, err := query(func(q *pb.QueryRequest) { q.PageToken = token }); err != nil {
		c.t.Errorf("a second page: %v", err)
	}
	damaged := bytes.Clone(token)
	damaged[0] ^= 1
	for name, change := range map[string]func(*pb.QueryRequest){
		"of another partition": func(q *pb.QueryRequest) { q.PartitionKey = []byte("query-0001") },
		"with other bounds":    func(q *pb.QueryRequest) { q.From = []byte{1} },
		"with a bound more":    func(q *pb.QueryRequest) { q.To = []byte{0xff} },
		"the other way round":  func(q *pb.QueryRequest) { q.Reverse = true },
		"damaged":              func(q *pb.QueryRequest) { q.PageToken = damaged },
		"noise":                func(q *pb.QueryRequest) { q.PageToken = randomBytes(50) },
		"much noise":           func(q *pb.QueryRequest) { q.PageToken = randomBytes(1 << 20) },
	} {
		_, err := query(func(q *pb.QueryRequest) { q.PageToken = token; change(q) })
		wantReason(c.t, "a page token "+name, err, pb.Reason_REASON_INVALID_PAGE_TOKEN)
	}
	for _, resume := range [][]byte{token, randomBytes(50)} {
		stream, err := c.KV(0).Scan(ctx, &pb.ScanRequest{ResumeToken: resume})
		if err == nil {
			_, err = stream.Recv()
		}
		wantReason(c.t, "a scan with a token that is none of its own", err, pb.Reason_REASON_INVALID_PAGE_TOKEN)
	}
	_, err = query(func(q *pb.QueryRequest) { q.Limit = 10_001 })
	wantReason(c.t, "a page of 10,001 items", err, pb.Reason_REASON_INVALID_ARGUMENT)
}
