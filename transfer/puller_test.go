package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t)) })
}

func TestPull(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.claim(r.sources[id(1)], 700, 0)
		r.claim(r.sources[id(2)], 600, 0)
		p := r.pulled()
		r.has(1, 2, 3) // what is at one of three only is at none: all are at two
		got := p.Progress()
		if got.Ranges != 1 || got.Done != 1 || got.Items != 1200 || got.Bytes < 1200*2<<10 ||
			got.Errors != 0 || got.BytesLeft != 0 || len(got.Sources) != 0 {
			t.Errorf("progress %+v", got)
		}
		if c := r.store.ClaimOf(3, 0); c.Floor != 700 || c.PurgeLevel != 0 {
			t.Errorf("it claims %+v, want the highest floor of its sources", c)
		}
		if left, err := r.store.PulledOf(r.work.Move); err != nil || len(left) != 0 {
			t.Errorf("cursors are left: %v, %v", left, err)
		}
	})
}

// What a source has come to claim while it was read does not speak of the pages that were read before.
func TestFloorIsOfTheBeginning(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.claim(r.sources[id(1)], 50, 0)
		r.meddle = func(ring.NodeID, *Page, *error) { r.claim(r.sources[id(1)], causal.HLC(50+len(r.asked)), 0) }
		r.pulled()
		if c := r.store.ClaimOf(3, 0); c.Floor != 50 {
			t.Errorf("it claims %+v", c)
		}
	})
}

// The new owner loses power at each page: it goes on where it was, and is complete only when all is there.
func TestCrashAtEachPage(t *testing.T) {
	for at, crashed := 1, true; crashed; at++ {
		crashed = false
		bubble(t, func(t *testing.T, r *rig) {
			r.fill()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			r.meddle = func(_ ring.NodeID, _ *Page, _ *error) {
				if len(r.asked) == at {
					crashed = true
					cancel()
				}
			}
			r.o.Store = r.store
			p, err := New(r.o)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Pull(ctx, 6, []Work{r.work}); (err != nil) != crashed {
				t.Fatalf("page %d: %v", at, err)
			}
			if !crashed {
				return
			}
			r.crash()
			if r.complete() {
				t.Fatalf("complete after page %d", at)
			}
			r.meddle, r.asked = nil, nil
			r.pulled()
			r.has(1, 2, 3)
			if resumed := r.asked[0].After != nil || r.asked[0].Move != r.work.Move; at > 1 && at%6 != 0 && !resumed && len(r.asked) > 12-at+1 {
				t.Errorf("after page %d it began anew: %d pages more", at, len(r.asked))
			}
		})
	}
}

// A source that goes in the middle is left for another; one that comes back is gone on with.
func TestSourceGoes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.meddle = func(from ring.NodeID, _ *Page, err *error) {
			if from == id(1) && len(r.asked) == 2 {
				r.down[id(1)] = true
				*err = errors.New("connection lost")
			}
		}
		r.pulled()
		r.has(2, 3)
		if last := r.of[len(r.of)-1]; last != id(3) {
			t.Errorf("the last that was asked is %v", last)
		}
	})
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.work.Sources = r.work.Sources[:2]
		r.meddle = func(_ ring.NodeID, _ *Page, err *error) {
			if len(r.asked) == 2 {
				*err = errors.New("it was restarted")
			}
		}
		r.pulled()
		r.has(1, 2)
		begun := 0
		for _, ask := range r.asked {
			if ask.After == nil {
				begun++
			}
		}
		if begun != 2 {
			t.Errorf("%d pulls from the beginning, want one of each source", begun)
		}
	})
}

var errStale = errors.New("stale")

// When the ring has changed what was read before counts for nothing, neither in part nor whole.
func TestStaleInMidPull(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.meddle = func(from ring.NodeID, _ *Page, err *error) {
			if from != id(1) && len(r.asked) > 7 {
				*err = errStale
			}
		}
		r.stuck(errStale)
		r.meddle, r.asked = nil, nil
		r.work.Changed = 7
		if _, err := r.pull(7, time.Hour); err != nil {
			t.Fatal(err)
		}
		begun := map[int]bool{}
		for i, ask := range r.asked {
			if ask.After == nil {
				begun[i] = true
			}
		}
		if len(begun) != 2 {
			t.Errorf("%d sources were read from the beginning, want two: old ones and new ones make no quorum", len(begun))
		}
	})
	bubble(t, func(t *testing.T, r *rig) { // but what has not changed is gone on with
		r.fill()
		r.meddle = func(from ring.NodeID, _ *Page, err *error) {
			if from != id(1) {
				*err = errStale
			}
		}
		r.stuck(errStale)
		r.meddle, r.asked, r.of = nil, nil, nil
		if _, err := r.pull(7, time.Hour); err != nil || slices.Contains(r.of, id(1)) {
			t.Errorf("source 1 was read again, %v", err)
		}
	})
}

// One range is pulled for one origin at a time: what is complete for one is not for another.
func TestTwoOrigins(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.pulled()
		r.work.Origin, r.work.Changed = 7, 7
		if r.complete() {
			t.Fatal("complete for an owner set that nothing was pulled for")
		}
		r.put("new", 10, 1, 2)
		if _, err := r.pull(7, time.Hour); err != nil || !r.complete() {
			t.Fatal(err)
		}
		r.has(1, 2)
	})
}

