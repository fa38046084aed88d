package node

import (
	"context"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/node/telemetry"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// bareSession is a session without a stream.
func bareSession(t *testing.T) *session {
	n := &Node{metrics: telemetry.NewMetrics("test")}
	s := &session{kv: &kvService{n: n}, inFlight: make(map[uint64]struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(t.Context())
	t.Cleanup(s.cancel)
	return s
}

func gets(from, n int) (calls []*pb.SessionRequest) {
	for id := range n {
		calls = append(calls, &pb.SessionRequest{Id: uint64(from + id), Body: &pb.SessionRequest_Get{Get: &pb.GetRequest{}}})
	}
	return calls
}

func reasonOfReply(r *pb.SessionReply) pb.Reason {
	if r.GetError() == nil {
		return pb.Reason_REASON_UNSPECIFIED
	}
	for _, d := range status.FromProto(r.GetError()).Details() {
		if info, ok := d.(interface{ GetReason() string }); ok {
			return pb.Reason(pb.Reason_value["REASON_"+info.GetReason()])
		}
	}
	return pb.Reason_REASON_INTERNAL
}

// takeAll takes frames until none is left, and checks their bounds.
func takeAll(t *testing.T, s *session) (replies []*pb.SessionReply, frames int) {
	t.Helper()
	for {
		frame, size, _ := s.take()
		if frame == nil {
			return replies, frames
		}
		frames++
		n := len(frame.GetReplies())
		if n == 0 || n > maxSessionCalls || n > 1 && proto.Size(frame) > maxSessionFrame+n*8 {
			t.Fatalf("a frame of %d replies and %d bytes", n, proto.Size(frame))
		}
		s.kv.n.waitingReplies.Add(-int64(size)) // as when it is sent
		replies = append(replies, frame.GetReplies()...)
	}
}

func TestSessionBeginsABoundedNumberOfCalls(t *testing.T) {
	s := bareSession(t)
	const beyond = 10
	begun := s.admit(gets(0, maxSessionCalls+beyond))
	if len(begun) != maxSessionCalls {
		t.Fatalf("%d calls are begun", len(begun))
	}
	refused, _ := takeAll(t, s)
	if len(refused) != beyond {
		t.Fatalf("%d calls are refused", len(refused))
	}
	for _, r := range refused {
		if r.GetId() < maxSessionCalls || reasonOfReply(r) != pb.Reason_REASON_OVERLOADED {
			t.Errorf("%v", r)
		}
	}
	// A place is free as soon as its reply is on its way.
	s.answer(begun[0], &pb.SessionReply{Id: begun[0].GetId()})
	if len(s.admit(gets(5000, 1))) != 0 {
		t.Error("a call is begun though its place is taken")
	}
	takeAll(t, s)
	if len(s.admit(gets(5000, 2))) != 1 {
		t.Error("no place is free though a call is answered")
	}
}

func TestSessionFrames(t *testing.T) {
	s := bareSession(t)
	answer := func(call *pb.SessionRequest, bytes int) {
		s.answer(call, &pb.SessionReply{Id: call.GetId(), Body: &pb.SessionReply_Put{Put: &pb.PutResponse{Context: make([]byte, bytes)}}})
	}
	calls := gets(0, maxSessionCalls)
	for _, c := range calls {
		c.Body = &pb.SessionRequest_Put{}
	}
	s.admit(calls)
	for _, c := range calls {
		answer(c, 10)
	}
	if replies, frames := takeAll(t, s); len(replies) != maxSessionCalls || frames != 1 {
		t.Errorf("%d replies in %d frames", len(replies), frames)
	}
	s.admit(calls)
	for i, size := range []int{300 << 10, 300 << 10, 300 << 10, 300 << 10, 3 << 20, 10} {
		answer(calls[i], size)
	}
	if replies, frames := takeAll(t, s); len(replies) != 6 || frames != 4 {
		t.Errorf("%d replies in %d frames", len(replies), frames)
	}
	if s.bytes != 0 || len(s.inFlight) != maxSessionCalls-6 {
		t.Errorf("%d bytes wait, %d calls are under way", s.bytes, len(s.inFlight))
	}
}

// Replies that nobody reads hold so much and no more, and what may have been done is not said to be undone.
func TestSessionRepliesAreBounded(t *testing.T) {
	s := bareSession(t)
	calls := gets(0, maxSessionCalls)
	for i, c := range calls {
		switch i % 3 {
		case 1:
			c.Body = &pb.SessionRequest_Put{}
		case 2:
			c.Body = &pb.SessionRequest_Delete{}
		}
	}
	large := func(c *pb.SessionRequest) *pb.SessionReply {
		return &pb.SessionReply{Id: c.GetId(), Body: &pb.SessionReply_Get{Get: &pb.GetResponse{Context: make([]byte, 900<<10)}}}
	}
	for _, c := range s.admit(calls) {
		s.answer(c, large(c))
	}
	if s.bytes > maxSessionReplies+maxSessionCalls*smallReply {
		t.Errorf("%d bytes wait", s.bytes)
	}
	replies, _ := takeAll(t, s)
	count := make(map[pb.Reason]int)
	for _, r := range replies {
		reason := reasonOfReply(r)
		count[reason]++
		want := pb.Reason_REASON_OUTCOME_UNKNOWN
		if r.GetId()%3 == 0 {
			want = pb.Reason_REASON_OVERLOADED
		}
		if reason != fineReply && reason != want {
			t.Errorf("call %d is answered %v", r.GetId(), reason)
		}
	}
	if len(replies) != maxSessionCalls || count[fineReply] != maxSessionReplies/(900<<10) {
		t.Errorf("%d replies: %v", len(replies), count)
	}
}

// So do those of many sessions together, however little each holds; a session that ends gives back what it held.
func TestRepliesOfAllSessionsAreBounded(t *testing.T) {
	node := new(Node)
	var all []*session
	refused := 0
	for len(all) < 12 {
		s := bareSession(t)
		s.kv = &kvService{n: node}
		all = append(all, s)
		for _, c := range s.admit(gets(0, 30)) { // 27 MiB, which fit into the session
			s.answer(c, &pb.SessionReply{Id: c.GetId(), Body: &pb.SessionReply_Get{Get: &pb.GetResponse{Context: make([]byte, 900<<10)}}})
		}
		for _, out := range s.out {
			if reasonOfReply(out.reply) == pb.Reason_REASON_OVERLOADED {
				refused++
			}
		}
	}
	if held := node.waitingReplies.Load(); held > maxWaitingReplies+int64(refused)*smallReply || held < maxWaitingReplies*9/10 {
		t.Errorf("%d bytes wait, of %d", held, maxWaitingReplies)
	}
	if want := 12*30 - maxWaitingReplies/(900<<10); refused < want-2 || refused > want+2 {
		t.Errorf("%d refused, want about %d", refused, want)
	}
	takeAll(t, all[0])
	for _, s := range all {
		s.calls.Add(-30) // as when they are done
		s.end()
	}
	if held := node.waitingReplies.Load(); held != 0 {
		t.Errorf("%d bytes wait for sessions that have ended", held)
	}
}

const fineReply = pb.Reason_REASON_UNSPECIFIED

// A session ends when all is answered, not before, and begins nothing from then on.
func TestSessionDrains(t *testing.T) {
	s := bareSession(t)
	begun := s.admit(gets(0, 2))
	s.drain()
	if len(s.admit(gets(10, 1))) != 0 {
		t.Error("a call is begun though the session drains")
	}
	if replies, _ := takeAll(t, s); len(replies) != 1 || reasonOfReply(replies[0]) != pb.Reason_REASON_NOT_READY {
		t.Errorf("%v", replies)
	}
	for i, c := range begun {
		if _, _, drained := s.take(); drained {
			t.Fatalf("drained with %d calls under way", len(begun)-i)
		}
		s.answer(c, &pb.SessionReply{Id: c.GetId()})
		if frame, _, drained := s.take(); drained || len(frame.GetReplies()) != 1 {
			t.Fatalf("%v", frame)
		}
	}
	if _, _, drained := s.take(); !drained {
		t.Error("not drained though all is answered")
	}
	if len(s.admit(gets(20, 1))) != 0 || len(s.out) != 0 {
		t.Error("a call is taken though the session is over")
	}
}

// Whatever comes is refused or within bounds.
func FuzzSessionFrame(f *testing.F) {
	for _, m := range []*pb.SessionRequests{
		{}, {Requests: gets(1, 3)}, {Requests: []*pb.SessionRequest{{Id: 1, TimeoutUs: 2, Body: &pb.SessionRequest_Put{Put: &pb.PutRequest{Value: []byte("v")}}}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		calls, err := decodeCalls(b)
		if err != nil {
			return
		}
		if len(calls) > maxSessionCalls {
			t.Errorf("%d calls", len(calls))
		}
		if back, err := proto.Marshal(&pb.SessionRequests{Requests: calls}); err != nil || len(back) > 2*len(b) {
			t.Errorf("%d bytes became %d, %v", len(b), len(back), err)
		}
	})
}
