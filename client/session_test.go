package client

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Whatever the order of the replies, and whatever else the node says, each call gets its own.
func TestSessionMatchesReplies(t *testing.T) {
	const n = 50
	r := newRig(t, func(s *serverSide) error {
		var calls []*pb.SessionRequest
		for range n {
			call, _, err := s.next()
			if err != nil {
				return err
			}
			calls = append(calls, call)
		}
		slices.Reverse(calls)
		stray := &pb.SessionRequest{Id: math.MaxUint64, Body: calls[0].GetBody()}
		if err := errors.Join(s.answer(stray), s.answer(calls[:7]...), s.answer(), s.answer(calls[7:]...), s.answer(calls...)); err != nil {
			return err
		}
		return s.serveAll()
	})
	done := make(chan bool)
	for i := range n {
		go func() { r.wantGet("key" + strconv.Itoa(i)); done <- true }()
	}
	for range n {
		<-done
	}
	r.wantGet("one more")
}

// What waits goes in one frame, as much as fits.
func TestSessionFillsFrames(t *testing.T) {
	const n = 100
	var behind []int
	r := newRig(t, func(s *serverSide) error {
		for range n {
			call, more, err := s.next()
			if err != nil {
				return err
			}
			behind = append(behind, more)
			if err := s.answer(call); err != nil {
				return err
			}
		}
		return s.serveAll()
	})
	r.gate = make(chan struct{})
	wait := r.crowd(t.Context(), n)
	r.eventually("all wait", func() bool { queued, _ := r.sizes(); return queued == n })
	close(r.gate)
	for _, err := range wait() {
		if err != nil {
			t.Fatal(err)
		}
	}
	if behind[0] != n-1 || behind[n-1] != 0 {
		t.Errorf("frames: %v", behind)
	}
}

// Frames are what the protocol says they are: it is the code generated from it that decodes them.
func TestSessionFrameIsProtobuf(t *testing.T) {
	now := time.Now()
	requests := []struct {
		call    *sessionCall
		timeout time.Duration
		want    *pb.SessionRequest
	}{
		{newCall(kindOfGet, getOf("k")), 0, &pb.SessionRequest{Id: 1, Body: &pb.SessionRequest_Get{Get: getOf("k")}}},
		{newCall(kindOfGet, &pb.GetRequest{}), -time.Second, &pb.SessionRequest{Id: 300, TimeoutUs: 1, Body: &pb.SessionRequest_Get{Get: &pb.GetRequest{}}}},
		{newCall(kindOfPut, &pb.PutRequest{Value: make([]byte, 1000)}), time.Hour,
			&pb.SessionRequest{Id: math.MaxUint64, TimeoutUs: 3_600_000_000, Body: &pb.SessionRequest_Put{Put: &pb.PutRequest{Value: make([]byte, 1000)}}}},
		{newCall(kindOfDelete, &pb.DeleteRequest{Bucket: "b"}), math.MaxInt64,
			&pb.SessionRequest{Id: 4, TimeoutUs: math.MaxInt64 / 1000, Body: &pb.SessionRequest_Delete{Delete: &pb.DeleteRequest{Bucket: "b"}}}},
	}
	var calls []*sessionCall
	want := &pb.SessionRequests{}
	size := 0
	for _, q := range requests {
		q.call.id = q.want.GetId()
		if q.timeout != 0 {
			q.call.deadline = now.Add(q.timeout)
			if q.timeout == math.MaxInt64 {
				q.want.TimeoutUs = uint64(q.call.deadline.Sub(now).Microseconds())
			}
		}
		calls = append(calls, q.call)
		want.Requests = append(want.Requests, q.want)
		size += len(q.call.body) + headBytes
	}
	frame := frameOf(calls, size, now)
	defer frame.Free()
	var got pb.SessionRequests
	if err := proto.Unmarshal(frame.ReadOnlyData(), &got); err != nil || !proto.Equal(&got, want) {
		t.Errorf("%v, %v, want %v", &got, err, want)
	}
	if frame.Len() > size {
		t.Errorf("%d bytes, at most %d are reckoned with", frame.Len(), size)
	}
}

