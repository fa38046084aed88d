package decide

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/internal/paxos"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// TestHandle: what no proposer sends is refused, and changes nothing.
func TestHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1, nil)
		d := w.nodes[0].d
		good := w.begin(w.epoch(0), 0, 1)
		encoded := ring.AppendEpoch(nil, good)
		for name, c := range map[string]struct {
			from ring.NodeID
			req  *pb.Decide
		}{
			"nothing":       {nodeID(1), &pb.Decide{}},
			"nobody":        {ring.NodeID{}, &pb.Decide{Step: 1, Instance: 1, Counter: 1}},
			"unknown step":  {nodeID(1), &pb.Decide{Step: 9, Instance: 1, Counter: 1}},
			"no counter":    {nodeID(1), &pb.Decide{Step: 1, Instance: 1}},
			"instance 0":    {nodeID(1), &pb.Decide{Step: 1, Counter: 1}},
			"high counter":  {nodeID(1), &pb.Decide{Step: 1, Instance: 1, Counter: 1 << 63}},
			"stranger":      {nodeID(3), &pb.Decide{Step: 1, Instance: 1, Counter: 1}},
			"no value":      {nodeID(1), &pb.Decide{Step: 2, Instance: 1, Counter: 1}},
			"garbage":       {nodeID(1), &pb.Decide{Step: 2, Instance: 1, Counter: 1, Value: []byte("garbage")}},
			"a large value": {nodeID(1), &pb.Decide{Step: 2, Instance: 1, Counter: 1, Value: make([]byte, paxos.MaxValueBytes+1)}},
			"no successor":  {nodeID(1), &pb.Decide{Step: 2, Instance: 1, Counter: 1, Value: ring.AppendEpoch(nil, must(good.Abort()))}},
			"the present":   {nodeID(1), &pb.Decide{Step: 2, Instance: 1, Counter: 1, Value: ring.AppendEpoch(nil, w.epoch(0))}},
			"a stranger's":  {nodeID(3), &pb.Decide{Step: 2, Instance: 1, Counter: 1, Value: encoded}},
		} {
			if reply, err := d.Handle(t.Context(), c.from, c.req); !errors.Is(err, ErrRequest) && !errors.Is(err, paxos.ErrRequest) || reply != nil {
				t.Errorf("%s: %v, %v", name, reply, err)
			}
		}
		if raw, _ := w.nodes[0].store.Meta(metaRecord); raw != nil {
			t.Error("something was promised")
		}
		for _, raw := range [][]byte{nil, []byte("garbage"), make([]byte, paxos.MaxValueBytes+1)} {
			if _, err := d.HandlePropose(t.Context(), &pb.ProposeEpoch{Value: raw}); !errors.Is(err, ErrRequest) {
				t.Errorf("a wish of %d bytes: %v", len(raw), err)
			}
		}
		reply, err := w.nodes[3].d.HandlePropose(t.Context(), &pb.ProposeEpoch{Value: encoded})
		if err != nil || reply.GetOutcome() != pb.ProposeEpochReply_OUTCOME_ELSEWHERE {
			t.Errorf("a wish handed to who is no acceptor: %v, %v", reply, err)
		}
		reply, err = d.HandlePropose(t.Context(), &pb.ProposeEpoch{Value: ring.AppendEpoch(nil, must(good.Abort()))})
		if err != nil || reply.GetOutcome() != pb.ProposeEpochReply_OUTCOME_INVALID {
			t.Errorf("a wish that can't follow: %v, %v", reply, err)
		}
		for at := range 4 {
			if _, err := w.propose(at, must(good.Abort()), time.Second); !errors.Is(err, ring.ErrSuccession) {
				t.Errorf("proposed at node %d: %v", at, err)
			}
		}
	})
}

// TestHostileAnswers: an acceptor that answers nonsense is as good as one that does not answer.
func TestHostileAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0, nil)
		id := nodeID(2)
		ballot := func(r *pb.DecideReply) *pb.DecideReply { r.Counter, r.NodeId = 1, id[:]; return r }
		own := nodeID(0)
		for i, m := range []*pb.DecideReply{
			nil, {}, {Kind: 99}, {Kind: 1, Counter: 1, NodeId: []byte("short")}, ballot(&pb.DecideReply{Kind: 1}),
			{Kind: 1, Counter: 1 << 63, NodeId: own[:]}, {Kind: 2, Counter: 2, NodeId: own[:]},
			{Kind: 1, Counter: 1, NodeId: own[:], AcceptedCounter: 5, AcceptedNodeId: id[:]},
			{Kind: 1, Counter: 2, NodeId: own[:], AcceptedCounter: 1, AcceptedNodeId: id[:], Value: []byte("garbage")},
			{Kind: 4}, {Kind: 4, Document: []byte("garbage")}, {Kind: 6, Claims: []byte("garbage")},
		} {
			d := w.nodes[0].d
			e := w.begin(w.epoch(0), 0, 1)
			in, err := instanceAfter(w.epoch(0))
			if err != nil {
				t.Fatal(err)
			}
			d.o.Send = func(context.Context, ring.NodeID, *pb.Decide) (*pb.DecideReply, error) { return m, nil }
			step := paxos.Step{Do: paxos.Prepare, Ballot: paxos.Ballot{Counter: 2, Node: own}}
			if m.GetCounter() == 1 {
				step.Ballot.Counter = 1
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			got, err := d.ask(ctx, &wish{epoch: e, value: ring.AppendEpoch(nil, e), in: in}, id, step)
			cancel()
			if err == nil && !(got.Kind == paxos.Accepted && m.GetCounter() == 2) {
				t.Errorf("answer %d: taken as %+v", i, got)
			}
		}
	})
}
