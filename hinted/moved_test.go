package hinted

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Hints whose owners have changed do not wait for a target that is down: what they hold may have counted, and the target may
// never come back. Others do.
func TestHintsThatHaveMovedGoWithoutTheirTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var change atomic.Bool
		g := newRig(t, func(o *Options) {
			o.Moved = func(h storage.Hint) bool { return change.Load() && h.Key.Sort[0] == 'm' }
		})
		g.setDown(peer, true)
		for _, sort := range []string{"m1", "stays1", "m2", "stays2"} {
			g.hint(peer, sort, 10)
		}
		g.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := g.got(peer); len(got) > 0 {
			t.Fatalf("sent to a target that is down: %v", got)
		}
		change.Store(true)
		g.r.RingChanged()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := g.got(peer); !slices.Equal(got, []string{"m1", "m2"}) {
			t.Fatalf("sent %v, want those that have moved", got)
		}
		if got := g.store.HintStats(); len(got) != 1 || got[0].Items != 2 {
			t.Errorf("left: %v", got)
		}
		sends := len(g.sends)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(g.sends) != sends {
			t.Error("sent more although nothing has changed")
		}
		g.setDown(peer, false)
		g.r.Wake(peer)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := g.got(peer); !slices.Equal(got[2:], []string{"stays1", "stays2"}) {
			t.Errorf("sent %v once it was back", got[2:])
		}
	})
}

// A quorum that can't be had now is tried again, without another change of the ring.
func TestHintsThatHaveMovedAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.Moved = func(storage.Hint) bool { return true } })
		g.setDown(peer, true)
		tries := 0
		g.refuse = func(ring.NodeID, Handoff) error {
			if tries++; tries < 4 {
				return errors.New("no quorum")
			}
			return nil
		}
		g.hint(peer, "a", 10)
		g.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := g.store.HintStats(); tries != 4 || len(got) > 0 {
			t.Errorf("after %d tries: %v", tries, got)
		}
	})
}
