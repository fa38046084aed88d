package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/internal/frames"
	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// session is a stream of calls to one node, without a client's help.
type session struct {
	grpc.BidiStreamingClient[pb.SessionRequests, pb.SessionReplies]
	t       *testing.T
	cancel  context.CancelFunc
	waiting []*pb.SessionReply // received and not yet asked for
}

func (c *cluster) session(at int) *session {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*callTimeout)
	c.t.Cleanup(cancel)
	st, err := c.KV(at).Session(ctx, grpc.ForceCodecV2(frames.NewCodec()))
	if err != nil {
		c.t.Fatal(err)
	}
	return &session{BidiStreamingClient: st, t: c.t, cancel: cancel}
}

func (s *session) send(calls ...*pb.SessionRequest) {
	s.t.Helper()
	if err := s.Send(&pb.SessionRequests{Requests: calls}); err != nil {
		s.t.Fatal(err)
	}
}

// sendRaw sends a frame that may be anything.
func (s *session) sendRaw(b []byte) {
	s.t.Helper()
	if err := s.SendMsg(&frames.Outgoing{Bytes: mem.SliceBuffer(b)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) next() *pb.SessionReply {
	s.t.Helper()
	for len(s.waiting) == 0 {
		frame, err := s.Recv()
		if err != nil {
			s.t.Fatal(err)
		}
		s.waiting = frame.GetReplies()
	}
	r := s.waiting[0]
	s.waiting = s.waiting[1:]
	return r
}

// want receives the reply of a call, which must be the next one, and says whether it is an error for that reason.
func (s *session) want(id uint64, reason pb.Reason) *pb.SessionReply {
	s.t.Helper()
	r := s.next()
	got := reasonOf(status.FromProto(r.GetError()).Err())
	want := strings.TrimPrefix(reason.String(), "REASON_")
	if reason == pb.Reason_REASON_UNSPECIFIED {
		want = ""
	}
	if r.GetId() != id || got != want || want == "" && r.GetError() != nil {
		s.t.Fatalf("call %d is answered %v, want call %d and %q", r.GetId(), r.GetError(), id, want)
	}
	return r
}

const fine = pb.Reason_REASON_UNSPECIFIED

// wantEnd receives what is left until the stream ends, which it must do with that code and reason.
func (s *session) wantEnd(code codes.Code, reason string) {
	s.t.Helper()
	for {
		if _, err := s.Recv(); err != nil {
			if status.Code(err) != code || reasonOf(err) != reason {
				s.t.Fatalf("the session ended with %v, want %v for %q", err, code, reason)
			}
			return
		}
	}
}

func getCall(id uint64, k string, r *pb.Consistency) *pb.SessionRequest {
	return &pb.SessionRequest{Id: id, Body: &pb.SessionRequest_Get{Get: &pb.GetRequest{
		Bucket: "default", Key: key(k, ""), Options: &pb.ReadOptions{R: r, Mode: pb.QuorumMode_QUORUM_MODE_STRICT},
	}}}
}

func putCall(id uint64, k, value string) *pb.SessionRequest {
	return &pb.SessionRequest{Id: id, Body: &pb.SessionRequest_Put{Put: &pb.PutRequest{
		Bucket: "default", Key: key(k, ""), Value: []byte(value), Options: &pb.WriteOptions{W: all},
	}}}
}

func deleteCall(id uint64, k string) *pb.SessionRequest {
	return &pb.SessionRequest{Id: id, Body: &pb.SessionRequest_Delete{Delete: &pb.DeleteRequest{Bucket: "default", Key: key(k, "")}}}
}

func TestSessions(t *testing.T) {
	c := newCluster(t, testcluster.Options{Nodes: 3})
	for _, test := range []struct {
		name string
		run  func(c *cluster)
	}{
		{"calls", sessionCalls},
		{"errors are those of calls by themselves", sessionErrors},
		{"a slow call stands in nobody's way", sessionOrder},
		{"deadlines", sessionDeadlines},
		{"bad calls", sessionBadCalls},
		{"bad frames", sessionBadFrames},
		{"large values", sessionLarge},
		{"a client that does not read", sessionSlowReader},
		{"a client that goes", sessionGone},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(c.in(t))
			c.Heal()
		})
	}
}

