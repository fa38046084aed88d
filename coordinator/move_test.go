package coordinator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// fakeMove is an item on its way from one layout to another.
type fakeMove struct {
	*fakeCluster
	item       causal.ItemKey
	base, next []*fakeNode // owners
	both       []*fakeNode // those that stay
	from, to   *ring.Layout
}

// newFakeMove plans a layout for the first so many nodes and then one for all but the first gone, and finds an item with
// three replicas of which so many owners stay.
func newFakeMove(t *testing.T, nodes, before, gone, stay int) *fakeMove {
	t.Helper()
	m := &fakeMove{fakeCluster: newFakeCluster(t, nodes)}
	var members []ring.Member
	for _, id := range m.ids {
		members = append(members, ring.Member{ID: id, Zone: "z", Weight: 1})
	}
	plan := func(members []ring.Member, version uint64, previous *ring.Layout) *ring.Layout {
		l, err := ring.Plan(ring.PlanInput{Members: members, Partitions: 16, Replicas: 3, Version: version, Previous: previous})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	m.from = plan(members[:before], 1, nil)
	m.to = plan(members[gone:], 2, m.from)
	m.epoch = &ring.Epoch{Number: 1, Base: m.from, Next: m.to}
	for i := range 1000 {
		m.item = causal.ItemKey{Bucket: 1, Partition: []byte{byte(i), byte(i >> 8)}}
		p := m.from.PartitionOf(ring.TokenOf(m.item.Bucket, m.item.Partition))
		m.base, m.next, m.both = m.named(m.from.Owners(p, 3)), m.named(m.to.Owners(p, 3)), nil
		for _, n := range m.base {
			if slices.Contains(m.next, n) {
				m.both = append(m.both, n)
			}
		}
		if len(m.both) == stay {
			return m
		}
	}
	t.Fatal("no item moves so")
	return nil
}

func (m *fakeMove) named(ids []ring.NodeID) []*fakeNode {
	var nodes []*fakeNode
	for _, id := range ids {
		nodes = append(nodes, m.nodes[id])
	}
	return nodes
}

// only are the nodes of one set that are not in another.
func only(in, out []*fakeNode) []*fakeNode {
	return slices.DeleteFunc(slices.Clone(in), func(n *fakeNode) bool { return slices.Contains(out, n) })
}

func (m *fakeMove) write(seq byte) PutRequest {
	return PutRequest{Item: m.item, N: 3, W: 2, Strict: true, Write: write(seq, string('a'+rune(seq)), causal.Past{})}
}

func (m *fakeMove) read() GetRequest { return GetRequest{Item: m.item, N: 3, R: 2, Strict: true} }

func holders(nodes []*fakeNode, item causal.ItemKey, value string) int {
	held := 0
	for _, n := range nodes {
		if slices.Contains(values(n.state(item)), value) {
			held++
		}
	}
	return held
}

func TestAWriteInAMoveNeedsBothLayouts(t *testing.T) {
	for _, side := range []string{"old", "next"} {
		t.Run(side, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newFakeMove(t, 8, 5, 2, 1)
				lost, other := only(m.base, m.next), m.next
				if side == "next" {
					lost, other = only(m.next, m.base), m.base
				}
				req := m.write(1)
				put(t, m.both[0], req)
				synctest.Wait()
				if got := holders(m.base, m.item, "b") + holders(m.next, m.item, "b"); got != 6 {
					t.Errorf("%d copies among owners, want all", got)
				}
				// Three of five owners acknowledge, a majority of the union, and all of one layout.
				for _, n := range lost {
					n.down = true
				}
				_, err := m.both[0].coord.Put(t.Context(), m.write(2))
				if q, ok := errors.AsType[*QuorumError](err); !ok || !errors.Is(err, ErrUnknown) || q.Required != 2 || q.Received != 1 {
					t.Errorf("%s owners lost: %v", side, err)
				}
				synctest.Wait()
				if got := holders(other, m.item, "c"); got != 3 {
					t.Errorf("%d owners of the other layout hold it", got)
				}
				for _, n := range lost {
					m.see(n.id, Down)
				}
				_, err = m.both[0].coord.Put(t.Context(), m.write(3))
				if q, ok := errors.AsType[*QuorumError](err); !ok || !errors.Is(err, ErrRefused) || q.Required != 2 || q.Live != 1 {
					t.Errorf("%s owners known to be lost: %v", side, err)
				}
				if live := m.both[0].coord.Route(m.item, 3, true).Live; live != 1 {
					t.Errorf("%d live, want 1", live)
				}
			})
		})
	}
}

