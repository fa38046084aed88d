package node

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// maxBatchReadBytes bounds the items of one response: half of what the client package takes as one message.
	maxBatchReadBytes = 32 << 20
	// firstReadBytes is what an item counts for until the first has been read: eight are read at first.
	firstReadBytes = 4 << 20
)

// BatchGet reads many items side by side; each has its own outcome.
func (s *kvService) BatchGet(ctx context.Context, req *pb.BatchGetRequest) (resp *pb.BatchGetResponse, err error) {
	ctx, done, err := s.n.begin(ctx, "batch_get", req.GetOptions().GetR(), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	if len(req.GetKeys()) > maxBatchItems {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "batch of %d keys: at most %d", len(req.GetKeys()), maxBatchItems)
	}
	resp = &pb.BatchGetResponse{Results: make([]*pb.BatchGetResult, len(req.GetKeys()))}
	room := newBatchRoom(maxBatchReadBytes)
	eachOf(len(req.GetKeys()), func(i int) {
		ok, err := room.read(func() (*pb.GetResponse, error) {
			return s.n.get(ctx, &pb.GetRequest{Bucket: req.GetBucket(), Key: req.GetKeys()[i], Options: req.GetOptions()})
		})
		if err != nil {
			resp.Results[i] = &pb.BatchGetResult{Result: &pb.BatchGetResult_Error{Error: status.Convert(toFault(err)).Proto()}}
			return
		}
		resp.Results[i] = &pb.BatchGetResult{Result: &pb.BatchGetResult_Ok{Ok: ok}}
	})
	return resp, nil
}

// batchRoom bounds the bytes of a response whose items are read side by side, and about the bytes that are in memory
// meanwhile: items are expected to be as large as the largest so far, and only as many are read at once as have room.
type batchRoom struct {
	limit int

	mu       sync.Mutex
	ended    sync.Cond // a read has ended
	reading  int
	kept     int  // bytes in the response
	largest  int  // of the items read; firstReadBytes before the first
	measured bool // an item was read
	full     bool // an item had no room: the rest is not read
}

func newBatchRoom(limit int) *batchRoom {
	r := &batchRoom{limit: limit, largest: min(firstReadBytes, limit)}
	r.ended.L = &r.mu
	return r
}

// read runs get when there may be room for what it returns. When there is none the error says so.
func (r *batchRoom) read(get func() (*pb.GetResponse, error)) (*pb.GetResponse, error) {
	if !r.begin() {
		return nil, r.overflow()
	}
	resp, err := get()
	if !r.end(resp, err) {
		return nil, r.overflow()
	}
	return resp, err
}

// begin waits until one more read may begin; false when the response is full. A lone read always may: it is what tells
// whether there is room.
func (r *batchRoom) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.full && r.reading > 0 && r.kept+(r.reading+1)*r.largest > r.limit {
		r.ended.Wait()
	}
	if r.full {
		return false
	}
	r.reading++
	return true
}

// end counts what a read returned; false when there is no room for it. The first item always has room, so that whoever
// asks for the rest again gets on.
func (r *batchRoom) end(resp *pb.GetResponse, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading--
	r.ended.Broadcast()
	if err != nil {
		return true
	}
	size := proto.Size(resp)
	if !r.measured {
		r.measured, r.largest = true, 0
	}
	r.largest = max(r.largest, size)
	if r.kept > 0 && r.kept+size > r.limit {
		r.full = true
		return false
	}
	r.kept += size
	r.full = r.full || r.kept >= r.limit
	return true
}

func (r *batchRoom) overflow() error {
	return &fault{
		code: codes.ResourceExhausted, reason: pb.Reason_REASON_OVERLOADED,
		message: fmt.Sprintf("the response holds %d MiB at most: ask for this key again", r.limit>>20),
	}
}
