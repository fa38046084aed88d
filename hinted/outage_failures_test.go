package hinted

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/storage"
)

// A target is away for a day, many times the window after which other stores give up, and the holder restarts again and again. All
// that time the debt shows with its age, and at
// the end everything is handed over: there is no window after which hints are given up.
func TestHintsOutliveAnyOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.setDown(peer, true)
		first := time.Now()
		want := g.hints(peer, 20, 10)
		for range 3 {
			g.run()
			pause(8 * time.Hour)
			stats := g.store.HintStats()
			if len(stats) != 1 || stats[0].Target != storage.NodeID(peer) || stats[0].Items != 20 {
				t.Fatalf("after %v: %+v", time.Since(first), stats)
			}
			if oldest := time.UnixMilli(int64(stats[0].Oldest.Millis())); oldest.Sub(first).Abs() > time.Second {
				t.Errorf("after %v the oldest hint is said to be of %v, want %v", time.Since(first), oldest, first)
			}
			g.stop()
			if err := g.store.Close(); err != nil {
				t.Fatal(err)
			}
			g.open()
			g.o.Store = g.store
		}
		g.run()
		pause(time.Minute)
		if got := g.got(peer); len(got) != 0 {
			t.Fatalf("%d were sent to a target that is away", len(got))
		}
		g.setDown(peer, false)
		g.r.Wake(peer)
		pause(time.Minute)
		if got := g.got(peer); len(got) != len(want) || g.left(peer) != 0 {
			t.Errorf("the target took %d of %d, %d are left", len(got), len(want), g.left(peer))
		}
	})
}
