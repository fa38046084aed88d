package kvfake

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

type clusterService struct {
	pb.UnimplementedClusterServer
	node *Node
}

// Status implements pb.ClusterServer.
func (s *clusterService) Status(_ context.Context, r *pb.StatusRequest) (*pb.StatusResponse, error) {
	c := s.node.cluster
	reply := &pb.StatusResponse{
		Cluster: "fake", ClusterId: make([]byte, 16), Epoch: c.epoch.Number, Partitions: partitions,
		NodeId: s.node.ID[:], Version: "fake", ServerTimeMs: c.millis(),
	}
	for _, n := range c.Nodes {
		owned, share := c.epoch.Base.Share(n.ID, min(replicas, len(c.Nodes)))
		status := &pb.NodeStatus{
			Id: n.ID[:], Name: n.Name, Zone: "default", Liveness: c.livenessOf(n.Name), Ready: true,
			ClientAddr: n.Addr, Version: "fake", Partitions: uint32(owned), Share: share, Member: true, Lag: c.lagOf(n.Name),
		}
		if status.Liveness == pb.Liveness_LIVENESS_DEAD {
			status.Ready, status.HintsWaiting, status.HintBytesWaiting = false, 12, 3456
			status.OldestHintMs, status.SilentMs = 61_000, 75_000
		}
		reply.Nodes = append(reply.Nodes, status)
	}
	if r.GetPartitions() {
		reply.Lags = partitionLags()
	}
	return reply, nil
}

// partitionLags are made up: 22 partitions, of which one does not get on and one is rebuilt.
func partitionLags() []*pb.PartitionLag {
	out := []*pb.PartitionLag{
		{N: 3, Partition: 17, AgeMs: 1_860_000, Reason: "n2 does not attest: it is away"},
		{N: 3, Partition: 40, AgeMs: 90_000, Rebuilding: true},
	}
	for p := range 20 {
		out = append(out, &pb.PartitionLag{N: 2, Partition: uint32(p), AgeMs: int64(40_000 - 1000*p)})
	}
	return out
}

// Ring implements pb.ClusterServer.
func (s *clusterService) Ring(_ context.Context, r *pb.RingRequest) (*pb.RingResponse, error) {
	c := s.node.cluster
	reply := &pb.RingResponse{Number: c.epoch.Number, Buckets: c.store.list(), ServerTimeMs: c.millis()}
	if r.KnownEpoch == nil || r.GetKnownEpoch() != c.epoch.Number {
		reply.Epoch = ring.AppendEpoch(nil, c.epoch)
	}
	for _, n := range c.Nodes {
		reply.Nodes = append(reply.Nodes, &pb.NodeAddress{
			Id: n.ID[:], Name: n.Name, Zone: "default", ClientAddr: n.Addr, Liveness: c.livenessOf(n.Name),
		})
	}
	return reply, nil
}

// Locate implements pb.ClusterServer.
func (s *clusterService) Locate(_ context.Context, r *pb.LocateRequest) (*pb.LocateResponse, error) {
	c := s.node.cluster
	layout := c.epoch.Base
	token := ring.TokenOf(c.store.bucketID(r.GetBucket()), r.GetPartitionKey())
	p := layout.PartitionOf(token)
	reply := &pb.LocateResponse{Token: uint64(token), Partition: uint32(p), Epoch: c.epoch.Number, N: replicas}
	for i, id := range layout.Preference(p) {
		n := c.Nodes[id[0]-1]
		reply.Preference = append(reply.Preference, &pb.Placement{
			Id: n.ID[:], Name: n.Name, Zone: "default", Liveness: c.livenessOf(n.Name),
			Owner: i < replicas, Guardian: i < 2*replicas,
		})
	}
	return reply, nil
}

// Hints implements pb.ClusterServer.
func (s *clusterService) Hints(context.Context, *pb.HintsRequest) (*pb.HintsResponse, error) {
	c := s.node.cluster
	reply := &pb.HintsResponse{}
	for _, n := range c.Nodes {
		if c.livenessOf(n.Name) == pb.Liveness_LIVENESS_DEAD {
			reply.Missing = append(reply.Missing, n.Name)
			reply.Hints = append(reply.Hints, &pb.HintStatus{
				HolderId: s.node.ID[:], Holder: s.node.Name, TargetId: n.ID[:], Target: n.Name,
				Items: 12, Bytes: 3456, OldestMs: 61_000,
			})
		}
	}
	return reply, nil
}

// CreateBucket implements pb.ClusterServer.
func (s *clusterService) CreateBucket(_ context.Context, r *pb.CreateBucketRequest) (*pb.CreateBucketResponse, error) {
	made, created := s.node.cluster.store.create(r.GetBucket())
	if want := r.GetBucket(); !created && want.GetN() != 0 && want.GetN() != made.GetN() {
		return nil, Fault(codes.AlreadyExists, pb.Reason_REASON_BUCKET_EXISTS, "the bucket exists with another N")
	}
	return &pb.CreateBucketResponse{Bucket: made, Created: created}, nil
}

// AlterBucket implements pb.ClusterServer.
func (s *clusterService) AlterBucket(_ context.Context, r *pb.AlterBucketRequest) (*pb.AlterBucketResponse, error) {
	st := s.node.cluster.store
	st.mu.Lock()
	defer st.mu.Unlock()
	b, err := st.find(r.GetName())
	if err != nil {
		return nil, err
	}
	// A copy: replies with the old settings may be on their way.
	b.settings = proto.CloneOf(b.settings)
	if r.GetR() != nil {
		b.settings.R = r.GetR()
	}
	if r.GetW() != nil {
		b.settings.W = r.GetW()
	}
	if r.GetDurability() != 0 {
		b.settings.Durability = r.GetDurability()
	}
	if r.GetTtl().GetKind() != nil {
		b.settings.TtlMs = r.GetTtl().GetMs()
	}
	return &pb.AlterBucketResponse{Bucket: b.settings}, nil
}

// ListBuckets implements pb.ClusterServer.
func (s *clusterService) ListBuckets(context.Context, *pb.ListBucketsRequest) (*pb.ListBucketsResponse, error) {
	return &pb.ListBucketsResponse{Buckets: s.node.cluster.store.list()}, nil
}

// DropBucket implements pb.ClusterServer.
func (s *clusterService) DropBucket(_ context.Context, r *pb.DropBucketRequest) (*pb.DropBucketResponse, error) {
	if !s.node.cluster.store.drop(r.GetName()) {
		return nil, Fault(codes.NotFound, pb.Reason_REASON_UNKNOWN_BUCKET, "no bucket "+r.GetName())
	}
	return &pb.DropBucketResponse{}, nil
}
