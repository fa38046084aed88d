package transport

import (
	"bytes"
	"testing"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// FuzzDecode holds the decoder against plain protobuf: what it takes means the same, what it refuses is malformed or has
// too many items.
func FuzzDecode(f *testing.F) {
	for _, frame := range []*pb.Frame{
		{},
		{Hlc: 7, Hello: testIdentity(1).hello(NodeID{2}, testTime)},
		{Requests: []*pb.PeerRequest{ping(), read("key"), write(10)}},
		{Replies: []*pb.PeerReply{{Id: 1, Error: &pb.PeerError{Reason: "OVERLOADED", Metadata: map[string]string{"a": "b"}}}}},
	} {
		b, err := proto.Marshal(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(bytes.Repeat([]byte{0x1a, 0}, MaxFrameItems+10))
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := incoming{limit: 1 << 20}
		err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &in)
		var want pb.Frame
		plain := proto.Unmarshal(b, &want)
		switch {
		case err == nil && (plain != nil || !proto.Equal(in.frame, &want)):
			t.Errorf("decoded %v, protobuf says %v, %v", in.frame, &want, plain)
		case err == nil && len(in.frame.Requests)+len(in.frame.Replies) > MaxFrameItems+3:
			t.Errorf("%d items", len(in.frame.Requests)+len(in.frame.Replies))
		case err != nil && plain == nil && len(b) < MaxFrameItems:
			t.Errorf("refused: %v", err)
		}
	})
}

func TestCodecBoundsTheFrame(t *testing.T) {
	b, err := proto.Marshal(&pb.Frame{Requests: []*pb.PeerRequest{write(1000)}})
	if err != nil {
		t.Fatal(err)
	}
	// In pieces, as the network brings them.
	pieces := mem.BufferSlice{mem.SliceBuffer(b[:10]), mem.SliceBuffer(b[10:])}
	in := incoming{limit: len(b)}
	if err := newCodec().Unmarshal(pieces, &in); err != nil || in.size != len(b) || len(in.frame.Requests) != 1 {
		t.Errorf("at the limit: %v, %+v", err, in)
	}
	in = incoming{limit: len(b) - 1}
	if err := newCodec().Unmarshal(pieces, &in); err == nil {
		t.Error("a frame above the limit was taken")
	}
}
