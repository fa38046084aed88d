package kvfake

import (
	"bytes"
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// pageItems is how many items a page of a query or a scan has at most, so that tests turn pages.
	pageItems = 100
	// maxQueryLimit is the highest limit that servers take.
	maxQueryLimit = 10_000
	// batchReadBytes bounds the items of one BatchGet; one item alone may have more.
	batchReadBytes = 64 << 10
)

type kvService struct {
	pb.UnimplementedKVServer
	node *Node
}

func (s *kvService) store() *store { return s.node.cluster.store }

// Put implements pb.KVServer.
func (s *kvService) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if t, ok := r.GetTtl().GetKind().(*pb.TimeToLive_Ms); ok && !causal.CheckTTL(t.Ms) {
		return nil, Fault(codes.InvalidArgument, pb.Reason_REASON_INVALID_ARGUMENT, "a time to live out of bounds")
	}
	reply, err := s.store().put(r, false)
	if err == nil && r.GetOptions().GetExplain() {
		reply.Explain = s.explain("write")
	}
	return reply, err
}

// Get implements pb.KVServer.
func (s *kvService) Get(_ context.Context, r *pb.GetRequest) (*pb.GetResponse, error) {
	reply, err := s.store().get(r.GetBucket(), r.GetKey())
	if err == nil && r.GetOptions().GetExplain() {
		reply.Explain = s.explain("read")
	}
	return reply, err
}

// explain makes a trace up: one owner, one fallback.
func (s *kvService) explain(action string) *pb.Explain {
	return &pb.Explain{
		CoordinatorId: s.node.ID[:], Coordinator: s.node.Name, Token: 0x0123456789abcdef, Partition: 7, N: 3,
		Required: 2, Received: 2, Mode: pb.QuorumMode_QUORUM_MODE_SLOPPY, DurationUs: 1500,
		Replicas: []*pb.ReplicaTrace{
			{Node: "n1", Zone: "default", Action: action, AnsweredUs: 700, Outcome: "ok",
				Versions: []*pb.Dot{{Actor: 7, Hlc: 1_700_000_000_000 << 16}}},
			{Node: "n4", Zone: "default", Fallback: true, HintFor: "n2", Hedged: true, Action: action,
				AskedUs: 100, Outcome: "pending"},
		},
	}
}

// Delete implements pb.KVServer.
func (s *kvService) Delete(_ context.Context, r *pb.DeleteRequest) (*pb.DeleteResponse, error) {
	p, err := s.store().put(&pb.PutRequest{
		Bucket: r.GetBucket(), Key: r.GetKey(), Context: r.GetContext(), RequestId: r.GetRequestId(),
	}, true)
	if err != nil {
		return nil, err
	}
	return &pb.DeleteResponse{
		Dot: p.GetDot(), Context: p.GetContext(), Acknowledged: p.GetAcknowledged(),
		Versions: p.GetVersions(), Repeated: p.GetRepeated(),
	}, nil
}

// BatchPut implements pb.KVServer. The node's Intercept sees every item as a Put, too.
func (s *kvService) BatchPut(ctx context.Context, r *pb.BatchPutRequest) (*pb.BatchPutResponse, error) {
	reply := &pb.BatchPutResponse{}
	for _, item := range r.GetItems() {
		put := &pb.PutRequest{
			Bucket: r.GetBucket(), Key: item.GetKey(), Value: item.GetValue(), Context: item.GetContext(),
			RequestId: item.GetRequestId(), Options: r.GetOptions(), Ttl: item.GetTtl(),
		}
		ok, err := s.node.unary(ctx, put, &grpc.UnaryServerInfo{FullMethod: "/Put"}, func(ctx context.Context, _ any) (any, error) {
			return s.Put(ctx, put)
		})
		if err != nil {
			reply.Results = append(reply.Results, &pb.BatchPutResult{
				Result: &pb.BatchPutResult_Error{Error: status.Convert(err).Proto()}})
			continue
		}
		reply.Results = append(reply.Results, &pb.BatchPutResult{Result: &pb.BatchPutResult_Ok{Ok: ok.(*pb.PutResponse)}})
	}
	return reply, nil
}

