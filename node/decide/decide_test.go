package decide

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/internal/paxos"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// TestDecides: one after another, by different nodes, one of them no acceptor; all come to know it.
func TestDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 2, nil)
		begun := w.begin(w.epoch(0), 0, 1, 2, 3)
		aborted := must(begun.Abort())
		again := must(aborted.Begin(layout(t, aborted.Base, 1, 0, 1, 3)))
		committed := must(again.Commit())
		for i, step := range []struct {
			at int
			e  *ring.Epoch
		}{{0, begun}, {1, aborted}, {4, again}, {0, committed}, {2, w.begin(committed, 0, 1)}} {
			got, err := w.propose(step.at, step.e, 5*time.Second)
			if err != nil || !equal(got, step.e) || !equal(w.epoch(step.at), step.e) {
				t.Fatalf("step %d: %v", i, err)
			}
			if again, err := w.propose(step.at, step.e, time.Second); err != nil || !equal(again, step.e) {
				t.Fatalf("step %d again: %v", i, err)
			}
			time.Sleep(5 * time.Second) // who was told, was
			for j := range 4 {
				if j < 3 && !equal(w.epoch(j), step.e) {
					t.Fatalf("step %d: node %d is at %d", i, j, w.epoch(j).Number)
				}
			}
		}
	})
}

// TestRivals: two and three nodes propose different things for one number, over a bad network. One is decided, all report
// the same, and who lost is told what won.
func TestRivals(t *testing.T) {
	lost, won := 0, 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 4))
			size := 3 + 2*rng.IntN(2)
			w := newWorld(t, size, 0, nil)
			w.rng, w.loss, w.again, w.slow = rng, 0.2*rng.Float64(), 0.3, 200*time.Millisecond
			first := w.epoch(0)
			wishes := []*ring.Epoch{w.begin(first, 0, 1), w.begin(first, 1, 2), w.begin(first, 0, 2)}[:2+rng.IntN(2)]
			errs := make([]error, len(wishes))
			var all sync.WaitGroup
			for i, e := range wishes {
				all.Go(func() { _, errs[i] = w.propose(i, e, time.Minute) })
			}
			all.Wait()
			winners := 0
			var decided *ring.Epoch
			for i, err := range errs {
				var l *LostError
				switch {
				case err == nil:
					winners++
					won++
					decided = wishes[i]
				case !errors.As(err, &l) || l.Number != 1 || l.Won == nil || equal(l.Won, wishes[i]):
					t.Errorf("seed %d: proposer %d: %v", seed, i, err)
				default:
					lost++
				}
			}
			if winners != 1 {
				t.Fatalf("seed %d: %d have won: %v", seed, winners, errs)
			}
			for i := range wishes {
				if !equal(w.epoch(i), decided) {
					t.Errorf("seed %d: node %d has another epoch", seed, i)
				}
			}
		})
	}
	if lost == 0 || won == 0 {
		t.Errorf("%d won, %d lost", won, lost)
	}
}

// TestMinority: who sees that no majority lives refuses at once; who does not know says by its deadline that it does not
// know what came of it. Nothing is decided, and later the rest may decide something else.
func TestMinority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, 1, nil)
		e := w.begin(w.epoch(0), 0, 1)
		w.change(func() { w.dead[nodeID(2)], w.dead[nodeID(3)], w.dead[nodeID(4)] = true, true, true })
		for _, at := range []int{0, 5} {
			var m *MajorityError
			start := time.Now()
			_, err := w.propose(at, e, time.Minute)
			want := MajorityError{Number: 1, Required: 3, Live: 2, Members: 5}
			if !errors.As(err, &m) || *m != want || time.Since(start) > time.Second {
				t.Errorf("node %d: %v", at, err)
			}
		}
		if raw, err := w.nodes[0].store.Meta(metaRecord); raw != nil || err != nil {
			t.Error("a refusal has left a promise")
		}
		w.change(func() { w.cut, w.dead = w.dead, w.cut })
		for _, at := range []int{0, 5} {
			start := time.Now()
			_, err := w.propose(at, e, 10*time.Second)
			if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 11*time.Second {
				t.Errorf("node %d, cut off: %v after %v", at, err, time.Since(start))
			}
		}
		if w.epoch(0).Number != 0 || w.epoch(1).Number != 0 {
			t.Error("a minority has decided")
		}
		w.change(func() { clear(w.cut); w.cut[nodeID(0)] = true })
		other := w.begin(w.epoch(2), 2, 3)
		if _, err := w.propose(3, other, time.Minute); err != nil && !errors.Is(err, ErrLost) {
			t.Errorf("the majority: %v", err)
		}
		// What was away learns what was decided when it proposes.
		w.change(func() { clear(w.cut) })
		if _, err := w.propose(0, e, time.Minute); !equal(w.epoch(0), w.epoch(3)) || err != nil && !errors.Is(err, ErrLost) {
			t.Errorf("the one that was away: %v", err)
		}
	})
}

