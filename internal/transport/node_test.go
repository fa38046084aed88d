package transport

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testCluster = []byte("0123456789abcdef")

func testIdentity(n byte) Identity {
	return Identity{Cluster: "murmuration", ClusterID: testCluster, NodeID: NodeID{n}, Name: "test"}
}

func options(n *memNet, self Identity) Options {
	return Options{Self: func() Identity { return self }, Dial: n.dial, Logger: slog.New(slog.DiscardHandler)}
}

// testServer is a Server on an in-memory address.
type testServer struct {
	*Server
	gs *grpc.Server
}

func startServer(n *memNet, addr string, o Options, h Handler) *testServer {
	return serveOn(n.listen(addr), o, h)
}

func serveOn(lis net.Listener, o Options, h Handler) *testServer {
	s := &testServer{Server: NewServer(o, h), gs: grpc.NewServer(ServerOptions(o)...)}
	pb.RegisterReplicaServer(s.gs, s.Server)
	go func() { _ = s.gs.Serve(lis) }()
	return s
}

// stop ends the server without waiting for requests in flight.
func (s *testServer) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Server.Close(ctx)
	s.gs.Stop()
}

// pair is a pool of node 1 and a server of node 2 at address "two".
func pair(t *testing.T, h Handler, change func(client, server *Options)) (*memNet, *Pool, *testServer) {
	t.Helper()
	n := newMemNet()
	co, so := options(n, testIdentity(1)), options(n, testIdentity(2))
	if change != nil {
		change(&co, &so)
	}
	for _, o := range []Options{co, so} {
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(n, "two", so, h)
	p := NewPool(co)
	t.Cleanup(func() { p.Close(); s.stop() })
	return n, p, s
}

var peerTwo = Peer{ID: NodeID{2}, Addr: "two"}

// echo answers each request in kind, reads with the item's key as the state.
var echo = HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
	for _, r := range batch {
		r.Reply(replyTo(r.Message))
	}
})

func replyTo(m *pb.PeerRequest) *pb.PeerReply {
	switch b := m.Body.(type) {
	case *pb.PeerRequest_Read:
		return &pb.PeerReply{Body: &pb.PeerReply_Read{Read: &pb.ReadStateReply{State: b.Read.Item.PartitionKey}}}
	case *pb.PeerRequest_Write:
		return &pb.PeerReply{Body: &pb.PeerReply_Write{Write: &pb.WriteStateReply{}}}
	case *pb.PeerRequest_PullState:
		return &pb.PeerReply{Body: &pb.PeerReply_PullState{PullState: &pb.PullStateReply{}}}
	default:
		return &pb.PeerReply{Body: &pb.PeerReply_Ping{Ping: &pb.PingReply{Ready: true}}}
	}
}

func ping() *pb.PeerRequest { return &pb.PeerRequest{Body: &pb.PeerRequest_Ping{Ping: &pb.Ping{}}} }

func read(key string) *pb.PeerRequest {
	return &pb.PeerRequest{Body: &pb.PeerRequest_Read{Read: &pb.ReadState{Item: &pb.ItemAddress{PartitionKey: []byte(key)}}}}
}

func write(size int) *pb.PeerRequest {
	return &pb.PeerRequest{Body: &pb.PeerRequest_Write{Write: &pb.WriteState{State: make([]byte, size)}}}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
