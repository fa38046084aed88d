package frames

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestWalk(t *testing.T) {
	frame := func(items ...string) (b []byte) {
		for _, item := range items {
			b = protowire.AppendTag(b, 1, protowire.BytesType)
			b = protowire.AppendString(b, item)
		}
		return b
	}
	number := protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.VarintType), 300)
	stop := errors.New("enough")
	for _, test := range []struct {
		name string
		b    []byte
		most int
		want error
		seen []string
	}{
		{"nothing", nil, 0, nil, nil},
		{"items", frame("a", "", "bc"), 3, nil, []string{"a", "", "bc"}},
		{"one too many", frame("a", "b", "c"), 2, ErrTooLarge, []string{"a", "b"}},
		{"what is no message counts, and is not shown", append(frame("a"), number...), 2, nil, []string{"a"}},
		{"unknown fields count", append(bytes.Clone(number), number...), 1, ErrTooLarge, nil},
		{"cut short", frame("abc")[:3], 2, ErrMalformed, nil},
		{"no tag", []byte{0x80}, 2, ErrMalformed, nil},
		{"a group that does not end", []byte{0x0b}, 2, ErrMalformed, nil},
		{"an item that is refused", frame("a", "stop", "b"), 3, stop, []string{"a", "stop"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen []string
			err := Walk(test.b, test.most, func(num protowire.Number, item []byte) error {
				if num != 1 {
					t.Errorf("field %d is shown", num)
				}
				seen = append(seen, string(item))
				if string(item) == "stop" {
					return stop
				}
				return nil
			})
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if len(seen) != len(test.seen) {
				t.Fatalf("saw %q, want %q", seen, test.seen)
			}
			for i := range seen {
				if seen[i] != test.seen[i] {
					t.Errorf("saw %q, want %q", seen, test.seen)
				}
			}
		})
	}
}

// received keeps what it is given, as an Incoming must not otherwise.
type received struct {
	b   []byte
	err error
}

func (r *received) Receive(b []byte) error {
	r.b = bytes.Clone(b)
	return r.err
}

func TestCodec(t *testing.T) {
	c := NewCodec()
	// Whatever the buffers are that the bytes come in.
	pieces := mem.BufferSlice{mem.SliceBuffer("hello, "), mem.SliceBuffer("world")}
	var in received
	if err := c.Unmarshal(pieces, &in); err != nil || string(in.b) != "hello, world" {
		t.Errorf("%q, %v", in.b, err)
	}
	in.err = errors.New("no")
	if err := c.Unmarshal(pieces, &in); !errors.Is(err, in.err) {
		t.Error(err)
	}
	out, err := c.Marshal(&Outgoing{Bytes: mem.SliceBuffer("as it is")})
	if err != nil || string(out.Materialize()) != "as it is" {
		t.Errorf("%q, %v", out.Materialize(), err)
	}
	// All else is protobuf.
	want := &pb.ItemKey{PartitionKey: []byte("p"), SortKey: []byte("s")}
	out, err = c.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Free()
	var got pb.ItemKey
	if err := c.Unmarshal(out, &got); err != nil || !proto.Equal(want, &got) {
		t.Errorf("%v, %v", &got, err)
	}
	if c.Name() != "proto" {
		t.Errorf("the codec calls itself %q", c.Name())
	}
}

// Whatever comes, a walk ends, and what it lets pass has no more fields than it may.
func FuzzWalk(f *testing.F) {
	for _, m := range []proto.Message{
		&pb.SessionRequests{Requests: []*pb.SessionRequest{{Id: 1, Body: &pb.SessionRequest_Get{Get: &pb.GetRequest{}}}, {Id: 2}}},
		&pb.ItemKey{PartitionKey: []byte("p"), SortKey: []byte("s")},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Add([]byte{0x0b, 0x0c, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 3
		items := 0
		err := Walk(b, most, func(protowire.Number, []byte) error { items++; return nil })
		if items > most {
			t.Errorf("%d items shown, at most %d are let pass", items, most)
		}
		if err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrMalformed) {
			t.Errorf("an error of no kind: %v", err)
		}
	})
}
