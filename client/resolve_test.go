package client_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

// union merges sets of words that are divided by blanks.
var union = client.MergeValues(func(a, b []byte) ([]byte, error) {
	words := append(strings.Fields(string(a)), strings.Fields(string(b))...)
	slices.Sort(words)
	return []byte(strings.Join(slices.Compact(words), " ")), nil
})

var errStuck = errors.New("nobody can merge this")

// stuck resolves nothing.
func stuck(client.Key, []client.Version) ([]byte, error) { return nil, errStuck }

// gone takes whatever has siblings for deleted.
func gone(client.Key, []client.Version) ([]byte, error) { return nil, client.ErrDelete }

func TestGetResolves(t *testing.T) {
	c := open(t, kvfake.Start(t, 3), client.BucketResolver(bucket, union))
	key := client.NewKey("k", "")
	if r := get(t, c, key); r.Found() || r.Resolved != nil {
		t.Fatalf("an item that was never written: %+v", r)
	}
	put(t, c, key, "b")
	if r := get(t, c, key); r.Resolved != nil || r.Versions[0].RequestID.IsZero() {
		t.Fatalf("one version was resolved: %+v", r)
	}
	put(t, c, key, "c a")
	r := get(t, c, key)
	if value, err := r.Value(); err != nil || string(value) != "a b c" {
		t.Fatalf("%q, %v", value, err)
	}
	if len(r.Resolved) != 2 || string(r.Resolved[0].Value) != "b" || !r.Versions[0].RequestID.IsZero() || r.Siblings() {
		t.Fatalf("%+v", r)
	}
	// A read writes nothing, and a call may do without.
	raw, err := c.Get(t.Context(), bucket, key, client.WithResolver(nil))
	if err != nil || !raw.Siblings() || raw.Resolved != nil {
		t.Fatalf("%+v, %v", raw, err)
	}
	r, err = c.Get(t.Context(), bucket, key, client.WithResolver(gone))
	if err != nil || r.Found() || len(r.Versions) != 0 || len(r.Resolved) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	// The context covers the siblings.
	if w := put(t, c, key, "all", client.WithContext(r.Context)); w.Versions != 1 {
		t.Fatalf("%+v", w)
	}
}

func TestGetDoesNotResolve(t *testing.T) {
	c := open(t, kvfake.Start(t, 1))
	key := client.NewKey("k", "")
	put(t, c, key, "a")
	put(t, c, key, "b")
	_, err := c.Get(t.Context(), bucket, key, client.WithResolver(stuck))
	var e *client.Error
	if !errors.Is(err, client.ErrSiblings) || !errors.Is(err, errStuck) || !errors.As(err, &e) || e.Op != "get" {
		t.Fatal(err)
	}
	if r := get(t, c, key); !r.Siblings() {
		t.Fatal("the resolver of one call works for another")
	}
}

// What a Resolver does with its argument is its own affair.
func TestResolverOwnsItsArgument(t *testing.T) {
	c := open(t, kvfake.Start(t, 1))
	key := client.NewKey("k", "s")
	put(t, c, key, "a")
	put(t, c, key, "b")
	reverse := func(k client.Key, siblings []client.Version) ([]byte, error) {
		if k.String() != key.String() {
			t.Errorf("the key is %v", k)
		}
		slices.Reverse(siblings)
		return siblings[0].Value, nil
	}
	r, err := c.Get(t.Context(), bucket, key, client.WithResolver(reverse))
	if err != nil || string(r.Versions[0].Value) != "b" || string(r.Resolved[0].Value) != "a" {
		t.Fatalf("%+v, %v", r, err)
	}
}

// ranged are items of one partition key: one, two or three values at sort keys 1, 2 and 3.
func ranged(t *testing.T, c *client.Client) (keys []client.Key) {
	t.Helper()
	for _, sort := range []string{"1", "2", "3"} {
		keys = append(keys, client.NewKey("p", sort))
		for n := range int(sort[0] - '0') {
			put(t, c, keys[len(keys)-1], strings.Repeat("x", n+1))
		}
	}
	return keys
}

// choosy merges two siblings, deletes three.
func choosy(key client.Key, siblings []client.Version) ([]byte, error) {
	if len(siblings) == 3 {
		return gone(key, siblings)
	}
	return union(key, siblings)
}