// TestAReadInAMoveSeesWhatWasWritten before it, by owners of the old layout alone, in it, and, when it is over, after it.
func TestAReadInAMoveSeesWhatWasWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 8, 5, 2, 1)
		moving := m.epoch
		reads := func(when string, want ...string) {
			t.Helper()
			for _, n := range m.nodes {
				got, err := n.coord.Get(t.Context(), m.read())
				if err != nil || !slices.Equal(values(got.State), want) {
					t.Fatalf("%s: read %q by %v, %v, want %q", when, values(got.State), n.id, err, want)
				}
			}
		}
		m.epoch = ring.Genesis(m.from)
		m.base[2].down = true
		put(t, m.base[0], m.write(0))
		m.epoch = moving
		m.base[2].down = false
		reads("written before", "a")
		if got := holders(m.next, m.item, "a"); got < 2 {
			t.Errorf("%d owners of the next layout hold what was read, want 2", got)
		}
		only(m.next, m.base)[0].down = true
		put(t, m.both[0], m.write(1))
		only(m.next, m.base)[0].down = false
		reads("written in it", "a", "b")
		m.epoch = &ring.Epoch{Number: 2, Base: m.to}
		reads("over", "a", "b")
		put(t, m.next[1], m.write(2))
		reads("written after it", "a", "b", "c")
	})
}

func TestAReadInAMoveAsksFewPlaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 6, 5, 0, 2)
		req := m.read()
		req.Explain = true
		put(t, m.both[0], m.write(0))
		synctest.Wait()
		res, err := only(m.base, m.next)[0].coord.Get(t.Context(), req)
		if err != nil || len(res.Trace.Messages) != 2 || res.Trace.Messages[0].Action != "read" || res.Trace.Messages[1].Action != "digest" {
			t.Fatalf("%+v, %v: want the two owners that stay", res.Trace, err)
		}
		for _, msg := range res.Trace.Messages {
			if !slices.Contains(m.both, m.nodes[msg.Node]) {
				t.Errorf("asked %v, who does not stay", msg.Node)
			}
		}
	})
}

// TestAnOwnerOfOneLayoutMayBeDown: each layout has two others.
func TestAnOwnerOfOneLayoutMayBeDown(t *testing.T) {
	for _, known := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			m := newFakeMove(t, 8, 5, 2, 1)
			for _, n := range []*fakeNode{only(m.base, m.next)[0], only(m.next, m.base)[0]} {
				n.down = true
				if known {
					m.see(n.id, Down)
				}
			}
			res := put(t, m.both[0], m.write(0))
			if res.Required != 2 || res.Received != 2 || res.Fallbacks != 0 {
				t.Errorf("%+v", res.Count)
			}
			got, err := m.both[0].coord.Get(t.Context(), m.read())
			if err != nil || !slices.Equal(values(got.State), []string{"a"}) {
				t.Errorf("read %q, %v", values(got.State), err)
			}
		})
	}
}

// TestAFallbackStandsInForAnOwnerToBe: it counts for the next layout, and hands its copy to that owner.
func TestAFallbackStandsInForAnOwnerToBe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 8, 5, 2, 1)
		gone := only(m.next, m.base)
		for _, n := range gone {
			m.see(n.id, Down)
			n.down = true
		}
		req := m.write(0)
		req.Strict = false
		res := put(t, m.both[0], req)
		if res.Required != 2 || res.Received < 2 {
			t.Errorf("%+v", res.Count)
		}
		synctest.Wait()
		hinted := map[ring.NodeID]int{}
		for _, n := range m.nodes {
			for _, id := range n.hinted(m.item) {
				hinted[id]++
				if slices.Contains(m.base, n) {
					t.Errorf("%v, an owner, holds a hint", n.id)
				}
			}
		}
		if len(hinted) != 2 || hinted[gone[0].id] != 1 || hinted[gone[1].id] != 1 {
			t.Errorf("hints %v, want one for each of the owners to be that are down", hinted)
		}
		read := m.read()
		read.Strict = false
		got, err := m.both[0].coord.Get(t.Context(), read)
		if err != nil || !slices.Equal(values(got.State), []string{"a"}) {
			t.Errorf("read %q, %v", values(got.State), err)
		}
	})
}

// TestThatThereIsNothingTakesAnOwnerOfEachLayout: those of the next may not have pulled what those of the old one hold.
func TestThatThereIsNothingTakesAnOwnerOfEachLayout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 12, 6, 6, 0)
		for _, n := range m.base {
			m.see(n.id, Down)
			n.down = true
		}
		read := m.read()
		read.Strict = false
		if got, err := m.next[0].coord.Get(t.Context(), read); !errors.Is(err, ErrNoOwner) {
			t.Errorf("get: %q, %v, want %v", values(got.State), err, ErrNoOwner)
		}
		if page, err := m.next[0].coord.Range(t.Context(), m.page(false)); !errors.Is(err, ErrNoOwner) {
			t.Errorf("range: %v, %v, want %v", page.Items, err, ErrNoOwner)
		}
		m.see(m.base[1].id, Slow)
		m.base[1].down, m.base[1].delay = false, time.Second
		m.base[1].merge(m.item, mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{})), ring.NodeID{})
		if got, err := m.next[0].coord.Get(t.Context(), read); err != nil || len(got.State.Versions) != 1 {
			t.Errorf("get with a slow owner: %q, %v", values(got.State), err)
		}
	})
}

