package antientropy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/starling-db/starling/causal"
)

// What is restricted to a bucket mends that and leaves the damage of another alone, in leaves that both have items in.
func TestExchangeOfOneBucket(t *testing.T) {
	p := newPair(t)
	for i := range 50 {
		for _, bucket := range []uint64{bucketA, bucketB} {
			k := itemKey(bucket, fmt.Sprint("item-", i), "")
			p.put(k, p.version("both"), 0, 1)
			if i%5 == 0 {
				p.put(k, p.version("one"), i%2)
			}
		}
	}
	r, err := New(p.o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Exchange(t.Context(), asked, Scope{Bucket: bucketA})
	if err != nil || got.Items != 10 || got.Pushed != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	for bucket, want := range map[uint64]int{bucketA: 0, bucketB: 10} {
		if got, err := r.Exchange(t.Context(), asked, Scope{Bucket: bucket, Look: true}); err != nil || got.Unlike != want {
			t.Errorf("bucket %d: %d items differ, want %d, %v", bucket, got.Unlike, want, err)
		}
	}
	if got, err := r.Exchange(t.Context(), asked, Scope{Bucket: 99}); err != nil || got.Partitions != 0 {
		t.Errorf("a bucket that is not shared: %+v, %v", got, err)
	}
	p.exchange()
	p.same()
}

func TestOnly(t *testing.T) {
	plan := Plan{Epoch: 1, Shares: []Share{
		{N: 2, Buckets: []uint64{1, 2}, Policies: []causal.Policy{causal.Siblings, causal.LastWriteWins}, Partitions: []int{7}},
		{N: 3, Buckets: []uint64{3}, Policies: []causal.Policy{causal.Siblings}, Partitions: []int{8}},
	}}
	only := plan.Only(2)
	if len(only.Shares) != 1 || !slices.Equal(only.Shares[0].Buckets, []uint64{2}) ||
		!slices.Equal(only.Shares[0].Policies, []causal.Policy{causal.LastWriteWins}) || only.Shares[0].Partitions[0] != 7 {
		t.Errorf("%+v", only)
	}
	if got := plan.Only(0); len(got.Shares) != 2 || len(plan.Shares[0].Buckets) != 2 {
		t.Errorf("%+v", got)
	}
	if got := plan.Only(4); len(got.Shares) != 0 {
		t.Errorf("%+v", got)
	}
	for _, s := range []Scope{{Look: true}, {Partitions: []int{1}}, {Bucket: 1}} {
		if s.whole() {
			t.Errorf("%+v is all", s)
		}
	}
}