// TestAway: a node that missed two epochs is asked to take part in the third, and is brought up to date for that.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0, nil)
		w.change(func() { w.dead[nodeID(2)] = true })
		begun := w.begin(w.epoch(0), 0, 1)
		aborted := must(begun.Abort())
		for _, e := range []*ring.Epoch{begun, aborted} {
			if _, err := w.propose(0, e, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		w.change(func() { clear(w.dead); w.dead[nodeID(1)] = true })
		if w.epoch(2).Number != 0 {
			t.Fatal("it was not away")
		}
		third := must(aborted.Begin(layout(t, aborted.Base, 1, 1, 2)))
		if _, err := w.propose(0, third, time.Minute); err != nil || w.epoch(0).Number != 3 {
			t.Fatal(err)
		}
		// And who proposes for a number that is taken hears of what took it.
		w.change(func() { clear(w.dead) })
		if w.epoch(1).Number >= 3 {
			t.Fatal("node 1 was not away")
		}
		late := must(aborted.Begin(layout(t, aborted.Base, 1, 0, 2)))
		if _, err := w.propose(1, late, time.Minute); !errors.Is(err, ErrLost) || w.epoch(1).Number != 3 {
			t.Errorf("late: %v", err)
		}
	})
}

// TestAbstaining: it answers nobody, and its own wishes go to another; with it alone missing the others decide.
func TestAbstaining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0, nil)
		w.change(func() { w.nodes[0].abstains = true })
		e := w.begin(w.epoch(0), 0, 1)
		ask := &pb.Decide{Step: pb.Decide_STEP_PREPARE, Instance: 1, Counter: 1}
		if _, err := w.nodes[0].d.Handle(t.Context(), nodeID(1), ask); !errors.Is(err, ErrAbstains) {
			t.Errorf("asked: %v", err)
		}
		if got, err := w.propose(0, e, time.Minute); err != nil || !equal(got, e) {
			t.Errorf("its own wish: %v", err)
		}
		if raw, _ := w.nodes[0].store.Meta(metaRecord); raw != nil {
			t.Error("it has promised something")
		}
		w.change(func() { w.nodes[1].abstains, w.nodes[2].abstains = true, true })
		if _, err := w.propose(0, must(e.Abort()), 5*time.Second); !errors.Is(err, ErrUnknown) {
			t.Errorf("when all abstain: %v", err)
		}
	})
}

// TestClosing: a proposal under way ends with the node, and says that its outcome is unknown.
func TestClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0, nil)
		w.change(func() { w.cut[nodeID(1)], w.cut[nodeID(2)] = true, true })
		done := make(chan error)
		go func() {
			_, err := w.nodes[0].d.Propose(context.Background(), w.begin(w.epoch(0), 0, 1))
			done <- err
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.nodes[0].d.Propose(ctx, w.begin(w.epoch(0), 0, 2))
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnknown) {
			t.Errorf("behind another at the same node: %v", err)
		}
		w.nodes[0].d.Close()
		if err := <-done; !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// TestRecordFromLaterOn: an acceptor whose document is older than its promise answers nobody before it has caught up.
func TestRecordFromLaterOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0, nil)
		w.change(func() { w.dead[nodeID(2)] = true }) // so that node 1 counts
		old := w.nodes[1].m.Document()
		begun := w.begin(w.epoch(0), 0, 1)
		for _, e := range []*ring.Epoch{begun, must(begun.Abort())} {
			if _, err := w.propose(0, e, time.Minute); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		if err := w.nodes[1].store.SetMeta("cluster/document", old); err != nil {
			t.Fatal(err)
		}
		w.start(1)
		ask := &pb.Decide{Step: pb.Decide_STEP_PREPARE, Instance: 3, Counter: 1 << 30}
		if _, err := w.nodes[1].d.Handle(t.Context(), nodeID(2), ask); !errors.Is(err, paxos.ErrSetup) {
			t.Errorf("too old a document: %v", err)
		}
		if _, err := w.nodes[1].m.Exchange(t.Context(), nodeID(0)); err != nil {
			t.Fatal(err)
		}
		reply, err := w.nodes[1].d.Handle(t.Context(), nodeID(2), proto.CloneOf(ask))
		if err != nil || reply.GetKind() != pb.DecideReply_KIND_PROMISED {
			t.Errorf("caught up: %v, %v", reply, err)
		}
	})
}