func TestHostilePages(t *testing.T) {
	foreign := Item{Key: itemKey(9, storage.AppendRangeKey(nil, itemOf(9, "x"))), State: causal.AppendState(nil, causal.State{})}
	wide, _ := causal.Mint(causal.Siblings, causal.State{}, 1, 1, causal.Write{Value: make([]byte, MaxBytes/2)})
	large := causal.AppendState(nil, wide)
	var many []Item // all of them such as there may be
	for i := range MaxItems + 1 {
		key := itemKey(bucket, storage.AppendRangeKey(nil, itemOf(bucket, fmt.Sprint(i))))
		many = append(many, Item{key, causal.AppendState(nil, causal.State{})})
	}
	slices.SortFunc(many, func(a, b Item) int { return bytes.Compare(a.Key, b.Key) })
	for name, c := range map[string]struct {
		change func(*Page)
		why    error
		sealed bool // the checksum stays what it was
	}{
		"wrong checksum":       {func(p *Page) { p.Items[0].State[0] ^= 1 }, ErrPage, true},
		"an item less":         {func(p *Page) { p.Items = p.Items[1:] }, ErrPage, true},
		"no progress":          {func(p *Page) { p.Items, p.More = nil, true }, ErrPage, false},
		"out of order":         {func(p *Page) { p.Items[0], p.Items[1] = p.Items[1], p.Items[0] }, ErrPage, false},
		"twice":                {func(p *Page) { p.Items[1] = p.Items[0] }, ErrPage, false},
		"no key":               {func(p *Page) { p.Items[0].Key = p.Items[0].Key[:5] }, ErrPage, false},
		"no state":             {func(p *Page) { p.Items[0].State = []byte("?") }, ErrPage, false},
		"outside of the range": {func(p *Page) { p.Items[0].Key[8] ^= 0x80 }, ErrPage, false},
		"at a wrong token":     {func(p *Page) { p.Items[0].Key[15] ^= 1 }, ErrPage, false},
		"too many bytes":       {func(p *Page) { p.Items[0].State, p.Items[1].State = large, large }, ErrPage, false},
		"too many items":       {func(p *Page) { p.Items = many }, ErrPage, false},
		"impossible claims":    {func(p *Page) { p.Floor, p.PurgeLevel = 5, 6 }, ErrPage, false},
		"a bucket unheard of":  {func(p *Page) { p.Items = append(p.Items, foreign) }, ErrBucket, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				for i := range 9 {
					r.put(string(rune('a'+i)), 10, 1, 2, 3)
				}
				r.meddle = func(_ ring.NodeID, p *Page, _ *error) {
					if len(p.Items) == 0 {
						return
					}
					c.change(p)
					if !c.sealed {
						p.Sum = SumOf(p.Items)
					}
				}
				r.stuck(c.why)
				if n := len(held(t, r.store)); n != 0 {
					t.Errorf("%d items were taken", n)
				}
			})
		})
	}
}

// A source with an item that it can't read does not count; nor one that is being rebuilt, or holds what it can't place.
func TestSourcesThatDoNotCount(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(*rig, *storage.Store) error
		why  error
		heal func(*rig, *storage.Store) error
	}{
		"damaged": {
			func(_ *rig, s *storage.Store) error { return s.Damage(context.Background(), itemOf(bucket, "p3")) }, ErrDamaged,
			func(r *rig, s *storage.Store) error {
				ctx := context.Background()
				for _, key := range s.TakeNoticed() {
					if _, err := s.SetAside(ctx, key); err != nil {
						return err
					}
				}
				r.stuck(ErrDamaged) // a mark in its place is no better
				state, err := r.sources[id(2)].Get(ctx, itemOf(bucket, "p3"))
				if err == nil {
					_, err = s.Mend(ctx, storage.Mend{Key: itemOf(bucket, "p3"), State: state})
				}
				return err
			},
		},
		"rebuilding": {
			func(_ *rig, s *storage.Store) error {
				return s.SetClaims(context.Background(), 0, []storage.Claim{{N: 3, Rebuilding: true}})
			}, ErrRebuilding,
			func(_ *rig, s *storage.Store) error {
				return s.SetClaims(context.Background(), 0, []storage.Claim{{N: 3}})
			},
		},
		"unknown bucket": {
			func(r *rig, s *storage.Store) error {
				state := r.put("x", 1, 3)
				return errors.Join(s.Merge(context.Background(), []storage.Merge{{Key: itemOf(8, "x"), State: state}})...)
			}, ErrBucket,
			func(_ *rig, s *storage.Store) error { return s.DropBucket(context.Background(), 8) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.fill()
				first := r.sources[id(1)]
				if err := c.harm(r, first); err != nil {
					t.Fatal(err)
				}
				r.down[id(3)] = true
				r.stuck(c.why)
				r.down[id(3)] = false
				r.pulled() // from the two others
				r.has(2, 3)
				r.work.Origin, r.down[id(3)] = 9, true
				r.stuck(c.why)
				if err := c.heal(r, first); err != nil {
					t.Fatal(err)
				}
				r.pulled()
				r.has(1, 2)
			})
		})
	}
}

// The own data is a source if this node is an owner, but not while some of it is damaged or it is rebuilt.
func TestSelfCounts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.work.Self, r.work.Standing = true, Vouching
		r.work.Sources = r.work.Sources[:1]
		r.merge(r.store, "own", r.put("own", 10))
		if err := r.store.Damage(t.Context(), itemOf(bucket, "own")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.store.Get(t.Context(), itemOf(bucket, "own")); err == nil {
			t.Fatal("the record is sound")
		}
		for _, key := range r.store.TakeNoticed() {
			if _, err := r.store.SetAside(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		r.stuck(nil)
		if _, err := r.store.Mend(t.Context(), storage.Mend{Key: itemOf(bucket, "own")}); err != nil {
			t.Fatal(err)
		}
		if err := r.store.SetClaims(t.Context(), 0, []storage.Claim{{N: 3, Rebuilding: true}}); err != nil {
			t.Fatal(err)
		}
		r.stuck(ErrRebuilding)
		r.claim(r.store, 0, 0)
		r.pulled()
		r.has(1)
	})
}
