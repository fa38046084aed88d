package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// watcher is a tap whose purpose can change.
type watcher struct {
	mu  sync.Mutex
	see tap
}

func (w *watcher) pass(m message) fate {
	w.mu.Lock()
	see := w.see
	w.mu.Unlock()
	if see == nil {
		return goesOn
	}
	return see(m)
}

func (w *watcher) set(see tap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.see = see
}

// TestFloorsAreTrue looks at what owners claim of their data in rounds that meet what the order of their steps is there for.
func TestFloorsAreTrue(t *testing.T) {
	for name, story := range map[string]func(*rounds, *watcher){
		"LateWrite": lateWrite, "BrokenExchange": brokenExchange, "LostAtTheEnd": lostAtTheEnd, "OwnerAway": ownerAway,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := new(watcher)
				r := newRounds(t, w.pass, func(*cluster) {})
				for i := range 16 {
					r.put(fmt.Sprint("item-", i))
				}
				time.Sleep(2 * roundEvery)
				r.await("floors rise", twoRounds, func() error { return r.floorsReach(1) })
				story(r, w)
				w.set(nil)
				r.await("owners are together", twoRounds, r.converged)
				r.checkFloors("at the end")
			})
		})
	}
}

// afterRounds waits until owners may have raised their floors again, and holds their claims against their data meanwhile.
func (r *rounds) afterRounds(n int) {
	for over := time.Now().Add(time.Duration(n) * roundEvery); time.Now().Before(over); time.Sleep(time.Second) {
		r.checkFloors("while rounds go on")
		if r.Failed() {
			r.FailNow()
		}
	}
}

// lateWrite: a write whose coordinator is gone reaches one owner while its round's questions are on their way, all of them slowly. It
// is too young to be refused before this owner has attested; so the exchange that comes after that must bring it to the others.
func lateWrite(r *rounds, w *watcher) {
	k := r.keys[0]
	owners := r.owners(k)
	for _, from := range r.all() {
		for _, to := range r.all() {
			r.c.network.set(link{place(from), place(to)}, weather{delay: 20 * time.Millisecond})
		}
	}
	r.passTime(time.Minute)
	var once sync.Once
	w.set(func(m message) fate {
		if m.kind == "Attest" && !m.answer && m.from == place(owners[0]) {
			once.Do(func() { r.late(owners[1], k) })
		}
		return goesOn
	})
	r.afterRounds(2)
}

// brokenExchange: one owner alone has a write, and whenever it is to be compared with another the two are cut off from each other
// until whoever asked has given up.
func brokenExchange(r *rounds, w *watcher) {
	k := r.keys[0]
	alone := place(r.owners(k)[1])
	r.late(int(alone), k)
	partition := uint32(r.holds.layout.PartitionOf(ring.Token(k.Token)))
	w.set(func(m message) fate {
		if slices.Contains(m.request.GetCompareRoots().GetPartitions(), partition) && (m.from == alone || m.to == alone) {
			r.cut(m.from, m.to, true)
			time.AfterFunc(r.c.members[0].cfg.RequestTimeout*6/5, func() { r.cut(m.from, m.to, false) })
		}
		return goesOn
	})
	r.afterRounds(4)
}

func (r *rounds) cut(a, b place, cut bool) {
	r.c.network.set(link{a, b}, weather{cut: cut})
	r.c.network.set(link{b, a}, weather{cut: cut})
}

// lostAtTheEnd: the leader of a round loses an item, silently, and its word that the round is over does not reach the other owners. They
// have the item, and it does not have it; their floors must reach all that it may have purged, so that it is told so.
func lostAtTheEnd(r *rounds, w *watcher) {
	k := r.keys[0]
	owners := r.owners(k)
	leader := owners[0]
	r.passTime(time.Minute)
	w.set(func(m message) fate {
		if m.kind == "RaiseFloors" && !m.answer && m.from == place(leader) {
			return breaks
		}
		return goesOn
	})
	before := r.store(leader).ClaimOf(3, k.Token).Floor
	r.await("the leader raises its floor", twoRounds, func() error {
		if c := r.store(leader).ClaimOf(3, k.Token); c.Floor <= before {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	r.must(r.store(leader).Lose(context.Background(), k, false))
	w.set(nil)
}

// ownerAway: an item is deleted while one owner is down, and no hint tells of it. As long as that owner is down the tombstone stays
// with the others.
func ownerAway(r *rounds, _ *watcher) {
	k := r.keys[0]
	owners := r.owners(k)
	away := owners[2]
	r.c.crash(away, 0)
	if !r.orphan(k, causal.Write{Tombstone: true, Context: r.state(owners[0], k).Context()}, owners[:2]...) {
		r.Fatal("the delete was refused")
	}
	r.deleted[string(k.Partition)] = true
	r.passTime(pastAll)
	time.Sleep(5 * roundEvery)
	for _, i := range owners[:2] {
		if len(r.state(i, k).Versions) == 0 {
			r.Errorf("%s has purged a tombstone that %s, which is down, has not seen", nodeName(i), nodeName(away))
		}
	}
	r.must(r.c.start(away))
	r.must(r.c.awaitReady(healWithin, r.all()))
}
