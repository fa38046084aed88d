package transport

import (
	"errors"
	"fmt"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	_ "google.golang.org/grpc/encoding/proto" // the codec that ours wraps
)

const (
	// MaxFrameItems is how many requests and replies a frame may hold; peers refuse more. Two bytes on the wire
	// are an empty request, some hundred bytes in memory: without this bound a frame could make a node allocate
	// fifty times its own size.
	MaxFrameItems = 4096

	// helloBytes is the largest first frame: nobody is known yet.
	helloBytes = 8 << 10

	// frameOverhead is kept free in a frame beside its messages.
	frameOverhead = 4 << 10
)

var errFrameTooLarge = errors.New("frame too large")

// incoming is a frame to receive.
type incoming struct {
	limit int // bytes, set before
	frame *pb.Frame
	size  int // bytes on the wire
}

// measured is a frame to send.
type measured struct {
	frame *pb.Frame
	size  int // bytes on the wire, set when it is sent
}

// codec is gRPC's protobuf codec with the bounds of our frames checked before anything is decoded.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal encodes an *measured, or whatever else gRPC has to send.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	out, ok := v.(*measured)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	data, err := c.CodecV2.Marshal(out.frame)
	out.size = data.Len()
	return data, err
}

// Unmarshal decodes into an *incoming; gRPC has bounded the length of data already.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*incoming)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if data.Len() > in.limit {
		return fmt.Errorf("%w: %d bytes, %d allowed", errFrameTooLarge, data.Len(), in.limit)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return in.decode(buf.ReadOnlyData())
}

func (in *incoming) decode(b []byte) error {
	if err := checkItems(b); err != nil {
		return err
	}
	in.size = len(b)
	in.frame = new(pb.Frame)
	return proto.Unmarshal(b, in.frame)
}

// checkItems walks the outermost fields of a frame and refuses one of too many. Unknown fields count, so that
// they can't be used to get around the bound.
func checkItems(b []byte) error {
	for fields := 0; len(b) > 0; fields++ {
		if fields > MaxFrameItems+2 {
			return fmt.Errorf("%w: more than %d requests and replies", errFrameTooLarge, MaxFrameItems)
		}
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("malformed frame: %w", protowire.ParseError(n))
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return fmt.Errorf("malformed frame: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	return nil
}
