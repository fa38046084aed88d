package client_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

func TestRoundTrip(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	key := client.NewKey("cart:42", "apples")
	if r := get(t, c, key); r.Found() || r.Siblings() || !r.Context.IsZero() {
		t.Fatalf("an item that was never written: %+v", r)
	}
	w := put(t, c, key, "2", client.W(client.All), client.Strict(), client.WithDurability(client.DurabilitySync))
	if w.Acknowledged != 2 || w.Versions != 1 || w.Repeated || w.Context.IsZero() {
		t.Fatalf("%+v", w)
	}
	r := get(t, c, key)
	value, err := r.Value()
	if err != nil || string(value) != "2" {
		t.Fatalf("%q, %v", value, err)
	}
	if r.Versions[0].RequestID != w.RequestID || r.Versions[0].Dot != w.Dot || r.Versions[0].Time().IsZero() {
		t.Fatalf("%+v", r.Versions[0])
	}
	if _, err := c.Delete(t.Context(), bucket, key); err != nil {
		t.Fatal(err)
	}
	r = get(t, c, key)
	if _, err := r.Value(); !errors.Is(err, client.ErrNotFound) {
		t.Fatalf("a deleted item: %+v, %v", r, err)
	}
	if r.Context.IsZero() {
		t.Fatal("a deleted item has no context")
	}
}

func TestSiblingsAreResolvedByTheirContext(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	key := client.NewKey("k", "")
	put(t, c, key, "one")
	if w := put(t, c, key, "two"); w.Versions != 2 {
		t.Fatalf("%d versions", w.Versions)
	}
	r := get(t, c, key)
	if !r.Siblings() {
		t.Fatalf("%+v", r)
	}
	if _, err := r.Value(); !errors.Is(err, client.ErrSiblings) {
		t.Fatal(err)
	}
	// The context survives its text form.
	context, err := client.ParseContext(r.Context.String())
	if err != nil {
		t.Fatal(err)
	}
	if w := put(t, c, key, "both", client.WithContext(context)); w.Versions != 1 {
		t.Fatalf("%d versions", w.Versions)
	}
	if value, err := get(t, c, key).Value(); err != nil || string(value) != "both" {
		t.Fatalf("%q, %v", value, err)
	}
}

func TestExplain(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	w := put(t, c, client.NewKey("k", ""), "v", client.WithExplain())
	x := w.Explain
	if x == nil || x.Duration != 1500*time.Microsecond || x.Required != 2 || x.Mode != client.ModeSloppy || len(x.Replicas) != 2 {
		t.Fatalf("%+v", x)
	}
	if r := x.Replicas[1]; !r.Fallback || r.HintFor != "n2" || !r.Hedged || r.Answered != 0 || r.Asked != 100*time.Microsecond {
		t.Fatalf("%+v", r)
	}
	if get(t, c, client.NewKey("k", "")).Explain != nil {
		t.Fatal("a trace that nobody asked for")
	}
}

func TestBatches(t *testing.T) {
	cluster := kvfake.Start(t, 5)
	c := open(t, cluster)
	const n = 2500 // more than one request may hold
	items := make([]client.PutItem, n)
	keys := make([]client.Key, n)
	for i := range items {
		keys[i] = client.NewKey(fmt.Sprintf("k%d", i), "")
		items[i] = client.PutItem{Key: keys[i], Value: fmt.Appendf(nil, "v%d", i)}
	}
	for i, o := range c.BatchPut(t.Context(), bucket, items) {
		if o.Err != nil || o.Written.RequestID.IsZero() {
			t.Fatalf("item %d: %+v", i, o)
		}
	}
	for i, o := range c.BatchGet(t.Context(), bucket, append(keys, client.NewKey("absent", ""))) {
		switch {
		case o.Err != nil:
			t.Fatalf("item %d: %v", i, o.Err)
		case i == n:
			if o.Result.Found() {
				t.Fatalf("%+v", o.Result)
			}
		default:
			if v, err := o.Result.Value(); err != nil || string(v) != fmt.Sprintf("v%d", i) {
				t.Fatalf("item %d: %q, %v", i, v, err)
			}
		}
	}
	busy := 0
	for _, node := range cluster.Nodes {
		if node.Calls("BatchPut") > 0 {
			busy++
		}
	}
	if busy != len(cluster.Nodes) {
		t.Errorf("only %d of %d nodes took a part of the batch", busy, len(cluster.Nodes))
	}
	if outcomes := c.BatchPut(t.Context(), bucket, nil); len(outcomes) != 0 {
		t.Errorf("%v", outcomes)
	}
}

func TestBuckets(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	ctx := t.Context()
	made, created, err := c.CreateBucket(ctx, client.Bucket{Name: "logs", N: 2, W: client.One, Conflict: client.ConflictLWW})
	if err != nil || !created || made.N != 2 || made.W != client.One || made.R != client.Quorum ||
		made.Conflict != client.ConflictLWW || made.Durability != client.DurabilitySync || made.Created.IsZero() {
		t.Fatalf("%+v, %v, %v", made, created, err)
	}
	if _, created, err = c.CreateBucket(ctx, client.Bucket{Name: "logs", N: 2}); err != nil || created {
		t.Fatalf("%v, %v", created, err)
	}
	if _, _, err = c.CreateBucket(ctx, client.Bucket{Name: "logs", N: 1}); !errors.Is(err, client.ErrBucketExists) {
		t.Fatal(err)
	}
	altered, err := c.AlterBucket(ctx, "logs", client.BucketChange{R: client.Replicas(2), Durability: client.DurabilityMemory})
	if err != nil || altered.R != client.Two || altered.W != client.One || altered.Durability != client.DurabilityMemory {
		t.Fatalf("%+v, %v", altered, err)
	}
	buckets, err := c.ListBuckets(ctx)
	if err != nil || len(buckets) != 2 || buckets[1].Name != "logs" {
		t.Fatalf("%+v, %v", buckets, err)
	}
	if err := c.DropBucket(ctx, "logs"); err != nil {
		t.Fatal(err)
	}
	if err := c.DropBucket(ctx, "logs"); !errors.Is(err, client.ErrUnknownBucket) {
		t.Fatal(err)
	}
}

func TestClusterCalls(t *testing.T) {
	cluster := kvfake.Start(t, 5)
	c := open(t, cluster)
	s, err := c.Status(t.Context())
	if err != nil || len(s.Nodes) != 5 || s.Nodes[4].Name != "n5" || s.Nodes[4].Liveness != client.Alive || s.Time.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	if asked := calls(cluster.Nodes, "Status"); asked[0] != 1 {
		t.Fatalf("not the node that was named first: %v", asked)
	}
	r, err := c.Ring(t.Context())
	if err != nil || r.Epoch == nil || len(r.Nodes) != 5 || len(r.Buckets) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	l, err := c.Locate(t.Context(), bucket, []byte("k"))
	if err != nil || len(l.Preference) != 5 || !l.Preference[2].Owner || l.Preference[3].Owner {
		t.Fatalf("%+v, %v", l, err)
	}
	if owner := cluster.Owners(bucket, []byte("k"))[0].Name; l.Preference[0].Name != owner {
		t.Fatalf("first is %s, want %s", l.Preference[0].Name, owner)
	}
	if h, err := c.Hints(t.Context()); err != nil || len(h.Hints) != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
}
