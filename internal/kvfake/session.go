package kvfake

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Session implements pb.KVServer. The node's Intercept sees every call as a Get, Put or Delete, and not the session itself.
func (s *kvService) Session(st grpc.BidiStreamingServer[pb.SessionRequests, pb.SessionReplies]) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	var sending sync.Mutex
	for {
		frame, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range frame.GetRequests() {
			calls.Go(func() {
				reply := s.call(ctx, m)
				sending.Lock()
				defer sending.Unlock()
				// It fails when the stream is over: nobody waits for the reply then.
				_ = st.Send(&pb.SessionReplies{Replies: []*pb.SessionReply{reply}})
			})
		}
	}
}

// call serves one call of a session as if it had come by itself.
func (s *kvService) call(ctx context.Context, m *pb.SessionRequest) *pb.SessionReply {
	if m.GetTimeoutUs() > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(m.GetTimeoutUs())*time.Microsecond)
		defer cancel()
	}
	reply := &pb.SessionReply{Id: m.GetId()}
	var err error
	switch body := m.GetBody().(type) {
	case *pb.SessionRequest_Get:
		var r *pb.GetResponse
		r, err = alone(ctx, s.node, "/Get", body.Get, s.Get)
		reply.Body = &pb.SessionReply_Get{Get: r}
	case *pb.SessionRequest_Put:
		var r *pb.PutResponse
		r, err = alone(ctx, s.node, "/Put", body.Put, s.Put)
		reply.Body = &pb.SessionReply_Put{Put: r}
	case *pb.SessionRequest_Delete:
		var r *pb.DeleteResponse
		r, err = alone(ctx, s.node, "/Delete", body.Delete, s.Delete)
		reply.Body = &pb.SessionReply_Delete{Delete: r}
	}
	if err != nil {
		st, ok := status.FromError(err)
		if !ok {
			st = status.FromContextError(err) // as gRPC does
		}
		return &pb.SessionReply{Id: m.GetId(), Error: st.Proto()}
	}
	return reply
}

// alone lets a node's hooks see a call.
func alone[Q, R any](ctx context.Context, n *Node, method string, request *Q, serve func(context.Context, *Q) (*R, error)) (*R, error) {
	reply, err := n.unary(ctx, request, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		return serve(ctx, request)
	})
	if err != nil {
		return nil, err
	}
	return reply.(*R), nil
}
