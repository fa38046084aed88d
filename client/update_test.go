package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

// add is the function of an Update that adds a word to a set of words.
func add(word string) func(*client.Result) ([]byte, error) {
	return func(current *client.Result) ([]byte, error) {
		value, err := current.Value()
		if err != nil && !errors.Is(err, client.ErrNotFound) {
			return nil, err
		}
		return []byte(strings.TrimSpace(string(value) + " " + word)), nil
	}
}

func update(t *testing.T, c *client.Client, key client.Key, f func(*client.Result) ([]byte, error), opts ...client.CallOption) *client.Updated {
	t.Helper()
	u, err := c.Update(t.Context(), bucket, key, f, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUpdate(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	key := client.NewKey("k", "")
	drop := func(*client.Result) ([]byte, error) { return nil, client.ErrDelete }
	if u := update(t, c, key, drop); u.Found || u.Written != nil {
		t.Fatalf("there was nothing to delete: %+v", u)
	}
	u := update(t, c, key, add("a"))
	if string(u.Value) != "a" || !u.Found || u.Versions != 1 || u.Written == nil || u.Written.RequestID.IsZero() {
		t.Fatalf("%+v", u)
	}
	// The context is good for the next write.
	if w := put(t, c, key, "b", client.WithContext(u.Context)); w.Versions != 1 {
		t.Fatalf("%+v", w)
	}
	if u = update(t, c, key, add("c")); string(u.Value) != "b c" || u.Versions != 1 {
		t.Fatalf("%+v", u)
	}
	writes := calls(cluster.Nodes, "Put")
	u = update(t, c, key, func(*client.Result) ([]byte, error) { return nil, client.ErrKeep })
	if string(u.Value) != "b c" || u.Written != nil || u.Versions != 1 || fmt.Sprint(writes) != fmt.Sprint(calls(cluster.Nodes, "Put")) {
		t.Fatalf("%+v", u)
	}
	own := errors.New("not enough apples")
	_, err := c.Update(t.Context(), bucket, key, func(*client.Result) ([]byte, error) { return nil, own })
	var e *client.Error
	if !errors.Is(err, own) || !errors.As(err, &e) || e.Op != "update" {
		t.Fatal(err)
	}
	if u = update(t, c, key, drop); u.Found || u.Value != nil || u.Written == nil || u.Versions != 1 {
		t.Fatalf("%+v", u)
	}
	if r := get(t, c, key); r.Found() {
		t.Fatalf("%+v", r)
	}
	if u = update(t, c, key, add("again")); string(u.Value) != "again" || u.Versions != 1 {
		t.Fatalf("over a tombstone: %+v", u)
	}
}

// Another writer comes between the read and the write of an Update.
func TestUpdateMeetsAnotherWriter(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	for _, test := range []struct {
		name     string
		r        client.Resolver
		value    string
		versions int
	}{
		{"resolved", union, "a b", 1},
		{"no resolver", nil, "a", 2},
		{"a resolver that fails", stuck, "a", 2},
		{"resolved to nothing", gone, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := client.NewKey(test.name, "")
			changed := 0
			u := update(t, c, key, func(current *client.Result) ([]byte, error) {
				changed++
				put(t, c, key, "b")
				return add("a")(current)
			}, client.WithResolver(test.r))
			if string(u.Value) != test.value || u.Found != (test.value != "") || u.Versions != test.versions || changed != 1 {
				t.Fatalf("changed %d times: %+v", changed, u)
			}
			if u.Context.IsZero() != (test.versions > 1) {
				t.Fatalf("a context that covers what nobody has seen, or none: %+v", u)
			}
			r, err := c.Get(t.Context(), bucket, key, client.WithResolver(nil))
			if err != nil || test.versions != max(len(r.Versions), 1) {
				t.Fatalf("%+v, %v", r, err)
			}
		})
	}
}

// Without a Resolver the function sees the siblings itself, and what it makes replaces them all.
func TestUpdateOfSiblings(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	key := client.NewKey("k", "")
	put(t, c, key, "a")
	put(t, c, key, "b")
	if _, err := c.Update(t.Context(), bucket, key, add("c")); !errors.Is(err, client.ErrSiblings) {
		t.Fatal(err)
	}
	u := update(t, c, key, func(current *client.Result) ([]byte, error) {
		return union(key, current.Versions)
	})
	if string(u.Value) != "a b" || u.Versions != 1 {
		t.Fatalf("%+v", u)
	}
	put(t, c, key, "z")
	if u = update(t, c, key, add("c"), client.WithResolver(union)); string(u.Value) != "a b z c" || u.Versions != 1 {
		t.Fatalf("%+v", u)
	}
}

// Many updates of one item at once: each is in what comes out in the end.
func TestUpdatesAtOnce(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster, client.BucketResolver(bucket, union))
	key := client.NewKey("k", "")
	var writers sync.WaitGroup
	for i := range 12 {
		writers.Go(func() {
			if _, err := c.Update(t.Context(), bucket, key, add(fmt.Sprintf("%02d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	value, err := get(t, c, key).Value()
	if words := strings.Fields(string(value)); err != nil || len(words) != 12 {
		t.Fatalf("%v, %v", words, err)
	}
}

// Somebody who writes without a context before every write of ours: we resolve for a while, and then leave it.
func TestUpdateTriesAreBounded(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c, rival := open(t, cluster), open(t, cluster)
	key := client.NewKey("k", "")
	var turn atomic.Bool
	cluster.Intercept(func(ctx context.Context, method string, _ any) error {
		if method != "Put" || !turn.CompareAndSwap(false, true) {
			return nil
		}
		defer turn.Store(false)
		_, err := rival.Put(ctx, bucket, key, []byte("x"))
		return err
	})
	u := update(t, c, key, add("a"), client.WithResolver(union))
	if u.Versions != 2 || string(u.Value) != "a x" || !u.Context.IsZero() {
		t.Fatalf("%+v", u)
	}
	if reads := calls(cluster.Nodes, "Get")[0]; reads != 8 {
		t.Fatalf("%d reads", reads)
	}
}

// The change is written: that resolving fails is no reason to say that it is not.
func TestUpdateWhoseResolvingFails(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c := open(t, cluster, client.MaxTries(1))
	key := client.NewKey("k", "")
	u := update(t, c, key, func(current *client.Result) ([]byte, error) {
		put(t, c, key, "b")
		cluster.Intercept(func(_ context.Context, method string, _ any) error {
			if method == "Get" {
				return status.Error(codes.Unavailable, "gone")
			}
			return nil
		})
		return add("a")(current)
	}, client.WithResolver(union))
	if u.Versions != 2 || string(u.Value) != "a" || u.Written == nil {
		t.Fatalf("%+v", u)
	}
}

// An Update whose reply was lost is repeated with the request id that its error tells.
func TestUpdateIsRepeated(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c := open(t, cluster, client.MaxTries(1))
	key := client.NewKey("k", "")
	cluster.Nodes[0].After(func(_ context.Context, method string, _ any) error {
		if method == "Put" {
			return status.Error(codes.Unavailable, "lost")
		}
		return nil
	})
	_, err := c.Update(t.Context(), bucket, key, add("once"))
	var e *client.Error
	if !errors.Is(err, client.ErrOutcomeUnknown) || !errors.As(err, &e) || e.RequestID.IsZero() {
		t.Fatal(err)
	}
	cluster.Nodes[0].After(nil)
	u := update(t, c, key, add("twice"), client.WithRequestID(e.RequestID))
	if string(u.Value) != "once" || !u.Written.Repeated || u.Written.RequestID != e.RequestID || u.Context.IsZero() {
		t.Fatalf("%+v, %+v", u, u.Written)
	}
}

// Every failed write tells under which id it may be repeated, also the items of a batch that share an error.
func TestErrorsTellRequestIDs(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c := open(t, cluster, client.MaxTries(1))
	key := client.NewKey("k", "")
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "Ring" {
			return nil
		}
		return status.Error(codes.Unavailable, "gone")
	})
	idOf := func(err error) client.RequestID {
		t.Helper()
		var e *client.Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		return e.RequestID
	}
	id, err := c.NewRequestID()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Put(t.Context(), bucket, key, nil, client.WithRequestID(id))
	if idOf(err) != id {
		t.Fatal(idOf(err))
	}
	_, err = c.Delete(t.Context(), bucket, key, client.WithRequestID(id))
	if idOf(err) != id {
		t.Fatal(idOf(err))
	}
	_, err = c.Get(t.Context(), bucket, key)
	if !idOf(err).IsZero() {
		t.Fatal("a read has no request id")
	}
	o := c.BatchPut(t.Context(), bucket, []client.PutItem{{Key: key, RequestID: id}, {Key: key}})
	if idOf(o[0].Err) != id || idOf(o[1].Err) == id || idOf(o[1].Err).IsZero() {
		t.Fatalf("%v, %v", o[0].Err, o[1].Err)
	}
}

func TestUpdateKeepsItsDeadline(t *testing.T) {
	c := open(t, kvfake.Start(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Update(ctx, bucket, client.NewKey("k", ""), func(*client.Result) ([]byte, error) {
		cancel()
		return []byte("late"), nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if r := get(t, c, client.NewKey("k", "")); r.Found() {
		t.Fatalf("%+v", r)
	}
}