func sessionCalls(c *cluster) {
	s := c.session(0)
	s.send(putCall(7, "calls", "v"))
	if put := s.want(7, fine).GetPut(); put.GetAcknowledged() != 3 {
		c.t.Errorf("%v", put)
	}
	s.send(getCall(8, "calls", all))
	if got := s.want(8, fine).GetGet(); len(got.GetVersions()) != 1 || string(got.GetVersions()[0].GetValue()) != "v" {
		c.t.Errorf("%v", got)
	}
	s.send(deleteCall(9, "calls"))
	if s.want(9, fine).GetDelete() == nil {
		c.t.Error("a delete is answered with something else")
	}
	// Many in a frame, each answered once.
	const calls = 200
	var many []*pb.SessionRequest
	missing := make(map[uint64]bool)
	for id := range uint64(calls) {
		many = append(many, getCall(id, fmt.Sprint("many", id), one))
		missing[id] = true
	}
	s.send(many...)
	for range calls {
		r := s.next()
		if !missing[r.GetId()] || r.GetGet() == nil {
			c.t.Fatalf("%v", r)
		}
		delete(missing, r.GetId())
	}
	// The client closes its side: what is under way is answered.
	s.send(getCall(1, "calls", all), getCall(2, "calls", one))
	if err := s.CloseSend(); err != nil {
		c.t.Fatal(err)
	}
	if a, b := s.next(), s.next(); a.GetId()+b.GetId() != 3 || a.GetGet() == nil || b.GetGet() == nil {
		c.t.Errorf("%v and %v", a, b)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		c.t.Errorf("the session ended with %v", err)
	}
	c.Eventually("the metrics show it", func() bool {
		shown := c.metrics(0)
		for _, line := range []string{
			"starling_session_frames_total 5", fmt.Sprint("starling_session_calls_total ", calls+5),
			"starling_sessions 0", "starling_session_reply_bytes 0",
		} {
			if !strings.Contains(shown, "\n"+line+"\n") {
				return false
			}
		}
		return true
	})
}

// metrics is what a node shows of itself.
func (c *cluster) metrics(at int) string {
	c.t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + c.HTTPAddr(at) + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(page)
}

func sessionErrors(c *cluster) {
	s := c.session(1)
	ctx := c.t.Context()
	for id, call := range []*pb.SessionRequest{
		{Body: &pb.SessionRequest_Get{Get: &pb.GetRequest{Bucket: "none", Key: key("k", "")}}},
		{Body: &pb.SessionRequest_Get{Get: &pb.GetRequest{Bucket: "default"}}},
		{Body: &pb.SessionRequest_Get{Get: &pb.GetRequest{Bucket: "default", Key: key("k", ""), Options: &pb.ReadOptions{R: replicas(9)}}}},
		{Body: &pb.SessionRequest_Put{Put: &pb.PutRequest{Bucket: "default", Key: key("k", ""), Context: []byte("no context")}}},
		{Body: &pb.SessionRequest_Delete{Delete: &pb.DeleteRequest{Bucket: "default", Key: key("k", ""), RequestId: []byte("short")}}},
	} {
		call.Id = uint64(id)
		var err error
		switch body := call.GetBody().(type) {
		case *pb.SessionRequest_Get:
			_, err = c.KV(1).Get(ctx, body.Get)
		case *pb.SessionRequest_Put:
			_, err = c.KV(1).Put(ctx, body.Put)
		case *pb.SessionRequest_Delete:
			_, err = c.KV(1).Delete(ctx, body.Delete)
		}
		s.send(call)
		if got := s.next(); got.GetId() != uint64(id) || !proto.Equal(got.GetError(), status.Convert(err).Proto()) || reasonOf(err) == "" {
			c.t.Errorf("in a session %v, by itself %v", got, err)
		}
	}
}

