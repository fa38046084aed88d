package node

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// clusterService serves the Cluster service on the client port.
type clusterService struct {
	pb.UnimplementedClusterServer
	n *Node
}

// shareAt is the N at which Status counts a node's partitions: that of most buckets.
const shareAt = 3

// Status lists the nodes. It answers on a node that isn't ready too: that is when it is needed most.
func (s *clusterService) Status(ctx context.Context, req *pb.StatusRequest) (*pb.StatusResponse, error) {
	n := s.n
	snap := n.state.Snapshot()
	resp := &pb.StatusResponse{
		Cluster: snap.Cluster, NodeId: n.id[:], Version: Version, ServerTimeMs: n.clock.Physical().UnixMilli(),
	}
	if snap.Founded() {
		resp.ClusterId, resp.Epoch, resp.Partitions = snap.ClusterID[:], snap.Epoch.Number, uint32(snap.Epoch.Partitions())
	}
	told := n.ownAccount(true)
	if !req.GetLocal() {
		told = n.allAccounts(ctx, true)
	}
	told.lags.explain()
	for _, id := range n.knownNodes(snap) {
		node := n.nodeStatus(snap, id, told.hints)
		node.Lag = told.lags.byNode[id]
		resp.Nodes = append(resp.Nodes, node)
	}
	if req.GetPartitions() {
		resp.Lags = n.partitionLags(told.lags.why)
	}
	slices.SortFunc(resp.Nodes, func(a, b *pb.NodeStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), bytes.Compare(a.Id, b.Id))
	})
	return resp, nil
}

// knownNodes are the members, and whoever else gossip has seen.
func (n *Node) knownNodes(snap *state.Snapshot) []ring.NodeID {
	seen := map[ring.NodeID]bool{n.id: true}
	for _, m := range snap.Members() {
		seen[m.ID] = true
	}
	for _, node := range n.members.Nodes() {
		seen[node.ID] = true
	}
	out := make([]ring.NodeID, 0, len(seen))
	for id := range seen {
		out = append(out, id)
	}
	return out
}

func (n *Node) nodeStatus(snap *state.Snapshot, id ring.NodeID, hints []*pb.HintStatus) *pb.NodeStatus {
	a := n.attributes(id)
	out := &pb.NodeStatus{
		Id: id[:], Name: a.Name, Zone: a.Zone, ClientAddr: a.ClientAddr, PeerAddr: a.PeerAddr, GossipAddr: a.GossipAddr,
		HttpAddr: a.HTTPAddr, Version: a.Version, Liveness: n.liveness(id), Member: snap.IsMember(id),
		LatencyUs: n.detector.Latency(id).Microseconds(),
	}
	if snap.Founded() {
		partitions, share := snap.Epoch.Base.Share(id, min(shareAt, len(snap.Members())))
		out.Partitions, out.Share = uint32(partitions), share
	}
	if id == n.id {
		out.Reason = n.notReadyReason()
		out.Ready = out.Reason == ""
		if space := n.store.Space(); out.Ready && space.Full {
			out.Reason = fmt.Sprintf("refuses writes: the disk has %s free and keeps %s in reserve", config.Bytes(space.Free), config.Bytes(space.Reserve))
		}
	} else if seen, ok := n.members.Node(id); ok {
		out.Ready = seen.Meta.GetReady() && out.Liveness == pb.Liveness_LIVENESS_ALIVE
		if out.Liveness != pb.Liveness_LIVENESS_ALIVE {
			out.SilentMs = n.opts.Now().Sub(seen.Since).Milliseconds()
		}
	}
	for _, h := range hints {
		if bytes.Equal(h.TargetId, id[:]) {
			out.HintsWaiting += h.Items
			out.HintBytesWaiting += h.Bytes
			out.OldestHintMs = max(out.OldestHintMs, h.OldestMs)
		}
	}
	return out
}