func newCall(kind protowire.Number, m proto.Message) *sessionCall {
	return newSessionCall(kind, m, proto.Size(m))
}

func TestSessionDeadline(t *testing.T) {
	told := make(chan time.Duration, 1)
	r := newRig(t, func(s *serverSide) error {
		call, _, err := s.next()
		if err != nil {
			return err
		}
		told <- time.Duration(call.GetTimeoutUs()) * time.Microsecond
		other, _, err := s.next()
		if err != nil {
			return err
		}
		return errors.Join(s.answer(call), s.answer(other), s.serveAll()) // late, and dropped
	})
	// One that is written and not answered.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.get(ctx, "slow")
	if wantFailed(t, err, codes.DeadlineExceeded, "", sentInSession(err)); sentInSession(err) {
		if d := <-told; d <= 0 || d > 50*time.Millisecond {
			t.Errorf("the node is told a timeout of %v", d)
		}
		r.wantGet("other")
		r.wantGet("one more")
	}
	// One whose time is over before it begins.
	_, err = r.get(ctx, "too late")
	wantFailed(t, err, codes.DeadlineExceeded, "", false)
	// One that no session is there for in time.
	closed := newRig(t)
	closed.gate = make(chan struct{})
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = closed.get(ctx, "waits")
	wantFailed(t, err, codes.DeadlineExceeded, "", false)
	if queued, _ := closed.sizes(); queued != 0 {
		t.Errorf("%d calls wait that nobody waits for", queued)
	}
}

func TestSessionCancel(t *testing.T) {
	came := make(chan bool, 1)
	r := newRig(t, ignoreFirst(came))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-came; cancel() }()
	_, err := r.get(ctx, "canceled")
	wantFailed(t, err, codes.Canceled, "", true)
	r.wantGet("other")
	if _, pending := r.sizes(); pending != 0 {
		t.Errorf("%d calls are under way that nobody waits for", pending)
	}
}

// What a call is told whose session ends, and that the next call gets a session that works.
func TestSessionBreaks(t *testing.T) {
	invalid := func() error {
		st, err := status.New(codes.InvalidArgument, "bad frame").WithDetails(&errdetails.ErrorInfo{Domain: errorDomain, Reason: "INVALID_ARGUMENT"})
		return errors.Join(err, st.Err())
	}
	for _, test := range []struct {
		name   string
		end    error
		code   codes.Code
		reason string
	}{
		{"as if all were done", nil, codes.Unavailable, ""},
		{"the node stops", notReadyEnd(), codes.Unavailable, reasonNotReady},
		{"the connection breaks", status.Error(codes.Unavailable, "broken"), codes.Unavailable, ""},
		// That is said of a frame, and not of the calls in it.
		{"a bad frame", invalid(), codes.Unavailable, ""},
		{"an error inside the node", status.Error(codes.Internal, "oh"), codes.Unavailable, ""},
		{"not allowed", status.Error(codes.PermissionDenied, "no"), codes.PermissionDenied, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(s *serverSide) error {
				first, _, err := s.next()
				if err != nil {
					return err
				}
				if err := s.answer(first); err != nil {
					return err
				}
				for range 3 {
					if _, _, err := s.next(); err != nil {
						return err
					}
				}
				return test.end
			})
			r.wantGet("first")
			for _, err := range r.crowd(t.Context(), 3)() {
				wantFailed(t, err, test.code, test.reason, true)
			}
			r.wantGet("next")
		})
	}
}

