package decide

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// TestChangeOfMembers: creations of buckets that are open are settled first; one that none can settle does not keep the
// members from changing; who installs the epoch knows the buckets of those that accepted it.
func TestChangeOfMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 2, nil)
		begun := w.begin(w.epoch(0), 2, 3, 4)
		if _, err := w.propose(0, begun, time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		// Two creations leave claims behind: their answers are lost.
		w.change(func() { w.cut[nodeID(1)] = true })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, _, err := w.nodes[1].m.Create(ctx, &pb.Bucket{Name: "open", N: 1}); !errors.Is(err, state.ErrMajority) {
			t.Fatalf("create while cut off: %v", err)
		}
		w.change(func() { clear(w.cut) })
		known, _, err := w.nodes[0].m.Create(t.Context(), &pb.Bucket{Name: "known", N: 2})
		if err != nil {
			t.Fatal(err)
		}
		committed := must(begun.Commit())
		if _, err := w.propose(0, committed, time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for _, i := range []int{2, 3, 4} {
			snap := w.nodes[i].m.Snapshot()
			if b, ok := snap.Bucket("known"); !ok || b.ID != known.ID || snap.Epoch.Number != 2 {
				t.Errorf("node %d, at %d, does not know what was there", i, snap.Epoch.Number)
			}
		}
		if _, _, err := w.nodes[3].m.Create(t.Context(), &pb.Bucket{Name: "known", N: 1}); !errors.Is(err, state.ErrBucketExists) {
			t.Errorf("a rival creation under the new members: %v", err)
		}
	})
}

// TestSettling: an acceptor with an open claim has it settled before it accepts other members.
func TestSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0, nil)
		begun := w.begin(w.epoch(0), 0, 1)
		if _, err := w.propose(0, begun, time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.change(func() { w.cut[nodeID(0)] = true })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, _, err := w.nodes[0].m.Create(ctx, &pb.Bucket{Name: "open", N: 1}); !errors.Is(err, state.ErrMajority) {
			t.Fatal(err)
		}
		w.change(func() { clear(w.cut) })
		accept := &pb.Decide{Step: pb.Decide_STEP_ACCEPT, Instance: 2, Counter: 1, Value: ring.AppendEpoch(nil, must(begun.Commit()))}
		if reply, err := w.nodes[0].d.Handle(t.Context(), nodeID(1), accept); err != nil || reply.GetKind() != pb.DecideReply_KIND_UNSETTLED {
			t.Fatalf("asked to accept: %v, %v", reply.GetKind(), err)
		}
		w.change(func() { w.dead[nodeID(2)] = true })
		if _, err := w.propose(0, must(begun.Commit()), time.Minute); err != nil {
			t.Fatal(err)
		}
		if b, ok := w.nodes[0].m.Snapshot().Bucket("open"); !ok || b.N != 1 {
			t.Error("it was not settled")
		}
	})
}

// TestAcceptanceFences: who has accepted other members tells what it knows, unless the proposer knows the same, and grants no
// claim, also after a restart; once the number is decided otherwise it does again.
func TestAcceptanceFences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0, nil)
		begun := w.begin(w.epoch(0), 0, 1)
		for _, n := range w.nodes {
			if err := n.m.Install(t.Context(), begun); err != nil {
				t.Fatal(err)
			}
		}
		create := func() error {
			_, _, err := w.nodes[0].m.Create(t.Context(), &pb.Bucket{Name: "b", N: 2})
			return err
		}
		accept := &pb.Decide{Step: pb.Decide_STEP_ACCEPT, Instance: 2, Counter: 1, Value: ring.AppendEpoch(nil, must(begun.Commit()))}
		for _, same := range []bool{false, true} {
			if same {
				accept.Document = w.nodes[0].m.Fingerprint()
			}
			reply, err := w.nodes[0].d.Handle(t.Context(), nodeID(1), accept)
			if err != nil || reply.GetKind() != pb.DecideReply_KIND_ACCEPTED || (len(reply.GetDocument()) == 0) != same {
				t.Fatalf("asked to accept: %v, %d bytes of document, %v", reply.GetKind(), len(reply.GetDocument()), err)
			}
		}
		if err := create(); !errors.Is(err, state.ErrMembersChange) {
			t.Errorf("create behind the fence: %v", err)
		}
		w.start(0)
		if err := create(); !errors.Is(err, state.ErrMembersChange) {
			t.Errorf("create after a restart: %v", err)
		}
		for _, n := range w.nodes {
			if err := n.m.Install(t.Context(), must(begun.Abort())); err != nil {
				t.Fatal(err)
			}
		}
		if err := create(); err != nil {
			t.Errorf("create once that is over: %v", err)
		}
	})
}