func TestBatchGetResolves(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	keys := ranged(t, c)
	o := c.BatchGet(t.Context(), bucket, keys, client.WithResolver(choosy))
	if o[0].Err != nil || o[0].Result.Resolved != nil || string(o[1].Result.Versions[0].Value) != "x xx" || o[2].Result.Found() {
		t.Fatalf("%+v", o)
	}
	o = c.BatchGet(t.Context(), bucket, keys, client.WithResolver(stuck))
	if o[0].Err != nil || o[0].Result == nil {
		t.Fatalf("%+v", o[0])
	}
	for _, o := range o[1:] {
		if !errors.Is(o.Err, client.ErrSiblings) || !errors.Is(o.Err, errStuck) || o.Result != nil {
			t.Fatalf("%+v", o)
		}
	}
}

func TestPagesResolve(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	ranged(t, c)
	read := func(what string, limit int, r client.Resolver) (items []client.Item) {
		t.Helper()
		pages := c.Query(t.Context(), bucket, []byte("p"), client.Range{Limit: limit}, client.WithResolver(r))
		if what == "scan" {
			pages = c.Scan(t.Context(), bucket, client.ScanOptions{Limit: limit}, client.WithResolver(r))
		}
		for item, err := range client.Items(pages) {
			if err != nil {
				t.Fatal(what, err)
			}
			items = append(items, item)
		}
		return items
	}
	for _, what := range []string{"query", "scan"} {
		items := read(what, 0, choosy)
		if len(items) != 2 || items[0].Resolved != nil || len(items[1].Resolved) != 2 {
			t.Fatalf("%s: %+v", what, items)
		}
		if v, err := items[1].Value(); err != nil || string(v) != "x xx" {
			t.Fatalf("%s: %q, %v", what, v, err)
		}
		// Nothing takes the place of an item that was left out.
		if items = read(what, 3, choosy); len(items) != 2 {
			t.Fatalf("%s: %+v", what, items)
		}
		// One item that nobody can resolve does not end the whole.
		items = read(what, 0, stuck)
		if len(items) != 3 || items[0].Unresolved != nil || !items[2].Siblings() {
			t.Fatalf("%s: %+v", what, items)
		}
		if _, err := items[1].Value(); !errors.Is(err, errStuck) || !errors.Is(err, client.ErrSiblings) {
			t.Fatalf("%s: %v", what, err)
		}
		items = read(what, 0, nil)
		if _, err := items[1].Value(); err != client.ErrSiblings || len(items) != 3 {
			t.Fatalf("%s: %v of %+v", what, err, items)
		}
	}
	// Where there are no values there is nothing to resolve.
	for item, err := range client.Items(c.Scan(t.Context(), bucket, client.ScanOptions{KeysOnly: true}, client.WithResolver(stuck))) {
		if err != nil || item.Unresolved != nil {
			t.Fatalf("%+v, %v", item, err)
		}
	}
}

func TestReadyMadeResolvers(t *testing.T) {
	value := func(s string) client.Version { return client.Version{Value: []byte(s)} }
	tombstone := client.Version{Tombstone: true}
	concat := client.MergeValues(func(a, b []byte) ([]byte, error) { return append(bytes.Clone(a), b...), nil })
	failing := client.MergeValues(func(_, _ []byte) ([]byte, error) { return nil, errStuck })
	for _, test := range []struct {
		name     string
		r        client.Resolver
		siblings []client.Version
		want     string
		err      error
	}{
		{"oldest first", concat, []client.Version{value("a"), value("b"), value("c")}, "abc", nil},
		{"values outlive a tombstone", concat, []client.Version{value("a"), tombstone, value("c")}, "ac", nil},
		{"an empty value is a value", concat, []client.Version{tombstone, value("")}, "", nil},
		{"tombstones alone", concat, []client.Version{tombstone, tombstone}, "", client.ErrDelete},
		{"no merge of one", failing, []client.Version{tombstone, value("a")}, "a", nil},
		{"a merge that fails", failing, []client.Version{value("a"), value("b")}, "", errStuck},
		{"the same", client.SameValue, []client.Version{value("a"), value("a"), value("a")}, "a", nil},
		{"not the same", client.SameValue, []client.Version{value("a"), value("a"), value("b")}, "", client.ErrSiblings},
		{"an empty value is no tombstone", client.SameValue, []client.Version{value(""), tombstone}, "", client.ErrSiblings},
		{"the same delete", client.SameValue, []client.Version{tombstone, tombstone}, "", client.ErrDelete},
	} {
		got, err := test.r(client.NewKey("k", ""), test.siblings)
		if !errors.Is(err, test.err) || string(got) != test.want {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
	}
}