func (n *Node) liveness(id ring.NodeID) pb.Liveness {
	switch n.detector.State(id) {
	case membership.Alive:
		return pb.Liveness_LIVENESS_ALIVE
	case membership.Suspect:
		return pb.Liveness_LIVENESS_SUSPECT
	case membership.Left:
		return pb.Liveness_LIVENESS_LEFT
	default:
		return pb.Liveness_LIVENESS_DEAD
	}
}

// Ring returns what clients route by.
func (s *clusterService) Ring(_ context.Context, req *pb.RingRequest) (*pb.RingResponse, error) {
	snap := s.n.state.Snapshot()
	if !snap.Founded() {
		return nil, notReady("%s", s.n.notReadyReason())
	}
	resp := &pb.RingResponse{Number: snap.Epoch.Number, ServerTimeMs: s.n.clock.Physical().UnixMilli()}
	if req.KnownEpoch == nil || req.GetKnownEpoch() != snap.Epoch.Number {
		resp.Epoch = ring.AppendEpoch(nil, snap.Epoch)
	}
	for _, m := range snap.Members() {
		a := s.n.attributes(m.ID)
		resp.Nodes = append(resp.Nodes, &pb.NodeAddress{
			Id: a.ID[:], Name: a.Name, Zone: a.Zone, ClientAddr: a.ClientAddr, Liveness: s.n.liveness(m.ID),
		})
	}
	for _, b := range snap.Buckets() {
		resp.Buckets = append(resp.Buckets, b.Proto())
	}
	return resp, nil
}

// Locate tells where an item lives, in a move by both layouts.
func (s *clusterService) Locate(_ context.Context, req *pb.LocateRequest) (*pb.LocateResponse, error) {
	b, err := s.n.bucket(req.GetBucket())
	if err != nil {
		return nil, toFault(err)
	}
	item, err := itemKey(b, &pb.ItemKey{PartitionKey: req.GetPartitionKey()})
	if err != nil {
		return nil, err
	}
	epoch := s.n.epoch()
	token := tokenOf(item)
	p := epoch.PartitionOf(token)
	resp := &pb.LocateResponse{Token: uint64(token), Partition: uint32(p), Epoch: epoch.Number, N: uint32(b.N)}
	for _, id := range epoch.Preference(p, b.N) {
		a := s.n.attributes(id)
		resp.Preference = append(resp.Preference, &pb.Placement{
			Id: id[:], Name: a.Name, Zone: a.Zone, Liveness: s.n.liveness(id),
			Owner: epoch.IsOwner(p, b.N, id), Guardian: epoch.IsGuardian(p, b.N, id),
		})
	}
	return resp, nil
}

// Hints lists the hints of all nodes that answer.
func (s *clusterService) Hints(ctx context.Context, req *pb.HintsRequest) (*pb.HintsResponse, error) {
	if req.GetLocal() {
		return &pb.HintsResponse{Hints: s.n.ownHints()}, nil
	}
	told := s.n.allAccounts(ctx, false)
	return &pb.HintsResponse{Hints: told.hints, Missing: told.missing}, nil
}

func (n *Node) ownHints() []*pb.HintStatus {
	var out []*pb.HintStatus
	now := n.clock.Physical()
	for _, h := range n.store.HintStats() {
		target := ring.NodeID(h.Target)
		out = append(out, &pb.HintStatus{
			HolderId: n.id[:], Holder: n.cfg.Name, TargetId: target[:], Target: n.name(target),
			Items: uint64(h.Items), Bytes: uint64(h.Bytes), OldestMs: max(0, now.Sub(h.Oldest.Time())).Milliseconds(),
		})
	}
	return out
}

// askTimeout bounds a question that goes to all nodes: whoever is slower is listed as missing.
const askTimeout = time.Second

// accounts are what nodes say of the hints that they hold and, if asked, of their lag. Those that said nothing are missing.
type accounts struct {
	hints   []*pb.HintStatus
	lags    lags
	missing []string
}

// ownAccount is what this node says of itself.
func (n *Node) ownAccount(lag bool) accounts {
	out := accounts{hints: n.ownHints(), lags: lags{byNode: make(map[ring.NodeID]*pb.NodeLag), why: make(reasons)}}
	if lag && n.state.Snapshot().Founded() {
		out.lags.take(n.id, n.nodeLag(), setbacksOf(n.ownReasons()))
	}
	return out
}