// hangs sends a call that is not answered as long as the node is cut off.
func (c *cluster) hangs(s *session, at int, id uint64) {
	c.t.Helper()
	c.Isolate(at)
	s.send(getCall(id, "hangs", all))
}

func sessionOrder(c *cluster) {
	s := c.session(0)
	s.send(putCall(1, "hangs", "v"))
	s.want(1, fine)
	c.hangs(s, 0, 2)
	for id := range uint64(20) {
		s.send(getCall(10+id, "hangs", one))
		s.want(10+id, fine)
	}
	c.Heal()
	if r := s.next(); r.GetId() != 2 {
		c.t.Errorf("%v", r)
	}
}

func sessionDeadlines(c *cluster) {
	c.WaitReady()
	s := c.session(0)
	c.Isolate(0)
	late := getCall(1, "deadline", all)
	late.TimeoutUs = 50_000
	s.send(late)
	if r := s.next(); r.GetId() != 1 || reasonOf(status.FromProto(r.GetError()).Err()) == "" {
		c.t.Errorf("%v", r)
	}
	// A deadline that has passed when it is read; and one that is longer than any.
	late.TimeoutUs = 1
	s.send(late)
	if r := s.next(); r.GetId() != 1 || r.GetError() == nil {
		c.t.Errorf("%v", r)
	}
	c.Heal()
	c.WaitReady()
	late.TimeoutUs = 1<<64 - 1
	s.send(late)
	s.want(1, fine)
}

func sessionBadCalls(c *cluster) {
	c.WaitReady()
	s := c.session(0)
	s.send(&pb.SessionRequest{Id: 1})
	s.want(1, pb.Reason_REASON_INVALID_ARGUMENT)
	// A kind of call that this node does not know yet.
	unknown := protowire.AppendTag([]byte{8, 2}, 99, protowire.BytesType)
	unknown = protowire.AppendBytes(unknown, []byte("news"))
	s.sendRaw(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), unknown))
	s.want(2, pb.Reason_REASON_INVALID_ARGUMENT)
	// An id that is under way, and that is free when it is answered.
	c.hangs(s, 0, 3)
	s.send(getCall(3, "other", one))
	s.want(3, pb.Reason_REASON_INVALID_ARGUMENT)
	c.Heal()
	if r := s.next(); r.GetId() != 3 {
		c.t.Errorf("%v", r)
	}
	s.send(getCall(3, "other", one))
	s.want(3, fine)
}

func sessionBadFrames(c *cluster) {
	item := func(b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
	}
	for name, frame := range map[string][]byte{
		"noise":            []byte("\xff\xff\xff noise"),
		"cut short":        item(make([]byte, 100))[:50],
		"noise in a call":  item([]byte("\x1a\xff\xff")),
		"too many calls":   []byte(strings.Repeat("\x0a\x00", 1025)),
		"too many fields":  item([]byte(strings.Repeat("\x1a\x00\x22\x00", 5))),
		"too many bytes":   append(item(make([]byte, 1<<20)), item(nil)...),
		"text not in UTF8": item([]byte("\x1a\x03\x0a\x01\xff")),
	} {
		s := c.session(2)
		s.send(getCall(1, "k", one))
		s.want(1, fine)
		s.sendRaw(frame)
		_, err := s.Recv()
		if status.Code(err) != codes.InvalidArgument || reasonOf(err) != "INVALID_ARGUMENT" {
			c.t.Errorf("%s: %v", name, err)
		}
	}
}

func sessionLarge(c *cluster) {
	s := c.session(0)
	value := strings.Repeat("x", 3<<20)
	s.send(putCall(1, "large", value))
	s.want(1, fine)
	s.send(getCall(2, "large", quorum))
	r := s.want(2, pb.Reason_REASON_VALUE_TOO_LARGE)
	if by := infoOf(status.FromProto(r.GetError()).Err()).GetMetadata()["ask_again_by"]; by != "Get" {
		c.t.Errorf("%v", r)
	}
	c.want(0, "default", key("large", ""), value)
}