// BatchGet implements pb.KVServer.
func (s *kvService) BatchGet(ctx context.Context, r *pb.BatchGetRequest) (*pb.BatchGetResponse, error) {
	reply := &pb.BatchGetResponse{}
	size := 0
	for _, key := range r.GetKeys() {
		ok, err := s.Get(ctx, &pb.GetRequest{Bucket: r.GetBucket(), Key: key, Options: r.GetOptions()})
		if more := proto.Size(ok); size > 0 && size+more > batchReadBytes {
			err = Fault(codes.ResourceExhausted, pb.Reason_REASON_OVERLOADED, "the response is full")
		} else {
			size += more
		}
		if err != nil {
			reply.Results = append(reply.Results, &pb.BatchGetResult{
				Result: &pb.BatchGetResult_Error{Error: status.Convert(err).Proto()}})
			continue
		}
		reply.Results = append(reply.Results, &pb.BatchGetResult{Result: &pb.BatchGetResult_Ok{Ok: ok}})
	}
	return reply, nil
}

// Query implements pb.KVServer.
func (s *kvService) Query(_ context.Context, r *pb.QueryRequest) (*pb.QueryResponse, error) {
	if r.GetLimit() > maxQueryLimit {
		return nil, Fault(codes.InvalidArgument, pb.Reason_REASON_INVALID_ARGUMENT, "the limit is too high")
	}
	items, err := s.store().ranged(r.GetBucket(), func(k *pb.ItemKey) bool {
		return bytes.Equal(k.GetPartitionKey(), r.GetPartitionKey()) &&
			(r.From == nil || bytes.Compare(k.GetSortKey(), r.From) >= 0) &&
			(r.To == nil || bytes.Compare(k.GetSortKey(), r.To) <= 0)
	})
	if err != nil {
		return nil, err
	}
	if r.GetReverse() {
		slices.Reverse(items)
	}
	items = behind(items, r.GetPageToken())
	size := pageItems
	if r.GetLimit() > 0 {
		size = min(size, int(r.GetLimit()))
	}
	reply := &pb.QueryResponse{Items: items[:min(size, len(items))]}
	if len(items) > size {
		reply.NextPageToken = []byte(itemName(items[size-1].GetKey()))
	}
	if r.GetOptions().GetExplain() {
		reply.Explain = s.explain("read")
	}
	return reply, nil
}

// Scan implements pb.KVServer. The node's Intercept sees every page as a "ScanPage".
func (s *kvService) Scan(r *pb.ScanRequest, stream grpc.ServerStreamingServer[pb.ScanResponse]) error {
	all, err := s.store().ranged(r.GetBucket(), func(*pb.ItemKey) bool { return true })
	if err != nil {
		return err
	}
	items := behind(all, r.GetResumeToken())
	if limit := r.GetLimit(); limit > 0 && uint64(len(items)) > limit {
		items = items[:limit]
	}
	sent := len(all) - len(items)
	for len(items) > 0 {
		if before, _ := s.node.hooks("ScanPage"); before != nil {
			if err := before(stream.Context(), "ScanPage", nil); err != nil {
				return err
			}
		}
		page := items[:min(pageItems, len(items))]
		items = items[len(page):]
		sent += len(page)
		err := stream.Send(&pb.ScanResponse{
			Items: page, ResumeToken: []byte(itemName(page[len(page)-1].GetKey())),
			Progress: float64(sent) / float64(len(all)),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// behind leaves out the items up to the one that a token names.
func behind(items []*pb.Item, token []byte) []*pb.Item {
	for i, item := range items {
		if len(token) > 0 && itemName(item.GetKey()) == string(token) {
			return items[i+1:]
		}
	}
	return items
}
