package coordinator

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// expiring makes the state of one value that is written now and lives for ttl.
func expiring(seq byte, value string, ttl time.Duration) causal.State {
	w := write(seq, value, causal.Past{})
	w.TTL = ttl
	return mintOn(causal.State{}, causal.Actor(100)+causal.Actor(seq), time.Now().UnixMilli(), w)
}

// wallClock is the HLC of the bubble's time.
func wallClock() causal.HLC { return causal.NewHLC(time.Now().UnixMilli(), 0) }

// A get says by which moment expiry is judged and leaves the rest to its caller: the state is whole, and repaired like
// any other.
func TestGetOfAnExpiredItem(t *testing.T) {
	for _, test := range []struct {
		name string
		wait time.Duration
		live bool
	}{
		{"a millisecond early", time.Minute - time.Millisecond, true},
		{"in time", time.Minute, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newFakeCluster(t, 3)
				item, places := c.item("k", 3)
				s := expiring(1, "v", time.Minute)
				places[0].merge(item, s, ring.NodeID{}) // the others have missed it
				time.Sleep(test.wait)
				got, err := places[0].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 3, Strict: true})
				if err != nil {
					t.Fatal(err)
				}
				if got.AsOf != wallClock() || got.State.LiveAt(got.AsOf) != test.live || !slices.Equal(values(got.State), []string{"v"}) {
					t.Errorf("live at %v is %t, of %v", got.AsOf, got.State.LiveAt(got.AsOf), values(got.State))
				}
				if !got.State.Context().Covers(s.Versions[0].Dot) {
					t.Error("the context does not cover the value")
				}
				synctest.Wait()
				for i, n := range places {
					if n.state(item).Digest() != s.Digest() {
						t.Errorf("owner %d was not repaired", i)
					}
				}
			})
		})
	}
}

// It is the clock of the coordinator that counts, and no other.
func TestExpiryIsByTheCoordinatorsClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("p", 3)
		item.Sort = []byte("a")
		s := expiring(1, "v", time.Minute)
		for _, n := range places {
			n.merge(item, s, ring.NodeID{})
		}
		ahead := func() causal.HLC { return causal.NewHLC(time.Now().Add(time.Minute).UnixMilli(), 0) }
		places[1].coord.Clock = ahead
		prefix := causal.ItemKey{Bucket: 1, Partition: item.Partition}
		for i, want := range []bool{true, false, true} {
			got, err := places[i].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2})
			if err != nil || got.State.LiveAt(got.AsOf) != want {
				t.Errorf("get through %d: live is %t (%v)", i, got.State.LiveAt(got.AsOf), err)
			}
			if items := readAll(t, places[i], prefix, 5, false); (len(items) == 1) != want {
				t.Errorf("range through %d: %v", i, items)
			}
		}
	})
}

// Limits count what is live: items that have expired cost no more than deleted ones, and no page ends because of them.
func TestALimitCountsNoExpiredItems(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("p", 3)
		for i := range 12 {
			at := item
			at.Sort = fmt.Appendf(nil, "%02d", i)
			ttl := time.Minute
			if i%4 == 3 {
				ttl = time.Hour
			}
			for _, n := range places {
				n.merge(at, expiring(byte(i), string(at.Sort), ttl), ring.NodeID{})
			}
		}
		time.Sleep(2 * time.Minute)
		prefix := []byte(encodeItem(item))
		page, err := places[0].coord.Range(t.Context(), ReadRange{
			Bucket: 1, N: 3, R: 2, Token: ring.TokenOf(1, item.Partition),
			Start: prefix, End: append(bytes.Clone(prefix), 0xff), LimitItems: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, it := range page.Items {
			got = append(got, string(it.Key[len(prefix):]))
		}
		if !slices.Equal(got, []string{"03", "07"}) || page.Done || page.AsOf != wallClock() {
			t.Errorf("%v, done is %t, as of %v", got, page.Done, page.AsOf)
		}
	})
}

// A retry keeps the expiry that was minted first, whatever it asks for and however late it comes.
func TestARetryKeepsTheExpiry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		w := write(1, "v", causal.Past{})
		w.TTL = time.Minute
		first := put(t, places[0], PutRequest{Item: item, N: 3, W: 3, Write: w})
		if first.Version.ExpiresAt.Millis() != first.Version.Dot.HLC.Millis()+60_000 {
			t.Fatalf("minted at %v, expires at %v", first.Version.Dot.HLC, first.Version.ExpiresAt)
		}
		time.Sleep(30 * time.Second)
		w.TTL = time.Hour
		again := put(t, places[1], PutRequest{Item: item, N: 3, W: 3, Write: w})
		if !again.Repeated || again.Version.ExpiresAt != first.Version.ExpiresAt {
			t.Errorf("repeated is %t, expires at %v, before at %v", again.Repeated, again.Version.ExpiresAt, first.Version.ExpiresAt)
		}
	})
}
