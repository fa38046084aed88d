package transport

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/protobuf/proto"
)

func TestAdmit(t *testing.T) {
	self := testIdentity(2)
	good := testIdentity(1).hello(self.NodeID, time.Now())
	tests := []struct {
		name   string
		change func(*pb.Hello)
		reason string
	}{
		{"the same cluster", func(*pb.Hello) {}, ""},
		{"a candidate", func(h *pb.Hello) { h.ClusterId = nil; h.Incarnation = 0 }, ""},
		{"another protocol", func(h *pb.Hello) { h.Protocol = 2 }, reasonWrongProtocol},
		{"another cluster's name", func(h *pb.Hello) { h.Cluster = "flock" }, "WRONG_CLUSTER"},
		{"a candidate of another cluster", func(h *pb.Hello) { h.ClusterId = nil; h.Cluster = "flock" }, "WRONG_CLUSTER"},
		{"another cluster of the same name", func(h *pb.Hello) { h.ClusterId = []byte("fedcba9876543210") }, "WRONG_CLUSTER"},
		{"another incarnation", func(h *pb.Hello) { h.Incarnation = 1 }, "WRONG_CLUSTER"},
		{"meant for another node", func(h *pb.Hello) { h.ToNodeId = make([]byte, 16) }, reasonWrongNode},
		{"meant for nobody", func(h *pb.Hello) { h.ToNodeId = nil }, reasonWrongNode},
		{"no node id", func(h *pb.Hello) { h.NodeId = nil }, reasonBadHello},
		{"a zero node id", func(h *pb.Hello) { h.NodeId = make([]byte, 16) }, reasonBadHello},
		{"a short cluster id", func(h *pb.Hello) { h.ClusterId = []byte("short") }, reasonBadHello},
		{"a long name", func(h *pb.Hello) { h.Name = string(make([]byte, 300)) }, reasonBadHello},
	}
	for _, tt := range tests {
		h := proto.Clone(good).(*pb.Hello)
		tt.change(h)
		founding, refused := self.admit(h)
		switch {
		case tt.reason == "" && refused != nil, tt.reason != "" && (refused == nil || refused.Reason != tt.reason):
			t.Errorf("%s: %v", tt.name, refused)
		case founding != (refused == nil && len(h.ClusterId) == 0):
			t.Errorf("%s: founding %v", tt.name, founding)
		}
	}
	if _, refused := self.admit(nil); refused == nil {
		t.Error("no Hello was admitted")
	}
}

func TestStrangersRefuseEachOther(t *testing.T) {
	strangers := map[string]func(*Identity){
		"another cluster's name": func(id *Identity) { id.Cluster = "flock" },
		"another cluster's id":   func(id *Identity) { id.ClusterID = []byte("fedcba9876543210") },
		"another incarnation":    func(id *Identity) { id.Incarnation = 7 },
		"another node id":        func(id *Identity) { id.NodeID = NodeID{9} },
	}
	for name, change := range strangers {
		t.Run(name, func(t *testing.T) {
			handled := HandlerFunc(func(context.Context, Peer, *pb.Hello, []*Request) { t.Error("a request was handled") })
			id := testIdentity(2)
			change(&id)
			_, p, s := pair(t, handled, func(_, s *Options) { s.Self = func() Identity { return id } })
			_, err := p.Call(t.Context(), peerTwo, ping())
			var re *RefusedError
			if !errors.As(err, &re) || re.Peer != peerTwo {
				t.Fatalf("got %v", err)
			}
			if st := s.Server.Stats(); st.HellosRefused != 1 || st.Requests != 0 {
				t.Errorf("stats: %+v", st)
			}
		})
	}
}

// A node that restarts on the same address with another id (an empty disk) is not taken for the old one.
func TestAddressTakenByAnotherNode(t *testing.T) {
	n, p, s := pair(t, echo, nil)
	if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
		t.Fatal(err)
	}
	n.kill("two")
	s.stop()
	usurper := startServer(n, "two", options(n, testIdentity(3)), echo)
	defer usurper.stop()
	for {
		_, err := p.Call(t.Context(), peerTwo, ping())
		var re *RefusedError
		if errors.As(err, &re) && re.Reason == reasonWrongNode {
			return
		}
		if err == nil {
			t.Fatal("another node answered")
		}
		p.Wake(peerTwo.ID)
	}
}

func TestCandidatesMayOnlyFoundAndAreTakenIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var client, server atomic.Pointer[Identity]
		become := func(p *atomic.Pointer[Identity], n byte, cluster []byte) {
			id := testIdentity(n)
			id.ClusterID = cluster
			p.Store(&id)
		}
		become(&client, 1, nil)
		become(&server, 2, nil)
		_, p, _ := pair(t, echo, func(c, s *Options) {
			c.Self = func() Identity { return *client.Load() }
			s.Self = func() Identity { return *server.Load() }
		})
		pull := &pb.PeerRequest{Body: &pb.PeerRequest_PullState{PullState: &pb.PullState{}}}
		expect := func(when, readReason string) {
			t.Helper()
			if _, err := p.Call(t.Context(), peerTwo, pull); err != nil {
				t.Errorf("%s: pull: %v", when, err)
			}
			if _, err := p.Call(t.Context(), peerTwo, read("x")); reasonOf(err) != readReason {
				t.Errorf("%s: read: %v", when, err)
			}
		}
		expect("both are candidates", "NOT_READY")
		become(&client, 1, testCluster)
		expect("the caller is taken in", "NOT_READY")
		become(&server, 2, testCluster)
		expect("both are taken in", "")
		become(&client, 1, nil)
		expect("a candidate calls", "WRONG_CLUSTER")

		become(&client, 1, []byte("fedcba9876543210"))
		var re *RefusedError
		if _, err := p.Call(t.Context(), peerTwo, pull); !errors.As(err, &re) {
			t.Errorf("another cluster: %v", err)
		}
	})
}

// A stream ends when the answering side's cluster changes under it.
func TestServerThatChangesItsCluster(t *testing.T) {
	var incarnation atomic.Uint64
	_, p, _ := pair(t, echo, func(_, s *Options) {
		s.Self = func() Identity { id := testIdentity(2); id.Incarnation = incarnation.Load(); return id }
	})
	if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
		t.Fatal(err)
	}
	incarnation.Store(1)
	for range 2 { // on the old stream, and on a new one
		_, err := p.Call(t.Context(), peerTwo, ping())
		var re *RefusedError
		if !errors.As(err, &re) || re.Reason != "WRONG_CLUSTER" {
			t.Errorf("got %v", err)
		}
	}
}

func TestWallClocksAreCompared(t *testing.T) {
	offsets := make(chan time.Duration, 2)
	_, p, _ := pair(t, echo, func(c, s *Options) {
		c.Now = func() time.Time { return time.Now().Add(time.Hour) }
		c.OnWall = func(_ NodeID, d time.Duration) { offsets <- d }
		s.OnWall = func(_ NodeID, d time.Duration) { offsets <- d }
	})
	if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []time.Duration{time.Hour, -time.Hour} {
		if got := <-offsets; (got - want).Abs() > time.Minute {
			t.Errorf("offset %v, expected %v", got, want)
		}
	}
}
