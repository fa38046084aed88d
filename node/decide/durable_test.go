package decide

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/node/state"
	"github.com/starling-db/starling/storage"
)

// newDurableWorld is a world on real stores. restart opens what a crash left of a node's disk: nothing that was not synced.
func newDurableWorld(t *testing.T, members int) (w *world, restart func(i int)) {
	t.Helper()
	disks := make([]*vfs.MemFS, members)
	open := func(i int) state.Store {
		s, err := storage.Open(storage.Options{
			Dir: "/data", FS: disks[i], Name: fmt.Sprint("n", i), CacheBytes: 1 << 20, MemTableBytes: 1 << 20, ItemCacheBytes: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	w = newWorld(t, members, 0, func(i int) state.Store {
		disks[i] = vfs.NewCrashableMem()
		return open(i)
	})
	return w, func(i int) {
		t.Helper()
		disks[i] = disks[i].CrashClone(vfs.CrashCloneCfg{})
		w.nodes[i].d.Close()
		w.nodes[i].m.Close()
		w.nodes[i].store = open(i)
		w.start(i)
	}
}

// TestCrashes: the proposer's process, or an acceptor's, ends at each of its writes, before or after it has reached the disk.
// Another finishes or overrides what it began, and after its restart all agree.
func TestCrashes(t *testing.T) {
	crashed := 0
	for _, c := range crashPoints() {
		t.Run(fmt.Sprintf("node %d, %s %d, after %v", c.node, c.document, c.left, c.after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, restart := newDurableWorld(t, 3)
				first := w.epoch(0)
				p := w.nodes[c.node].plug
				p.mu.Lock()
				p.name, p.left, p.after = c.document, c.left, c.after
				p.mu.Unlock()
				mine, theirs := w.begin(first, 0, 1), w.begin(first, 1, 2)
				w.change(func() { w.dead[nodeID(1)] = true }) // so that both of the others count
				got, err := w.propose(0, mine, 20*time.Second)
				w.change(func() { clear(w.dead) })
				if err == nil && !equal(got, mine) || err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrStopped) {
					t.Fatalf("the first: %v", err)
				}
				rival := 2
				if c.node == 2 {
					rival = 1
				}
				_, lost := w.propose(rival, theirs, time.Minute)
				if lost != nil && !errors.Is(lost, ErrLost) {
					t.Fatalf("the second: %v", lost)
				}
				if err == nil && lost == nil {
					t.Fatal("both have won")
				}
				decided := w.epoch(rival)
				time.Sleep(5 * time.Second)
				if p.down() {
					crashed++
				}
				restart(c.node)
				if _, err := w.nodes[c.node].m.Exchange(t.Context(), nodeID(rival)); err != nil {
					t.Fatal(err)
				}
				if _, err := w.propose(c.node, must(decided.Abort()), time.Minute); err != nil {
					t.Fatalf("after the restart: %v", err)
				}
				time.Sleep(5 * time.Second)
				for i := range 3 {
					if w.epoch(i).Number != 2 {
						t.Errorf("node %d is at %d", i, w.epoch(i).Number)
					}
				}
			})
		})
	}
	if want := len(crashPoints()); crashed != want {
		t.Errorf("%d of %d runs came to their crash", crashed, want)
	}
}

type crashPoint struct {
	node     int
	document string
	left     int
	after    bool
}

// crashPoints are the promise, the acceptance and the installation, at the proposer and at another acceptor.
func crashPoints() []crashPoint {
	var out []crashPoint
	for _, node := range []int{0, 2} {
		for _, after := range []bool{false, true} {
			out = append(out, crashPoint{node, metaRecord, 0, after}, crashPoint{node, metaRecord, 1, after},
				crashPoint{node, "cluster/document", 0, after})
		}
	}
	return out
}
