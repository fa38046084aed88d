package client_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

// A value says until when it is there; from then on no read returns it, and the context of one replaces it.
func TestTTL(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	key := client.NewKey("session", "")
	w := put(t, c, key, "v", client.TTL(time.Minute))
	if want := w.Dot.HLC.Time().Add(time.Minute); !w.Expires.Equal(want) {
		t.Fatalf("expires at %v, want %v", w.Expires, want)
	}
	if r := get(t, c, key); !r.Found() || !r.Versions[0].Expires.Equal(w.Expires) {
		t.Fatalf("before: %+v", r)
	}
	again := put(t, c, key, "v", client.TTL(time.Hour), client.WithRequestID(w.RequestID))
	if !again.Repeated || !again.Expires.Equal(w.Expires) {
		t.Fatalf("a retry: %+v", again)
	}
	cluster.Advance(time.Minute)
	r := get(t, c, key)
	if _, err := r.Value(); !errors.Is(err, client.ErrNotFound) || r.Context.IsZero() {
		t.Fatalf("after: %+v, %v", r, err)
	}
	next := put(t, c, key, "v", client.WithContext(r.Context))
	if next.Versions != 1 || !next.Expires.IsZero() {
		t.Fatalf("the next: %+v", next)
	}
	if r := get(t, c, key); !r.Found() || !r.Versions[0].Expires.IsZero() {
		t.Fatalf("the next: %+v", r)
	}
}

// Of two siblings one expires: what is left is one value, for Resolvers too.
func TestTTLOfASibling(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster, client.BucketResolver(bucket, func(client.Key, []client.Version) ([]byte, error) {
		return nil, errors.New("there is nothing to resolve")
	}))
	key := client.NewKey("k", "")
	put(t, c, key, "stays")
	if w := put(t, c, key, "goes", client.TTL(time.Second)); w.Versions != 2 {
		t.Fatalf("%+v", w)
	}
	if _, err := c.Get(t.Context(), bucket, key); !errors.Is(err, client.ErrSiblings) {
		t.Fatal(err)
	}
	cluster.Advance(time.Second)
	if value, err := get(t, c, key).Value(); err != nil || string(value) != "stays" {
		t.Fatalf("%q, %v", value, err)
	}
}

func TestTTLIsWholeMilliseconds(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	key := client.NewKey("k", "")
	for d, want := range map[time.Duration]time.Duration{
		1:                            time.Millisecond,
		time.Millisecond:             time.Millisecond,
		time.Millisecond + 1:         2 * time.Millisecond,
		36_500 * 24 * time.Hour:      36_500 * 24 * time.Hour,
		0:                            0,
		-1:                           0,
		-time.Hour:                   0,
		36_500*24*time.Hour + 1:      0,
		time.Duration(math.MinInt64): 0,
		time.Duration(math.MaxInt64): 0,
	} {
		w, err := c.Put(t.Context(), bucket, key, []byte("v"), client.TTL(d))
		if want == 0 {
			if !errors.Is(err, client.ErrInvalidArgument) {
				t.Errorf("%v: %+v, %v", d, w, err)
			}
			continue
		}
		if err != nil || !w.Expires.Equal(w.Dot.HLC.Time().Add(want)) {
			t.Errorf("%v: %+v, %v", d, w, err)
		}
	}
}

// An item of a batch lives as long as it says, else as long as the call says.
func TestTTLOfBatches(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	items := []client.PutItem{
		{Key: client.NewKey("a", ""), Value: []byte("v"), TTL: time.Hour},
		{Key: client.NewKey("b", ""), Value: []byte("v")},
	}
	lives := func(call string, want [2]time.Duration, opts ...client.CallOption) {
		t.Helper()
		for i, o := range c.BatchPut(t.Context(), bucket, items, opts...) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			var expires time.Time
			if want[i] > 0 {
				expires = o.Written.Dot.HLC.Time().Add(want[i])
			}
			if !o.Written.Expires.Equal(expires) {
				t.Errorf("%s, item %d: expires at %v, want %v", call, i, o.Written.Expires, expires)
			}
		}
	}
	lives("nothing said", [2]time.Duration{time.Hour, 0})
	lives("a minute", [2]time.Duration{time.Hour, time.Minute}, client.TTL(time.Minute))
	lives("none", [2]time.Duration{time.Hour, 0}, client.NoTTL())
	items[0].TTL = -1
	for i, o := range c.BatchPut(t.Context(), bucket, items) {
		if refused := errors.Is(o.Err, client.ErrInvalidArgument); refused != (i == 0) {
			t.Errorf("a negative one, item %d: %v", i, o.Err)
		}
	}
}

func TestTTLOfBuckets(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	ctx := t.Context()
	made, _, err := c.CreateBucket(ctx, client.Bucket{Name: "cache", TTL: time.Minute + 1})
	if err != nil || made.TTL != time.Minute+time.Millisecond {
		t.Fatalf("%+v, %v", made, err)
	}
	lives := func(want time.Duration, opts ...client.CallOption) {
		t.Helper()
		w, err := c.Put(ctx, "cache", client.NewKey("k", ""), []byte("v"), opts...)
		if err != nil {
			t.Fatal(err)
		}
		if want == 0 && !w.Expires.IsZero() || want != 0 && !w.Expires.Equal(w.Dot.HLC.Time().Add(want)) {
			t.Errorf("written at %v, expires at %v, want %v", w.Dot.HLC.Time(), w.Expires, want)
		}
	}
	lives(made.TTL)
	lives(time.Second, client.TTL(time.Second))
	lives(0, client.NoTTL())
	for _, step := range []struct {
		change client.BucketChange
		want   time.Duration
	}{
		{client.BucketChange{TTL: time.Hour}, time.Hour},
		{client.BucketChange{W: client.One}, time.Hour},
		{client.BucketChange{NoTTL: true}, 0},
	} {
		b, err := c.AlterBucket(ctx, "cache", step.change)
		if err != nil || b.TTL != step.want {
			t.Errorf("%+v: %+v, %v", step.change, b, err)
		}
		lives(step.want)
	}
}
