package coordinator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// lateMove is a move that some nodes have not heard of.
type lateMove struct {
	*fakeMove
	stable, joint *ring.Epoch
}

func newLateMove(t *testing.T, late func(m *fakeMove) []*fakeNode) *lateMove {
	t.Helper()
	m := &lateMove{fakeMove: newFakeMove(t, 8, 5, 2, 1)}
	m.stable = ring.Genesis(m.from)
	var err error
	if m.joint, err = m.stable.Begin(m.to); err != nil {
		t.Fatal(err)
	}
	m.epoch = m.joint
	for _, n := range late(m.fakeMove) {
		n.has(m.stable)
	}
	return m
}

// theOneThatStays coordinates at the epoch before the move.
func theOneThatStays(m *fakeMove) []*fakeNode { return m.both[:1] }

// A coordinator that plans at an epoch which is over is told so, learns the present one and plans again: what it answers is
// what the quorums of the present epoch say.
func TestRequestsAreReplanned(t *testing.T) {
	t.Run("put", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newLateMove(t, theOneThatStays)
			res := put(t, m.both[0], m.write(1))
			synctest.Wait()
			if base, next := holders(m.base, m.item, "b"), holders(m.next, m.item, "b"); base != 3 || next != 3 {
				t.Errorf("%d old owners and %d next ones hold it", base, next)
			}
			if len(res.State.Versions) != 1 || m.both[0].learnt != 1 || m.both[0].ring() != m.joint {
				t.Errorf("%d versions, learnt %d times: %v", len(res.State.Versions), m.both[0].learnt, m.both[0].ring().Number)
			}
		})
	})
	t.Run("get and page", func(t *testing.T) {
		for _, read := range []string{"get", "page"} {
			bubble(t, func(t *testing.T) {
				m := newLateMove(t, func(m *fakeMove) []*fakeNode { return slices.Concat(m.both, only(m.base, m.next)) })
				// The old owners are cut off from the move, but one: what was written since is known to the next ones, and to it.
				told := only(m.base, m.next)[0]
				told.has(m.joint)
				state := mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{}))
				for _, n := range append(only(m.next, m.base), told) {
					n.merge(m.item, state, ring.NodeID{})
				}
				by := m.both[0]
				by.mu.Lock()
				by.health[only(m.base, m.next)[1].id] = Down // so that the one that was told is asked
				by.mu.Unlock()
				var items int
				var err error
				if read == "get" {
					var got GetResult
					got, err = by.coord.Get(t.Context(), m.read())
					items = len(got.State.Versions)
				} else {
					var page Page
					page, err = by.coord.Range(t.Context(), m.page(true))
					items = len(page.Items)
				}
				if err != nil || items != 1 || by.learnt == 0 {
					t.Errorf("%s: %d, %v; learnt %d times", read, items, err, by.learnt)
				}
			})
		}
	})
}

// The ring changes while the messages of a write are on their way.
func TestAMoveBeginsInTheMidstOfAWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newLateMove(t, func(m *fakeMove) []*fakeNode { return slices.Collect(maps.Values(m.nodes)) })
		for _, n := range m.nodes {
			n.delay = 20 * time.Millisecond
		}
		time.AfterFunc(10*time.Millisecond, func() {
			for _, n := range m.nodes {
				if n != m.both[0] {
					n.has(m.joint)
				}
			}
		})
		put(t, m.both[0], m.write(1))
		if next := holders(m.next, m.item, "b"); next < 2 || m.both[0].learnt == 0 {
			t.Errorf("acknowledged with %d of the next owners; learnt %d times", next, m.both[0].learnt)
		}
	})
}

// What is over for good ends: with the outcome unknown where something was minted, and a word that another node must go on.
func TestReplanningEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newLateMove(t, func(m *fakeMove) []*fakeNode { return only(m.base, m.next)[:1] })
		committed, err := m.joint.Commit()
		if err != nil {
			t.Fatal(err)
		}
		m.epoch = committed
		by := only(m.base, m.next)[0]
		_, err = by.coord.Put(t.Context(), m.write(1))
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("put by one that is no owner any more: %v", err)
		}
	})
	bubble(t, func(t *testing.T) {
		m := newLateMove(t, theOneThatStays)
		by := m.both[0]
		unlearnt := 0
		by.coord.Cluster.Learn = func(context.Context, ring.NodeID, uint64) error { unlearnt++; return errDown }
		if _, err := by.coord.Put(t.Context(), m.write(1)); !errors.Is(err, ErrUnknown) || unlearnt != 1 {
			t.Errorf("put that can't learn: %v, after %d tries", err, unlearnt)
		}
		// Whoever claims to have told, and has not, is not believed twice.
		by.coord.Cluster.Learn = func(context.Context, ring.NodeID, uint64) error { unlearnt++; return nil }
		if _, err := by.coord.Get(t.Context(), m.read()); !errors.Is(err, ErrTooFew) || unlearnt != 2 {
			t.Errorf("get that learns nothing: %v, after %d tries", err, unlearnt)
		}
	})
}

// Restore needs W owners of each layout, and no stand-in.
func TestRestore(t *testing.T) {
	state := mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{}))
	request := func(m *fakeMove) RestoreRequest {
		return RestoreRequest{W: 2, WriteRequest: WriteRequest{Item: m.item, N: 3, State: state}}
	}
	for name, c := range map[string]struct {
		lost func(m *fakeMove) []*fakeNode
		want bool
	}{
		"all":                  {func(*fakeMove) []*fakeNode { return nil }, true},
		"one of each":          {func(m *fakeMove) []*fakeNode { return []*fakeNode{only(m.base, m.next)[0], only(m.next, m.base)[0]} }, true},
		"two of the old":       {func(m *fakeMove) []*fakeNode { return only(m.base, m.next) }, false},
		"two of the next":      {func(m *fakeMove) []*fakeNode { return only(m.next, m.base) }, false},
		"the one that stays":   {theOneThatStays, true},
		"that and one of each": {func(m *fakeMove) []*fakeNode { return []*fakeNode{m.both[0], only(m.next, m.base)[0]} }, false},
	} {
		for _, known := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					m := newFakeMove(t, 12, 6, 3, 1)
					for _, n := range c.lost(m) {
						n.down = true
						if known {
							m.see(n.id, Down)
						}
					}
					holder := m.nodes[m.ids[0]]
					err := holder.coord.Restore(t.Context(), request(m))
					if c.want != (err == nil) || err != nil && !errors.Is(err, ErrUnknown) {
						t.Errorf("%v, want success %v", err, c.want)
					}
					stays := holders(m.base, m.item, "v") >= 2 && holders(m.next, m.item, "v") >= 2
					if stays != c.want {
						t.Errorf("%d and %d hold it", holders(m.base, m.item, "v"), holders(m.next, m.item, "v"))
					}
				})
			})
		}
	}
	t.Run("replanned", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newLateMove(t, theOneThatStays)
			if err := m.both[0].coord.Restore(t.Context(), request(m.fakeMove)); err != nil || holders(m.next, m.item, "v") != 3 {
				t.Errorf("%v; %d next owners hold it", err, holders(m.next, m.item, "v"))
			}
		})
	})
	t.Run("given up in time", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newFakeMove(t, 8, 5, 2, 1)
			for _, n := range m.next {
				n.silent = true
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			err := m.base[0].coord.Restore(ctx, request(m))
			if took := time.Since(begun); !errors.Is(err, ErrUnknown) || took != time.Second {
				t.Errorf("%v, after %v", err, took)
			}
		})
	})
}
