// Package frames is what streams that carry many requests to a message have in common: a codec that looks at a message
// before it is decoded, and sends what is encoded already.
package frames

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	_ "google.golang.org/grpc/encoding/proto" // the codec that ours wraps
)

// ErrTooLarge is a frame of too many bytes, items or fields; ErrMalformed one that is not in the wire format of protobuf.
var (
	ErrTooLarge  = errors.New("frame too large")
	ErrMalformed = errors.New("malformed frame")
)

// Incoming is a frame to receive, that is looked at before it is decoded: two bytes on the wire are an empty request, some
// hundred bytes in memory, so that the length of a frame alone bounds little.
type Incoming interface {
	// Receive decodes a frame. It must not keep b. An error ends the stream.
	Receive(b []byte) error
}

// Outgoing is a frame to send that is encoded already. It takes Bytes over.
type Outgoing struct{ Bytes mem.Buffer }

// Codec is gRPC's protobuf codec, with Incoming and *Outgoing beside the messages.
type Codec struct{ encoding.CodecV2 }

// NewCodec returns the codec.
func NewCodec() Codec { return Codec{encoding.GetCodecV2("proto")} }

// Marshal encodes a message, or takes the bytes of an *Outgoing.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if out, ok := v.(*Outgoing); ok {
		return mem.BufferSlice{out.Bytes}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal decodes a message, or lets an Incoming do so. gRPC has bounded the length of data already.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(Incoming)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return in.Receive(buf.ReadOnlyData())
}

// Walk goes through the outermost fields of a message and refuses one of more than most. Fields that this version does
// not know count, so that they can't be used to get round the bound. each, unless nil, is shown what is in every field that is
// bytes, a string or a message; its error ends the walk.
func Walk(b []byte, most int, each func(num protowire.Number, field []byte) error) error {
	for fields := 0; len(b) > 0; fields++ {
		if fields >= most {
			return fmt.Errorf("%w: more than %d fields", ErrTooLarge, most)
		}
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		if typ == protowire.BytesType && each != nil {
			field, _ := protowire.ConsumeBytes(b)
			if err := each(num, field); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}