// A session that can't be opened fails its calls, which were never sent.
func TestSessionDoesNotOpen(t *testing.T) {
	r := newRig(t)
	works := r.open
	r.open = func(context.Context) (sessionClient, error) {
		return nil, status.Error(codes.Unavailable, "connection refused")
	}
	for range 3 {
		_, err := r.get(t.Context(), "k")
		wantFailed(t, err, codes.Unavailable, "", false)
	}
	r.eventually("the last attempt is over", func() bool { r.sessions.mu.Lock(); defer r.sessions.mu.Unlock(); return r.cur == nil })
	r.open = works
	r.wantGet("k")
}

// With a node that knows no sessions calls go by themselves, and no session is tried for a while.
func TestSessionUnknownToTheNode(t *testing.T) {
	r := newRig(t, func(*serverSide) error { return status.Error(codes.Unimplemented, "unknown method Session") })
	if _, err := r.get(t.Context(), "k"); !errors.Is(err, errUnary) {
		t.Error(err)
	}
	if r.takes(1) {
		t.Error("the next call tries a session again")
	}
	r.unaryUntil.Store(time.Now().UnixNano())
	if !r.takes(1) || !r.takes(maxInSession) || r.takes(maxInSession+1) {
		t.Error("which calls go over the session is decided wrongly")
	}
}

func TestSessionQueueIsBounded(t *testing.T) {
	r := newRig(t)
	r.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	wait := r.crowd(ctx, sessionQueue)
	r.eventually("all wait", func() bool { queued, _ := r.sizes(); return queued == sessionQueue })
	_, err := r.get(t.Context(), "one too many")
	wantFailed(t, err, codes.Unavailable, "", false)
	cancel()
	for _, err := range wait() {
		wantFailed(t, err, codes.Canceled, "", false)
	}
	// In bytes too; a call that is larger than the bound by itself would pass alone.
	st, err := r.stream()
	if err != nil {
		t.Fatal(err)
	}
	full := 0
	for range 2 * sessionQueueBytes / maxInSession {
		c := newCall(kindOfPut, &pb.PutRequest{})
		c.body = make([]byte, maxInSession)
		if err := st.submit(c); err != nil {
			full++
		}
	}
	if full == 0 || st.bytes > sessionQueueBytes {
		t.Errorf("%d bytes wait", st.bytes)
	}
}

// A node is given no more calls than it takes at once; the others wait their turn.
func TestSessionCallsUnderWayAreBounded(t *testing.T) {
	const n = sessionCalls + 10
	got := make(chan *pb.SessionRequest, n)
	reply := make(chan *pb.SessionRequest)
	r := newRig(t, func(s *serverSide) error {
		go func() {
			for {
				call, _, err := s.next()
				if err != nil {
					close(got)
					return
				}
				got <- call
			}
		}()
		for call := range reply {
			if err := s.answer(call); err != nil {
				return err
			}
		}
		return nil
	})
	wait := r.crowd(t.Context(), n)
	var calls []*pb.SessionRequest
	for range sessionCalls {
		calls = append(calls, <-got)
	}
	r.eventually("the others wait", func() bool { queued, pending := r.sizes(); return queued == 10 && pending == sessionCalls })
	select {
	case <-got:
		t.Error("the node is given more than it takes")
	default:
	}
	for _, call := range calls {
		reply <- call
	}
	for range 10 {
		reply <- <-got
	}
	for _, err := range wait() {
		if err != nil {
			t.Error(err)
		}
	}
	close(reply)
	for range got {
	}
}

