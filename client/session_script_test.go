package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/internal/frames"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// scripted is a node whose sessions do what a test says. A session of which the test says nothing answers every call.
type scripted struct {
	pb.UnimplementedKVServer
	script chan func(*serverSide) error
	alone  atomic.Int32 // gets that came by themselves
}

func (n *scripted) Get(_ context.Context, r *pb.GetRequest) (*pb.GetResponse, error) {
	n.alone.Add(1)
	return &pb.GetResponse{Context: r.GetKey().GetPartitionKey()}, nil
}

// serverSide is a node's side of one session.
type serverSide struct {
	grpc.BidiStreamingServer[pb.SessionRequests, pb.SessionReplies]
	waiting []*pb.SessionRequest
}

// next is the next call, and how many others came in its frame behind it.
func (s *serverSide) next() (call *pb.SessionRequest, behind int, err error) {
	for len(s.waiting) == 0 {
		frame, err := s.Recv()
		if err != nil {
			return nil, 0, err
		}
		s.waiting = frame.GetRequests()
	}
	call = s.waiting[0]
	s.waiting = s.waiting[1:]
	return call, len(s.waiting), nil
}

// answer sends what a node would: the key of a get as the context of its reply.
func (s *serverSide) answer(calls ...*pb.SessionRequest) error {
	frame := &pb.SessionReplies{}
	for _, c := range calls {
		frame.Replies = append(frame.Replies, &pb.SessionReply{Id: c.GetId(), Body: &pb.SessionReply_Get{
			Get: &pb.GetResponse{Context: c.GetGet().GetKey().GetPartitionKey()},
		}})
	}
	return s.Send(frame)
}

// serveAll answers every call until the client goes.
func (s *serverSide) serveAll() error {
	for {
		call, _, err := s.next()
		if err != nil {
			return err
		}
		if err := s.answer(call); err != nil {
			return err
		}
	}
}

// ignoreFirst never answers the first call, and says when it has come.
func ignoreFirst(came chan<- bool) func(*serverSide) error {
	return func(s *serverSide) error {
		if _, _, err := s.next(); err != nil {
			return err
		}
		came <- true
		return s.serveAll()
	}
}

func (n *scripted) Session(st grpc.BidiStreamingServer[pb.SessionRequests, pb.SessionReplies]) error {
	side := &serverSide{BidiStreamingServer: st}
	select {
	case script := <-n.script:
		return script(side)
	default:
		return side.serveAll()
	}
}

// rig is a client's side of the sessions with a scripted node.
type rig struct {
	*endpoint
	*sessions
	t    *testing.T
	node *scripted
	all  sync.WaitGroup
	// gate, unless nil, holds back the opening of sessions until it is closed.
	gate chan struct{}
}

func newRig(t *testing.T, scripts ...func(*serverSide) error) *rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{}
	r := &rig{t: t, endpoint: e, sessions: &e.sessions, node: &scripted{script: make(chan func(*serverSide) error, len(scripts))}}
	for _, script := range scripts {
		r.node.script <- script
	}
	server := grpc.NewServer()
	pb.RegisterKVServer(server, r.node)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) }) // it ends with Stop
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	e.kv = pb.NewKVClient(conn)
	e.sessions.running = &r.all
	e.sessions.open = func(ctx context.Context) (sessionClient, error) {
		if r.gate != nil {
			select {
			case <-r.gate:
			case <-ctx.Done():
				return nil, status.FromContextError(ctx.Err()).Err()
			}
		}
		return e.kv.Session(ctx, grpc.ForceCodecV2(frames.NewCodec()))
	}
	t.Cleanup(func() {
		r.sessions.close()
		r.all.Wait()
		_ = conn.Close()
		server.Stop()
		served.Wait()
	})
	return r
}

func getOf(key string) *pb.GetRequest {
	return &pb.GetRequest{Bucket: "b", Key: &pb.ItemKey{PartitionKey: []byte(key)}}
}

func (r *rig) get(ctx context.Context, key string) (*pb.SessionReply, error) {
	m := getOf(key)
	return r.do(ctx, newSessionCall(kindOfGet, m, proto.Size(m)))
}

// wantGet makes a call that must succeed.
func (r *rig) wantGet(key string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	reply, err := r.get(ctx, key)
	if err != nil || string(reply.GetGet().GetContext()) != key {
		r.t.Errorf("get %s: %v, %v", key, reply, err)
	}
}

// wantFailed checks the error of a call.
func wantFailed(t *testing.T, err error, code codes.Code, reason string, sent bool) {
	t.Helper()
	if got := newError("", "", status.Convert(err)); err == nil || got.Code != code || got.Reason != reason || sentInSession(err) != sent {
		t.Errorf("error %v with reason %q, sent %v; want %v, %q, %v", err, got.Reason, sentInSession(err), code, reason, sent)
	}
}

// waiting is how many calls wait and are under way.
func (r *rig) sizes() (queued, pending int) {
	r.sessions.mu.Lock()
	st := r.cur
	r.sessions.mu.Unlock()
	if st == nil {
		return 0, 0
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.queue), len(st.pending)
}

func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("not within 20 s: ", what)
		}
	}
}

// crowd makes n calls at once, and returns what collects their errors.
func (r *rig) crowd(ctx context.Context, n int) (wait func() []error) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, errs[i] = r.get(ctx, "crowd") })
	}
	return func() []error { wg.Wait(); return errs }
}

func notReadyEnd() error {
	st, err := status.New(codes.Unavailable, "stopping").WithDetails(&errdetails.ErrorInfo{Domain: errorDomain, Reason: reasonNotReady})
	return errors.Join(err, st.Err())
}
