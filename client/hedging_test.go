package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

// One owner is slow, but not so slow that it is given up: some reads go to a second owner meanwhile. Nothing is ever
// tried again here, so what the nodes see beyond the calls are hedges.
func TestReadsAreHedged(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster, client.MaxTries(1))
	without := open(t, cluster, client.MaxTries(1), client.HedgeShare(0))
	key := client.NewKey("k", "")
	seen := func(method string) (n int) {
		for _, calls := range calls(cluster.Nodes, method) {
			n += calls
		}
		return n
	}
	for range 150 { // so that it is known what is usual
		get(t, c, key)
		get(t, without, key)
	}
	cluster.Owners(bucket, key.Partition)[0].Intercept(func(ctx context.Context, method string, _ any) error {
		if method == "Get" || method == "Put" {
			select {
			case <-ctx.Done():
			case <-time.After(40 * time.Millisecond):
			}
		}
		return nil
	})
	before := seen("Get")
	for range 30 {
		get(t, without, key)
	}
	if n := seen("Get") - before; n != 30 {
		t.Errorf("%d requests for 30 gets of a client that hedges nothing", n)
	}
	put(t, c, key, "v")
	if n := seen("Put"); n != 1 {
		t.Errorf("%d requests for one put", n)
	}
	before = seen("Get")
	deadline := time.Now().Add(30 * time.Second)
	for n := 1; ; n++ {
		get(t, c, key)
		if seen("Get")-before > n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no hedge of %d gets", n)
		}
	}
}