func (m *fakeMove) page(strict bool) ReadRange {
	prefix := []byte(encodeItem(m.item))
	return ReadRange{
		Bucket: m.item.Bucket, N: 3, R: 2, Strict: strict, Token: ring.TokenOf(m.item.Bucket, m.item.Partition),
		Start: prefix, End: append(bytes.Clone(prefix), 0xff), LimitItems: 5,
	}
}

// TestAPageInAMove shows what only owners of the old layout hold, and brings it to those of the next.
func TestAPageInAMove(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 12, 6, 6, 0)
		state := mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{}))
		for _, n := range m.base[:2] {
			n.merge(m.item, state, ring.NodeID{})
		}
		for _, lost := range []*fakeNode{m.base[1], m.next[2]} {
			lost.down = true
		}
		for _, n := range m.nodes {
			page, err := n.coord.Range(t.Context(), m.page(true))
			if err != nil || len(page.Items) != 1 || page.Required != 2 || page.Received != 2 {
				t.Fatalf("by %v: %+v, %v", n.id, page, err)
			}
		}
		if base, next := holders(m.base, m.item, "v"), holders(m.next, m.item, "v"); base != 3 || next != 2 {
			t.Errorf("%d and %d hold what was shown, want all that could be reached", base, next)
		}
		m.next[1].down = true
		if _, err := m.base[0].coord.Range(t.Context(), m.page(true)); !errors.Is(err, ErrTooFew) {
			t.Errorf("one owner of the next layout left: %v", err)
		}
	})
}

// TestWhoCoordinatesInAMove: owners of either layout, and of the others first those of both, whatever their speed.
func TestWhoCoordinatesInAMove(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 8, 5, 2, 1)
		owners := slices.Concat(m.both, only(m.base, m.next), only(m.next, m.base))
		for _, n := range m.nodes {
			route := n.coord.Route(m.item, 3, true)
			want := slices.Clone(owners)
			if route.Owner != slices.Contains(want, n) {
				t.Errorf("%v coordinates: %v", n.id, route.Owner)
			}
			if got := m.named(route.Others); !slices.Equal(got, only(want, []*fakeNode{n})) || route.Live != 3 {
				t.Errorf("by %v: %v, live %d", n.id, route.Others, route.Live)
			}
		}
	})
}

// TestAMoveThatCutsPartitions: an item's owners in the next layout are those of the part that it falls into.
func TestAMoveThatCutsPartitions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 8, 5, 2, 1)
		cut, err := ring.Split(m.from, 32, 2)
		if err != nil {
			t.Fatal(err)
		}
		var members []ring.Member
		for _, id := range m.ids[2:] {
			members = append(members, ring.Member{ID: id, Zone: "z", Weight: 1})
		}
		next, err := ring.Plan(ring.PlanInput{Members: members, Partitions: 32, Replicas: 3, Version: 3, Previous: cut})
		if err != nil {
			t.Fatal(err)
		}
		if m.epoch, err = ring.Genesis(m.from).Begin(next); err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			m.item.Partition = []byte{byte(i)}
			token := ring.TokenOf(m.item.Bucket, m.item.Partition)
			m.base = m.named(m.from.Owners(m.from.PartitionOf(token), 3))
			m.next = m.named(next.Owners(next.PartitionOf(token), 3))
			put(t, m.base[0], m.write(1))
			synctest.Wait()
			if base, next := holders(m.base, m.item, "b"), holders(m.next, m.item, "b"); base != 3 || next != 3 {
				t.Fatalf("item %d: %d owners of the old layout and %d of the next hold it", i, base, next)
			}
			got, err := m.next[0].coord.Get(t.Context(), m.read())
			if err != nil || !slices.Equal(values(got.State), []string{"b"}) {
				t.Fatalf("item %d: %q, %v", i, values(got.State), err)
			}
		}
	})
}

// TestAPageEndsWithItsPartition as its plan has it: partitions may have been cut since the caller looked.
func TestAPageEndsWithItsPartition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newFakeMove(t, 5, 5, 0, 3)
		cut, err := ring.Split(m.from, 64, 2)
		if err != nil {
			t.Fatal(err)
		}
		if m.epoch, err = ring.Genesis(m.from).Begin(cut); err != nil {
			t.Fatal(err)
		}
		_, whole := m.from.PartitionRange(0)
		_, part := cut.PartitionRange(0)
		behind := binary.BigEndian.AppendUint64(nil, uint64(part)+1)
		for _, n := range m.nodes {
			n.items[string(binary.BigEndian.AppendUint64(nil, 5))+"\x01x"] = mintOn(causal.State{}, 9, 2000, write(1, "in it", causal.Past{}))
			n.items[string(behind)+"\x01x"] = mintOn(causal.State{}, 9, 2001, write(2, "behind it", causal.Past{}))
		}
		read := m.page(true)
		read.Token, read.Start, read.End = 0, nil, binary.BigEndian.AppendUint64(nil, uint64(whole)+1)
		for _, n := range m.nodes {
			page, err := n.coord.Range(t.Context(), read)
			if err != nil || len(page.Items) != 1 || !page.Done || page.Through != part {
				t.Errorf("by %v: %+v, %v; want one item, done through %x", n.id, page, err, part)
			}
		}
	})
}