// allAccounts asks every member that is alive, side by side.
func (n *Node) allAccounts(ctx context.Context, lag bool) accounts {
	out := n.ownAccount(lag)
	ask := &pb.PeerRequest{Body: &pb.PeerRequest_ListHints{ListHints: &pb.ListHints{Lag: lag}}}
	out.missing = n.askAll(ctx, ask, func(id ring.NodeID, reply *pb.PeerReply) {
		got := reply.GetListHints()
		out.hints = append(out.hints, got.GetHints()...)
		out.lags.take(id, got.GetLag(), got.GetSetbacks())
	})
	return out
}

// askAll asks every other member that is alive, side by side. take is called with one answer at a time; missing are the names
// of the members that gave none.
func (n *Node) askAll(ctx context.Context, req *pb.PeerRequest, take func(ring.NodeID, *pb.PeerReply)) (missing []string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup // bounded by the members
	for _, m := range n.state.Snapshot().Members() {
		if m.ID == n.id {
			continue
		}
		asking.Go(func() {
			var reply *pb.PeerReply
			err := errNoAddress
			if n.detector.State(m.ID) == membership.Alive {
				reply, err = peers{n}.call(ctx, m.ID, &pb.PeerRequest{Body: req.GetBody()}) // the rest is each call's own
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing = append(missing, n.name(m.ID))
				return
			}
			take(m.ID, reply)
		})
	}
	asking.Wait()
	slices.Sort(missing)
	return missing
}

// CreateBucket makes a bucket.
func (s *clusterService) CreateBucket(ctx context.Context, req *pb.CreateBucketRequest) (*pb.CreateBucketResponse, error) {
	ctx, cancel, err := s.n.beginAdmin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	b, created, err := s.n.state.Create(ctx, req.GetBucket())
	if err != nil {
		return nil, bucketFault(err)
	}
	return &pb.CreateBucketResponse{Bucket: b.Proto(), Created: created}, nil
}

// AlterBucket changes what may change of a bucket.
func (s *clusterService) AlterBucket(ctx context.Context, req *pb.AlterBucketRequest) (*pb.AlterBucketResponse, error) {
	ctx, cancel, err := s.n.beginAdmin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	b, err := s.n.state.Alter(ctx, req)
	if err != nil {
		return nil, bucketFault(err)
	}
	return &pb.AlterBucketResponse{Bucket: b.Proto()}, nil
}

// ListBuckets lists the buckets by name.
func (s *clusterService) ListBuckets(context.Context, *pb.ListBucketsRequest) (*pb.ListBucketsResponse, error) {
	snap := s.n.state.Snapshot()
	if !snap.Founded() {
		return nil, notReady("%s", s.n.notReadyReason())
	}
	resp := &pb.ListBucketsResponse{}
	for _, b := range snap.Buckets() {
		resp.Buckets = append(resp.Buckets, b.Proto())
	}
	return resp, nil
}

// DropBucket removes a bucket; every node drops its data when it hears of it.
func (s *clusterService) DropBucket(ctx context.Context, req *pb.DropBucketRequest) (*pb.DropBucketResponse, error) {
	ctx, cancel, err := s.n.beginAdmin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if err := s.n.state.Drop(ctx, req.GetName()); err != nil {
		return nil, bucketFault(err)
	}
	return &pb.DropBucketResponse{}, nil
}

// bucket finds a bucket for a request.
func (n *Node) bucket(name string) (*state.Bucket, error) {
	if name == "" {
		name = state.DefaultBucket
	}
	if b, ok := n.state.Snapshot().Bucket(name); ok {
		return b, nil
	}
	return nil, &fault{code: codes.NotFound, reason: pb.Reason_REASON_UNKNOWN_BUCKET,
		message: "no bucket " + quoteShort(name) + ": create it first (starling bucket create)"}
}

// maxKeyBytes bounds partition and sort keys.
const maxKeyBytes = 64 << 10
