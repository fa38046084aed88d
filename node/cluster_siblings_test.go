package node_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Tests of what single items do, on a cluster that is whole.
func TestItems(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	for _, test := range []struct {
		name string
		run  func(c *cluster)
	}{
		{"siblings in any order", siblingsInAnyOrder},
		{"siblings at once", siblingsAtOnce},
		{"siblings whose delivery is held back", siblingsHeldBack},
		{"context of a put", contextOfAPut},
		{"delete without a context", deleteWithoutContext},
		{"delete beside an unseen write", deleteBesideUnseen},
		{"last write wins", lastWriteWins},
		{"batches", batches},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(c.in(t)) })
	}
}

// Two writers that have not seen each other leave both values, whichever nodes take them in whichever order, and one
// write that has seen both replaces them.
func siblingsInAnyOrder(c *cluster) {
	round := 0
	permutations(3, func(order []int) {
		for _, through := range [][]int{{0, 1, 2}, {3, 3, 4}} {
			k := key(numbered("order-", round), "s")
			round++
			for _, i := range order {
				c.put(through[i], &pb.PutRequest{Key: k, Value: fmt.Appendf(nil, "writer %d", i)})
			}
			got := c.want(4, "", k, "writer 0", "writer 1", "writer 2")
			c.put(0, &pb.PutRequest{Key: k, Value: []byte("resolved"), Context: got.GetContext()})
			c.want(1, "", k, "resolved")
		}
	})
}

func siblingsAtOnce(c *cluster) {
	for round := range 10 {
		k := key(numbered("at-once-", round), "")
		errs := make(chan error, c.Size())
		var values []string
		for i := range c.Size() {
			values = append(values, c.Name(i))
			go func() {
				_, err := c.tryPut(i, &pb.PutRequest{Key: k, Value: []byte(c.Name(i))})
				errs <- err
			}()
		}
		for range c.Size() {
			if err := <-errs; err != nil {
				c.t.Error(err)
			}
		}
		got := c.want(round%c.Size(), "", k, values...)
		c.put(0, &pb.PutRequest{Key: k, Value: []byte("resolved"), Context: got.GetContext()})
		c.want(1, "", k, "resolved")
	}
}

// Each of two owners takes a write while neither hears the other; the third owner gets them in one order or the
// other.
func siblingsHeldBack(c *cluster) {
	defer c.Heal()
	for i, first := range []int{0, 1} {
		k := key(numbered("held-", i), "")
		owners, _ := c.Owners("", k.GetPartitionKey())
		a, b, third := owners[first], owners[1-first], owners[2]
		c.Delay(a, b, 60*time.Millisecond)
		c.Delay(b, a, 60*time.Millisecond)
		c.Delay(b, third, 60*time.Millisecond)
		done := make(chan error, 1)
		go func() {
			_, err := c.tryPut(b, &pb.PutRequest{Key: k, Value: []byte("late"), Options: &pb.WriteOptions{W: one}})
			done <- err
		}()
		c.put(a, &pb.PutRequest{Key: k, Value: []byte("early"), Options: &pb.WriteOptions{W: one}})
		if err := <-done; err != nil {
			c.t.Error(err)
		}
		c.Heal()
		got := c.want(third, "", k, "early", "late")
		c.put(b, &pb.PutRequest{Key: k, Value: []byte("resolved"), Context: got.GetContext()})
		c.want(a, "", k, "resolved")
	}
}

// A put returns a context only when its version is alone: with it the writer goes on, without it siblings appear.
func contextOfAPut(c *cluster) {
	k := key("context", "")
	first := c.put(0, &pb.PutRequest{Key: k, Value: []byte("1")})
	if first.GetVersions() != 1 || len(first.GetContext()) == 0 {
		c.t.Fatalf("a first put: %v", first)
	}
	// All owners hear of it: any of them may coordinate the third.
	second := c.put(1, &pb.PutRequest{Key: k, Value: []byte("2"), Context: first.GetContext(), Options: &pb.WriteOptions{W: all, Mode: pb.QuorumMode_QUORUM_MODE_STRICT}})
	if second.GetVersions() != 1 || len(second.GetContext()) == 0 {
		c.t.Fatalf("a put with a context: %v", second)
	}
	third := c.put(2, &pb.PutRequest{Key: k, Value: []byte("3"), Context: first.GetContext()})
	if third.GetVersions() != 2 || len(third.GetContext()) != 0 {
		c.t.Errorf("a put with an old context leaves two versions and returns no context: %v", third)
	}
	c.want(3, "", k, "2", "3")
}

func (c *cluster) delete(at int, req *pb.DeleteRequest) *pb.DeleteResponse {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	resp, err := c.KV(at).Delete(ctx, req)
	if err != nil {
		c.t.Fatalf("delete %q at %s: %v", req.GetKey().GetPartitionKey(), c.Name(at), err)
	}
	return resp
}

