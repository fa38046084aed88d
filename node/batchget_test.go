package node

import (
	"errors"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// However large the items are, a response stays within its limit, or holds one item; and whoever asks again for what
// was left out gets all of it.
func TestBatchRoom(t *testing.T) {
	const limit, items = 8000, 200
	for _, size := range []int{1, 50, 1000, 3000, 7990, 20_000} {
		item := &pb.GetResponse{Context: make([]byte, size)}
		left, responses := items, 0
		for ; left > 0; responses++ {
			room := newBatchRoom(limit)
			var kept, reads, reading, most atomic.Int64
			eachOf(left, func(int) {
				ok, err := room.read(func() (*pb.GetResponse, error) {
					reads.Add(1)
					for now := reading.Add(1); ; {
						if old := most.Load(); now <= old || most.CompareAndSwap(old, now) {
							break
						}
					}
					reading.Add(-1)
					return item, nil
				})
				if err == nil && ok == item {
					kept.Add(1)
				} else if f := toFault(err); f.code != codes.ResourceExhausted || f.reason != pb.Reason_REASON_OVERLOADED {
					t.Errorf("%v", err)
				}
			})
			if held := int(kept.Load()) * proto.Size(item); held > limit && kept.Load() != 1 || kept.Load() == 0 {
				t.Fatalf("items of %d bytes: a response holds %d of them", size, kept.Load())
			}
			if most := int(most.Load()); most > max(1, limit/size) {
				t.Fatalf("items of %d bytes: %d are read at once", size, most)
			}
			if reads.Load() > kept.Load()+1 {
				t.Fatalf("items of %d bytes: %d are read, %d returned", size, reads.Load(), kept.Load())
			}
			left -= int(kept.Load())
		}
		t.Logf("items of %d bytes: %d responses", size, responses)
	}
}

// A failed read takes no room, and lets others have theirs.
func TestBatchRoomOfFailures(t *testing.T) {
	room := newBatchRoom(100)
	failure := errors.New("no luck")
	for range 10 {
		if _, err := room.read(func() (*pb.GetResponse, error) { return nil, failure }); !errors.Is(err, failure) {
			t.Fatal(err)
		}
	}
	if _, err := room.read(func() (*pb.GetResponse, error) { return &pb.GetResponse{Context: make([]byte, 90)}, nil }); err != nil {
		t.Fatal(err)
	}
}
