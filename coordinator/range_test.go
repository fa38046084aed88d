package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// TestALimitHidesNothing reads pages from replicas that hold different parts of the items, deleted and expired ones among
// them, and compares with the join of all owners: R+W>N, each item on W owners at least.
func TestALimitHidesNothing(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { limitHidesNothing(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func limitHidesNothing(t *testing.T, rng *rand.Rand) {
	c := newFakeCluster(t, 3)
	item, places := c.item("p", 3)
	want := map[string]bool{}
	for i := range 40 + rng.IntN(60) {
		at := item
		at.Sort = fmt.Appendf(nil, "%03d", rng.IntN(1000))
		w := write(byte(i), "v"+string(at.Sort), causal.Past{})
		w.RequestID[14] = byte(i >> 4)
		w.Tombstone = rng.IntN(3) == 0
		if w.Tombstone {
			w.Context = join(places, at).Context()
		}
		w.TTL = []time.Duration{0, time.Hour, causal.MaxTTL}[rng.IntN(3)] // from 1970 on: an hour is over
		state := mintOn(join(places, at), causal.Actor(100+i), int64(2000+i), w)
		skip := rng.IntN(4) // one owner misses it, or none
		for j, n := range places {
			if j != skip {
				n.merge(at, state, ring.NodeID{})
			}
		}
		want[string(at.Sort)] = state.LiveAt(causal.NewHLC(time.Now().UnixMilli(), 0))
	}
	var sorted []string
	for sort, live := range want {
		if live {
			sorted = append(sorted, sort)
		}
	}
	slices.Sort(sorted)
	reverse := rng.IntN(2) == 0
	if reverse {
		slices.Reverse(sorted)
	}
	if got := readAll(t, places[rng.IntN(3)], item, 1+rng.IntN(20), reverse); !slices.Equal(got, sorted) {
		t.Errorf("read %v\nwant %v", got, sorted)
	}
}

func join(places []*fakeNode, item causal.ItemKey) causal.State {
	var out causal.State
	for _, n := range places {
		out = causal.Merge(causal.Siblings, out, n.state(item))
	}
	return out
}

func readAll(t *testing.T, n *fakeNode, item causal.ItemKey, limit int, reverse bool) []string {
	prefix := []byte(encodeItem(item))
	req := ReadRange{
		Bucket: item.Bucket, N: 3, R: 2, Strict: true, Token: ring.TokenOf(item.Bucket, item.Partition),
		Start: prefix, End: append(bytes.Clone(prefix), 0xff), Reverse: reverse, LimitItems: limit,
	}
	var out []string
	for pages := 0; ; pages++ {
		if pages > 200 {
			t.Fatal("no end of pages")
		}
		page, err := n.coord.Range(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) > limit {
			t.Fatalf("%d items, limit %d", len(page.Items), limit)
		}
		for _, it := range page.Items {
			out = append(out, string(it.Key[len(prefix):]))
		}
		if page.Done {
			return out
		}
		if reverse {
			req.End = page.Last
		} else {
			req.Start = append(bytes.Clone(page.Last), 0)
		}
	}
}

// TestRangeWritesBackWhatDiffers: what a page showed must be on N-R+1 owners.
func TestRangeWritesBackWhatDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("p", 3)
		item.Sort = []byte("a")
		places[0].merge(item, mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{})), ring.NodeID{})
		if got := readAll(t, places[0], causal.ItemKey{Bucket: 1, Partition: item.Partition}, 5, false); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("read %v", got)
		}
		holders := 0
		for _, n := range places {
			holders += len(n.state(item).Versions)
		}
		if holders < 2 {
			t.Errorf("%d owners hold what was shown, want 2", holders)
		}
	})
}

// TestRangeWantsAnOwner: fallbacks know nothing of what an item held before they stood in, so a page that only they answered
// would leave it out.
func TestRangeWantsAnOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("p", 5)
		item.Sort = []byte("a")
		places[0].merge(item, mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{})), ring.NodeID{})
		places[0].delay = 300 * time.Millisecond
		c.see(places[1].id, Down)
		c.see(places[2].id, Down)
		prefix := []byte(encodeItem(causal.ItemKey{Bucket: 1, Partition: item.Partition}))
		req := ReadRange{
			Bucket: item.Bucket, N: 3, R: 2, Token: ring.TokenOf(item.Bucket, item.Partition),
			Start: prefix, End: append(bytes.Clone(prefix), 0xff), LimitItems: 5,
		}
		page, err := places[3].coord.Range(t.Context(), req)
		if err != nil || len(page.Items) != 1 || page.Fallbacks != 2 {
			t.Errorf("a late owner: %d items, %d fallbacks, %v", len(page.Items), page.Fallbacks, err)
		}
		places[0].down = true
		if page, err := places[4].coord.Range(t.Context(), req); !errors.Is(err, ErrNoOwner) {
			t.Errorf("no owner: %d items, %v, want %v", len(page.Items), err, ErrNoOwner)
		}
		places[0].down, places[0].silent = false, true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if page, err := places[4].coord.Range(ctx, req); !errors.Is(err, ErrNoOwner) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a silent owner: %d items, %v", len(page.Items), err)
		}
	})
}

// TestRangeWritesBackWhatALateOwnerBrings: two fallbacks that agree are no agreement when an owner was waited for, who does
// not.
func TestRangeWritesBackWhatALateOwnerBrings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("p", 5)
		item.Sort = []byte("a")
		both := mintOn(causal.State{}, 9, 2000, write(1, "x", causal.Past{}))
		places[0].merge(item, mintOn(causal.State{}, 8, 3000, write(2, "y", causal.Past{})), ring.NodeID{})
		places[0].delay = 300 * time.Millisecond
		for i := range 2 {
			c.see(places[1+i].id, Down)
			places[3+i].merge(item, both, places[1+i].id)
		}
		prefix := []byte(encodeItem(causal.ItemKey{Bucket: 1, Partition: item.Partition}))
		page, err := places[3].coord.Range(t.Context(), ReadRange{
			Bucket: item.Bucket, N: 3, R: 2, Token: ring.TokenOf(item.Bucket, item.Partition),
			Start: prefix, End: append(bytes.Clone(prefix), 0xff), LimitItems: 5,
		})
		if err != nil || len(page.Items) != 1 || len(page.Items[0].State.Versions) != 2 {
			t.Fatalf("%+v, %v", page, err)
		}
		holders := 0
		for _, n := range []*fakeNode{places[0], places[3], places[4]} {
			if len(n.state(item).Versions) == 2 {
				holders++
			}
		}
		if holders < 2 {
			t.Errorf("%d hold what was shown, want 2", holders)
		}
	})
}

// TestASlowOwnerIsAsked when it is the only one: fallbacks, quick as they are, can't tell that there is nothing.
func TestASlowOwnerIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 6)
		item, places := c.item("p", 6)
		places[0].merge(item, mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{})), ring.NodeID{})
		places[0].delay = 200 * time.Millisecond
		c.see(places[0].id, Slow)
		c.see(places[1].id, Down)
		c.see(places[2].id, Down)
		got, err := places[4].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2, Sync: true})
		if err != nil || len(got.State.Versions) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
