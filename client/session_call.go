package client

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// sessionCall is one request on its way, and later its outcome. Until done is told its stream owns it.
type sessionCall struct {
	// body is the request, encoded as a field of a SessionRequest. It is encoded by the caller: what the caller's request
	// refers to is the caller's own again when the call has returned, however it ended.
	body     []byte
	deadline time.Time // zero: none

	// Both are guarded by the stream's mutex.
	id   uint64
	sent bool // may have left

	done  chan struct{} // has room for one
	reply *pb.SessionReply
	err   error
}

func newSessionCall(kind protowire.Number, request proto.Message, size int) *sessionCall {
	c := &sessionCall{done: make(chan struct{}, 1)}
	b := make([]byte, 0, size+16)
	b = protowire.AppendTag(b, kind, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, request)
	if err != nil {
		c.err = errUnary // a string that is not UTF-8: gRPC has its words for that
	}
	c.body = b
	return c
}

func (c *sessionCall) finish(reply *pb.SessionReply, err error) {
	c.reply, c.err = reply, err
	c.done <- struct{}{}
}

// outcome is what a call returns that is done.
func (c *sessionCall) outcome() (*pb.SessionReply, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.reply.GetError() == nil {
		return c.reply, nil
	}
	st := status.FromProto(c.reply.GetError())
	if newError("", "", st).Metadata["ask_again_by"] != "" {
		return nil, errLargeReply
	}
	if st.Code() == codes.OK {
		st = status.New(codes.Internal, "the node answered with an error that is none")
	}
	return nil, &sessionError{status: st, sent: true}
}

// Fields of SessionRequests and of SessionRequest.
const (
	fieldRequests protowire.Number = 1
	fieldID       protowire.Number = 1
	fieldTimeout  protowire.Number = 2
)

// headBytes is the most that a call adds to its body in a frame.
const headBytes = 1 + 5 + 2*(1+10)

// append encodes the call as a field of a frame, with what is left of its deadline.
func (c *sessionCall) append(b []byte, now time.Time) []byte {
	var timeout uint64
	if !c.deadline.IsZero() {
		timeout = uint64(max(c.deadline.Sub(now).Microseconds(), 1))
	}
	size := protowire.SizeTag(fieldID) + protowire.SizeVarint(c.id) + len(c.body)
	if timeout > 0 {
		size += protowire.SizeTag(fieldTimeout) + protowire.SizeVarint(timeout)
	}
	b = protowire.AppendTag(b, fieldRequests, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, fieldID, protowire.VarintType)
	b = protowire.AppendVarint(b, c.id)
	if timeout > 0 {
		b = protowire.AppendTag(b, fieldTimeout, protowire.VarintType)
		b = protowire.AppendVarint(b, timeout)
	}
	return append(b, c.body...)
}

// frameOf packs calls into a frame; bytes is what it has at most.
func frameOf(calls []*sessionCall, bytes int, now time.Time) mem.Buffer {
	pool := mem.DefaultBufferPool()
	b := pool.Get(bytes)
	*b = (*b)[:0]
	for _, c := range calls {
		*b = c.append(*b, now)
	}
	return mem.NewBuffer(b, pool)
}
