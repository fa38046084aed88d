package client

import (
	"fmt"
	"slices"
	"testing"

	"github.com/starling-db/starling/ring"
)

// While partitions move, and while they are cut as well, a call goes to the owners of both layouts: first those of both. A map
// from before the move names the old ones.
func TestRoutesInAMove(t *testing.T) {
	var members []ring.Member
	known := &topology{byID: map[ring.NodeID]nodeRow{}, buckets: map[string]bucketRow{"b": {id: 7, n: 3}}}
	for i := range 7 {
		id := ring.NodeID{byte(i + 1)}
		members = append(members, ring.Member{ID: id, Weight: 1})
		known.byID[id] = nodeRow{addr: fmt.Sprint(id)}
	}
	plan := func(members []ring.Member, version uint64, previous *ring.Layout, partitions int) *ring.Layout {
		t.Helper()
		l, err := ring.Plan(ring.PlanInput{Members: members, Partitions: partitions, Replicas: 3, Version: version, Previous: previous})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	from := plan(members[:5], 1, nil, 16)
	cut, err := ring.Split(from, 32, 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]*ring.Layout{"moves": plan(members[2:], 3, from, 16), "moves and cuts": plan(members[2:], 3, cut, 32)} {
		joint, err := ring.Genesis(from).Begin(to)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			key := []byte{byte(i)}
			token := ring.TokenOf(7, key)
			base, next := from.Owners(from.PartitionOf(token), 3), to.Owners(to.PartitionOf(token), 3)
			inBoth := func(r nodeRow) bool {
				in := func(ids []ring.NodeID) bool {
					return slices.ContainsFunc(ids, func(id ring.NodeID) bool { return known.byID[id].addr == r.addr })
				}
				return in(base) && in(next)
			}
			known.epoch = joint
			rows, owners := known.preference("b", key)
			var want []string
			for _, id := range append(slices.Clone(base), next...) {
				want = append(want, known.byID[id].addr)
			}
			var got []string
			both := 0
			for at, r := range rows[:owners] {
				got = append(got, r.addr)
				if inBoth(r) {
					if both++; both != at+1 {
						t.Fatalf("%s, key %d: an owner of both layouts comes at place %d", name, i, at)
					}
				}
			}
			sorted := func(in []string) []string { return slices.Compact(slices.Sorted(slices.Values(in))) }
			if len(rows) != 7 || len(sorted(got)) != owners || !slices.Equal(sorted(got), sorted(want)) {
				t.Fatalf("%s, key %d: %d rows, owners %v, want %v", name, i, len(rows), got, want)
			}
			known.epoch = ring.Genesis(from)
			if rows, owners := known.preference("b", key); owners != 3 || rows[0].addr != known.byID[base[0]].addr {
				t.Fatalf("key %d by the map from before: %v", i, rows)
			}
		}
	}
}