// A delete without a context covers what is there, siblings and all, wherever it is asked for.
func deleteWithoutContext(c *cluster) {
	for at := range c.Size() {
		k := key(numbered("delete-", at), "")
		c.put(0, &pb.PutRequest{Key: k, Value: []byte("1")})
		c.put(1, &pb.PutRequest{Key: k, Value: []byte("2")})
		if resp := c.delete(at, &pb.DeleteRequest{Key: k}); resp.GetVersions() != 1 {
			c.t.Errorf("%d versions after the delete", resp.GetVersions())
		}
		got := c.want((at+1)%c.Size(), "", k)
		if len(got.GetContext()) == 0 {
			c.t.Error("a deleted item has no context: a new value would be a sibling of the tombstone")
		}
		c.put(at, &pb.PutRequest{Key: k, Value: []byte("again"), Context: got.GetContext()})
		c.want(0, "", k, "again")
	}
}

// A value that a delete has not seen survives it, beside the tombstone.
func deleteBesideUnseen(c *cluster) {
	k := key("delete-beside", "")
	first := c.put(0, &pb.PutRequest{Key: k, Value: []byte("seen")})
	c.put(1, &pb.PutRequest{Key: k, Value: []byte("unseen")})
	c.delete(2, &pb.DeleteRequest{Key: k, Context: first.GetContext()})
	got := c.want(3, "", k, "unseen", "†")
	c.put(4, &pb.PutRequest{Key: k, Value: []byte("resolved"), Context: got.GetContext()})
	c.want(0, "", k, "resolved")
}

func lastWriteWins(c *cluster) {
	c.createBucket(&pb.Bucket{Name: "lww", Conflict: pb.ConflictPolicy_CONFLICT_POLICY_LWW})
	for round := range 5 {
		k := key(numbered("lww-", round), "")
		var last *pb.Dot
		value := ""
		for i := range 6 {
			v := numbered("v", i)
			resp := c.put((round+i)%c.Size(), &pb.PutRequest{Bucket: "lww", Key: k, Value: []byte(v)})
			if resp.GetVersions() != 1 {
				c.t.Errorf("%d versions in a bucket where the last write wins", resp.GetVersions())
			}
			if d := resp.GetDot(); last == nil || d.GetHlc() > last.GetHlc() || d.GetHlc() == last.GetHlc() && d.GetActor() > last.GetActor() {
				last, value = d, v
			}
		}
		for at := range c.Size() {
			c.want(at, "lww", k, value)
		}
		c.delete(round%c.Size(), &pb.DeleteRequest{Bucket: "lww", Key: k})
		c.want(0, "lww", k)
	}
}

// One bad item of a batch fails alone.
func batches(c *cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	const size, bad = 300, 137
	put := &pb.BatchPutRequest{}
	get := &pb.BatchGetRequest{}
	for i := range size {
		k := key(numbered("batch-", i), "s")
		if i == bad {
			k = key("", "s")
		}
		put.Items = append(put.Items, &pb.BatchPutItem{Key: k, Value: []byte(numbered("v", i))})
		get.Keys = append(get.Keys, k)
	}
	wrote, err := c.KV(0).BatchPut(ctx, put)
	if err != nil || len(wrote.GetResults()) != size {
		c.t.Fatalf("batch put: %d results, %v", len(wrote.GetResults()), err)
	}
	read, err := c.KV(1).BatchGet(ctx, get)
	if err != nil || len(read.GetResults()) != size {
		c.t.Fatalf("batch get: %d results, %v", len(read.GetResults()), err)
	}
	for i := range size {
		w, r := wrote.GetResults()[i], read.GetResults()[i]
		if i == bad {
			if codes.Code(w.GetError().GetCode()) != codes.InvalidArgument || codes.Code(r.GetError().GetCode()) != codes.InvalidArgument {
				c.t.Errorf("the bad item: %v, %v", w, r)
			}
			continue
		}
		if w.GetOk() == nil || !slices.Equal(valuesOf(r.GetOk().GetVersions()), []string{numbered("v", i)}) {
			c.t.Fatalf("item %d: %v, %v", i, w, r)
		}
	}
	for _, n := range []int{0, 1001} {
		_, err := c.KV(2).BatchGet(ctx, &pb.BatchGetRequest{Keys: make([]*pb.ItemKey, n)})
		if n == 0 && err != nil {
			c.t.Errorf("an empty batch: %v", err)
		}
		if n > 0 {
			wantReason(c.t, "a batch of 1001", err, pb.Reason_REASON_INVALID_ARGUMENT)
		}
	}
}