// A client that asks and does not read is left to itself; others are served meanwhile.
func sessionSlowReader(c *cluster) {
	value := strings.Repeat("x", 256<<10)
	c.put(0, &pb.PutRequest{Bucket: "default", Key: key("slow", ""), Value: []byte(value), Options: &pb.WriteOptions{W: all}})
	s := c.session(0)
	sent := make(chan error, 1)
	const frames, calls = 8, 50 // 100 MiB of replies
	go func() {
		for f := range frames {
			var frame pb.SessionRequests
			for i := range calls {
				frame.Requests = append(frame.Requests, getCall(uint64(f*calls+i), "slow", one))
			}
			if err := s.Send(&frame); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	other := c.session(0)
	for id := range uint64(50) {
		other.send(getCall(id, "slow", one))
		if r := other.next(); r.GetId() != id {
			c.t.Fatalf("%v", r)
		}
	}
	// What it reads when it does is whole: values, or that there was no room for them.
	values := 0
	for range frames * calls {
		r := s.next()
		if v := r.GetGet().GetVersions(); len(v) == 1 && string(v[0].GetValue()) == value {
			values++
		} else if reasonOf(status.FromProto(r.GetError()).Err()) != "OVERLOADED" {
			c.t.Fatalf("%v", r.GetError())
		}
	}
	if err := <-sent; err != nil || values == 0 {
		c.t.Errorf("%d values; %v", values, err)
	}
}

// A client that goes takes its calls with it.
func sessionGone(c *cluster) {
	c.WaitReady()
	s := c.session(0)
	c.hangs(s, 0, 1)
	s.send(getCall(2, "hangs", one))
	s.want(2, fine)
	s.cancel()
	s.wantEnd(codes.Canceled, "")
}

// A node that stops answers what is under way, takes nothing more, and says so.
func TestSessionOfANodeThatStops(t *testing.T) {
	c := newCluster(t, testcluster.Options{Nodes: 3})
	s, idle := c.session(0), c.session(0)
	s.send(putCall(1, "hangs", "v"))
	s.want(1, fine)
	idle.send(getCall(1, "k", one))
	idle.want(1, fine)
	c.hangs(s, 0, 2)
	s.send(getCall(3, "hangs", one))
	s.want(3, fine) // so 2 is under way
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.Stop(0)
	}()
	idle.wantEnd(codes.Unavailable, "NOT_READY")
	// It may already be known not to be ready, or not yet: but it begins nothing.
	s.send(putCall(4, "after", "v"))
	s.want(4, pb.Reason_REASON_NOT_READY)
	c.Heal()
	if r := s.next(); r.GetId() != 2 || len(r.GetGet().GetVersions()) != 1 {
		t.Errorf("what was under way is answered %v", r)
	}
	s.wantEnd(codes.Unavailable, "NOT_READY")
	<-stopped
	c.Start(0)
	c.WaitReady()
	c.want(0, "default", key("after", ""))
}

// A node that can't wait any longer breaks off what is under way. Its clients are not told that nothing was done.
func TestSessionOfANodeThatStopsInAHurry(t *testing.T) {
	c := newCluster(t, testcluster.Options{Nodes: 3})
	s := c.session(0)
	s.send(getCall(1, "k", one))
	s.want(1, fine)
	c.hangs(s, 0, 2)
	s.send(getCall(3, "hangs", one))
	s.want(3, fine)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = c.Node(0).Close(ctx) // the error is why it stopped by itself: it did not
	for {
		frame, err := s.Recv()
		if err != nil {
			if reasonOf(err) == "NOT_READY" {
				t.Errorf("the session ended with %v", err)
			}
			return
		}
		for _, r := range frame.GetReplies() {
			if r.GetError() == nil {
				t.Errorf("%v", r)
			}
		}
	}
}