// Frames of several calls are no longer than a node takes.
func TestSessionFramesAreBounded(t *testing.T) {
	const n = 20
	sizes := make(chan int, n)
	r := newRig(t, func(s *serverSide) error {
		for calls := 0; calls < n; {
			frame, err := s.Recv()
			if err != nil {
				return err
			}
			calls += len(frame.GetRequests())
			sizes <- proto.Size(frame)
			for _, c := range frame.GetRequests() {
				if err := s.Send(&pb.SessionReplies{Replies: []*pb.SessionReply{{Id: c.GetId(), Body: &pb.SessionReply_Put{Put: &pb.PutResponse{}}}}}); err != nil {
					return err
				}
			}
		}
		close(sizes)
		return s.serveAll()
	})
	r.gate = make(chan struct{})
	done := make(chan error)
	for range n {
		go func() {
			_, err := r.do(t.Context(), newCall(kindOfPut, &pb.PutRequest{Value: make([]byte, 200<<10)}))
			done <- err
		}()
	}
	r.eventually("all wait", func() bool { queued, _ := r.sizes(); return queued == n })
	close(r.gate)
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	frames := 0
	for size := range sizes {
		if frames++; size > sessionFrame {
			t.Errorf("a frame of %d bytes", size)
		}
	}
	if frames != n/5 {
		t.Errorf("%d frames for %d calls of which five fit in one", frames, n)
	}
}

func TestSessionClose(t *testing.T) {
	came := make(chan bool, 1)
	r := newRig(t, ignoreFirst(came))
	wait := r.crowd(t.Context(), 1)
	<-came
	r.sessions.close()
	wantFailed(t, wait()[0], codes.Canceled, "", true)
	r.all.Wait()
	_, err := r.get(t.Context(), "k")
	wantFailed(t, err, codes.Canceled, "", false)
}

// Replies that make no sense are errors of the node, after which nobody knows what it did.
func TestSessionOddReplies(t *testing.T) {
	for name, reply := range map[string]*pb.SessionReply{
		"nothing":             {},
		"another kind":        {Body: &pb.SessionReply_Put{Put: &pb.PutResponse{}}},
		"an error that is OK": {Error: &spb.Status{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(s *serverSide) error {
				call, _, err := s.next()
				if err != nil {
					return err
				}
				reply.Id = call.GetId()
				return errors.Join(s.Send(&pb.SessionReplies{Replies: []*pb.SessionReply{reply}}), s.serveAll())
			})
			_, err := r.sendGet(t.Context(), getOf("k"))
			wantFailed(t, err, codes.Internal, "", true)
		})
	}
}

// A get whose reply is too large for a session is made by itself, and so are others of that bucket for a while.
func TestSessionLargeReply(t *testing.T) {
	r := newRig(t, func(s *serverSide) error {
		call, _, err := s.next()
		if err != nil {
			return err
		}
		st, err := status.New(codes.InvalidArgument, "too large").WithDetails(&errdetails.ErrorInfo{
			Domain: errorDomain, Reason: "VALUE_TOO_LARGE", Metadata: map[string]string{"ask_again_by": "Get"},
		})
		reply := &pb.SessionReply{Id: call.GetId(), Error: st.Proto()}
		return errors.Join(err, s.Send(&pb.SessionReplies{Replies: []*pb.SessionReply{reply}}), s.serveAll())
	})
	other := getOf("k")
	other.Bucket = "other"
	for _, step := range []struct {
		request *pb.GetRequest
		alone   int32
	}{{getOf("k"), 1}, {getOf("k"), 2}, {other, 2}} {
		got, err := r.sendGet(t.Context(), step.request)
		if alone := r.node.alone.Load(); err != nil || string(got.GetContext()) != "k" || alone != step.alone {
			t.Errorf("%v, %v; %d gets by themselves, want %d", got, err, alone, step.alone)
		}
	}
	r.large.Store("b", time.Now())
	if _, err := r.sendGet(t.Context(), getOf("k")); err != nil || r.node.alone.Load() != 2 {
		t.Errorf("%v; the bucket is remembered for longer than it should", err)
	}
}

// What a request refers to is the caller's again when its call has returned, whatever has become of it: the race detector
// finds it if not.
func TestSessionLeavesTheCallersBytesAlone(t *testing.T) {
	r := newRig(t)
	value := make([]byte, 100<<10)
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		_, _ = r.do(ctx, newCall(kindOfPut, &pb.PutRequest{Value: value})) // most come too late
		cancel()
		copy(value, bytes.Repeat([]byte{byte(i)}, len(value)))
	}
}
