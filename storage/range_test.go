package storage

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// Range against a map, in random buckets with random bounds, limits and directions.
func TestRangeOracle(t *testing.T) {
	s := open(t, vfs.NewMem())
	r := rand.New(rand.NewPCG(7, 8))
	oracle := map[string]string{} // by stored key
	for i := range 600 {
		k := awkwardKey(r)
		state := s.foreign(t, fmt.Sprint(i))
		oracle[string(AppendKey(nil, k))] = values(mergedState(s, t, k, state))
	}
	for range 2000 {
		req := RangeRequest{Bucket: awkwardKey(r).Bucket, Reverse: r.IntN(2) == 0}
		if r.IntN(3) > 0 {
			req.Start = AppendRangeKey(nil, awkwardKey(r))
		}
		if r.IntN(3) > 0 {
			req.End = AppendRangeKey(nil, awkwardKey(r))
		}
		if r.IntN(2) == 0 {
			req.LimitItems = 1 + r.IntN(20)
		}
		if r.IntN(2) == 0 {
			req.LimitBytes = int64(1 + r.IntN(1000))
		}
		items, exhausted, err := s.Range(context.Background(), req)
		must(t, err)
		checkRange(t, oracle, req, items, exhausted)
	}
}

func mergedState(s *testStore, t *testing.T, k Key, state causal.State) causal.State {
	t.Helper()
	s.merge(t, Merge{Key: k, State: state})
	return s.get(t, k)
}

func checkRange(t *testing.T, oracle map[string]string, req RangeRequest, items []RangeItem, exhausted bool) {
	t.Helper()
	prefix := bucketPrefix(req.Bucket)
	var want []string
	for _, k := range slices.Sorted(maps.Keys(oracle)) {
		rest, found := bytes.CutPrefix([]byte(k), prefix)
		if found && bytes.Compare(rest, req.Start) >= 0 && (len(req.End) == 0 || bytes.Compare(rest, req.End) < 0) {
			want = append(want, string(rest))
		}
	}
	if req.Reverse {
		slices.Reverse(want)
	}
	if len(items) > len(want) || exhausted != (len(items) == len(want)) {
		t.Fatalf("%+v: %d of %d items, exhausted %t", req, len(items), len(want), exhausted)
	}
	if !exhausted && (len(items) == 0 || req.LimitItems == 0 && req.LimitBytes == 0) {
		t.Fatalf("%+v: stopped after %d of %d items for no reason", req, len(items), len(want))
	}
	if req.LimitItems > 0 && len(items) > req.LimitItems {
		t.Fatalf("%+v: %d items", req, len(items))
	}
	for i, item := range items {
		if string(item.Key) != want[i] || values(item.State) != oracle[string(prefix)+want[i]] {
			t.Fatalf("%+v: item %d is %x, %q", req, i, item.Key, values(item.State))
		}
	}
}

// A caller that goes on behind the last key sees every item once.
func TestRangePages(t *testing.T) {
	s := open(t, vfs.NewMem())
	const n = 50
	for i := range n {
		s.merge(t, Merge{Key: key("p", fmt.Sprintf("%03d", i)), State: s.foreign(t, "v")})
	}
	k := key("p", "")
	start, end := QueryBounds(k.Token, k.Partition, nil, nil)
	var seen []string
	for {
		items, exhausted, err := s.Range(context.Background(), RangeRequest{Bucket: 7, Start: start, End: end, LimitItems: 7})
		must(t, err)
		for _, item := range items {
			k, err := DecodeRangeKey(7, item.Key)
			must(t, err)
			seen = append(seen, string(k.Sort))
		}
		if exhausted {
			break
		}
		start = append(items[len(items)-1].Key, 0)
	}
	if len(seen) != n || !slices.IsSorted(seen) {
		t.Fatalf("saw %v", seen)
	}
}

func TestRangeWithDamagedKey(t *testing.T) {
	s := open(t, vfs.NewMem())
	s.raw(t, append(bucketPrefix(7), "not a range key"...), []byte("x"))
	if items, _, err := s.Range(context.Background(), RangeRequest{Bucket: 7}); err == nil {
		t.Fatalf("got %v", items)
	}
	if _, exhausted, err := s.Range(context.Background(), RangeRequest{Bucket: 7, Start: []byte{9}, End: []byte{1}}); err != nil || !exhausted {
		t.Fatalf("a range that ends before it starts: %t, %v", exhausted, err)
	}
}
