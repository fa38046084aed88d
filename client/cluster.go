package client

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// NodeID names a node for good.
type NodeID = ring.NodeID

// Liveness is what the answering node believes of another.
type Liveness uint8

// Livenesses.
const (
	LivenessUnknown Liveness = iota
	Alive
	// Suspect nodes gossip, but answer slowly or not at all: they are avoided.
	Suspect
	Dead
	// Left nodes went on purpose.
	Left
)

// String returns "alive", "suspect", "dead", "left" or "unknown".
func (l Liveness) String() string {
	if l > Left {
		l = LivenessUnknown
	}
	return [...]string{"unknown", "alive", "suspect", "dead", "left"}[l]
}

// Status is the cluster as one node sees it.
type Status struct {
	// Cluster is the cluster's name.
	Cluster string
	// ClusterID has 16 bytes; none while the cluster is not founded.
	ClusterID []byte
	// Epoch is the number of the ring, Partitions how many arcs it has.
	Epoch      uint64
	Partitions int
	// Node answered, and runs Version.
	Node    NodeID
	Version string
	// Time is that node's clock.
	Time time.Time
	// Nodes are all that the node knows.
	Nodes []NodeStatus
	// Lags are those of the partitions that the answering node owns, the oldest first, if PartitionLags asked for them.
	Lags []PartitionLag
}

// NodeStatus is one row of a Status.
type NodeStatus struct {
	ID         NodeID
	Name, Zone string
	Liveness   Liveness
	// Ready: serving requests. Reason is what the node says of itself when it isn't, or when it refuses writes because
	// its disk is full.
	Ready  bool
	Reason string
	// Addresses are "host:port".
	ClientAddr, PeerAddr, GossipAddr, HTTPAddr string
	Version                                    string
	// Partitions of which the node is an owner, and their share of all owned partitions, 0 to 1.
	Partitions int
	Share      float64
	// Member: a layout names the node. If not, it is a candidate.
	Member bool
	// HintsWaiting and HintBytesWaiting are what other nodes hold for the node; OldestHint is the age of the
	// oldest.
	HintsWaiting, HintBytesWaiting uint64
	OldestHint                     time.Duration
	// Silent is for how long a node that isn't alive was not heard of.
	Silent time.Duration
	// Latency is the recent round trip of requests to the node.
	Latency time.Duration
	// Lag is how far its data lies behind; nil where the node did not answer, or is too old to tell.
	Lag *Lag
}

// Ring is the ring as one node knows it.
type Ring struct {
	// Number is that of the epoch.
	Number uint64
	// Epoch is nil while the cluster is not founded.
	Epoch *ring.Epoch
	// Nodes and Buckets are all that the node knows.
	Nodes   []RingNode
	Buckets []Bucket
	// Time is the answering node's clock.
	Time time.Time
}

// RingNode is where a node takes clients.
type RingNode struct {
	ID         NodeID
	Name, Zone string
	ClientAddr string
	Liveness   Liveness
}

// Location tells where a partition key lives.
type Location struct {
	// Token is the key's place on the ring, Partition the arc that it lies in, Epoch the number of the ring, and N how
	// many owners the bucket has.
	Token     uint64
	Partition int
	Epoch     uint64
	N         int
	// Preference is the whole preference list, owners first.
	Preference []Placement
}

// Placement is one node of a preference list.
type Placement struct {
	ID         NodeID
	Name, Zone string
	Liveness   Liveness
	// Owner: one of the N. Guardian: may coordinate writes and hold hints.
	Owner, Guardian bool
}

// Hints lists the hints that live nodes hold.
type Hints struct {
	// Hints are by holder and target.
	Hints []HintStatus
	// Missing names nodes that did not answer, whose hints are not listed.
	Missing []string
}

// HintStatus is what one node holds for another.
type HintStatus struct {
	Holder, Target     string
	HolderID, TargetID NodeID
	// Items is how many items the target will be sent.
	Items uint64
	// Bytes is what the hints take of the holder's budget.
	Bytes uint64
	// Oldest is the age of the oldest.
	Oldest time.Duration
}

// Status asks the first address given to Open that answers for the cluster's state. Options: Timeout, LocalOnly, PartitionLags.
func (c *Client) Status(ctx context.Context, opts ...CallOption) (*Status, error) {
	o := newCallOptions(opts)
	reply, err := invoke(ctx, c, viewCall("status", &o),
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.StatusResponse, error) {
			return e.cluster.Status(ctx, &pb.StatusRequest{Local: o.local, Partitions: o.lags}, opts...)
		})
	if err != nil {
		return nil, err
	}
	s := &Status{
		Cluster: reply.GetCluster(), ClusterID: reply.GetClusterId(), Epoch: reply.GetEpoch(),
		Partitions: int(reply.GetPartitions()), Node: nodeID(reply.GetNodeId()), Version: reply.GetVersion(),
		Time: time.UnixMilli(reply.GetServerTimeMs()), Nodes: make([]NodeStatus, len(reply.GetNodes())),
	}
	for i, n := range reply.GetNodes() {
		s.Nodes[i] = NodeStatus{
			ID: nodeID(n.GetId()), Name: n.GetName(), Zone: n.GetZone(),
			Liveness: Liveness(n.GetLiveness()), Ready: n.GetReady(), Reason: n.GetReason(),
			ClientAddr: n.GetClientAddr(), PeerAddr: n.GetPeerAddr(),
			GossipAddr: n.GetGossipAddr(), HTTPAddr: n.GetHttpAddr(), Version: n.GetVersion(),
			Partitions: int(n.GetPartitions()), Share: n.GetShare(), Member: n.GetMember(),
			HintsWaiting: n.GetHintsWaiting(), HintBytesWaiting: n.GetHintBytesWaiting(),
			OldestHint: milliseconds(n.GetOldestHintMs()), Silent: milliseconds(n.GetSilentMs()),
			Latency: time.Duration(n.GetLatencyUs()) * time.Microsecond, Lag: lagFromProto(n.GetLag()),
		}
	}
	for _, p := range reply.GetLags() {
		s.Lags = append(s.Lags, partitionLagFromProto(p))
	}
	return s, nil
}

// Ring fetches the ring anew. Options: Timeout.
func (c *Client) Ring(ctx context.Context, opts ...CallOption) (*Ring, error) {
	o := newCallOptions(opts)
	reply, err := invoke(ctx, c, viewCall("ring", &o),
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.RingResponse, error) {
			return e.cluster.Ring(ctx, &pb.RingRequest{}, opts...)
		})
	if err != nil {
		return nil, err
	}
	t, err := newTopology(reply, nil)
	if err != nil {
		return nil, &Error{Op: "ring", Code: codes.Internal, Message: "the node's ring: " + err.Error()}
	}
	r := &Ring{Number: reply.GetNumber(), Epoch: t.epoch, Time: time.UnixMilli(reply.GetServerTimeMs())}
	for _, n := range reply.GetNodes() {
		r.Nodes = append(r.Nodes, RingNode{
			ID: nodeID(n.GetId()), Name: n.GetName(), Zone: n.GetZone(),
			ClientAddr: n.GetClientAddr(), Liveness: Liveness(n.GetLiveness()),
		})
	}
	r.Buckets = bucketsFromProto(reply.GetBuckets())
	return r, nil
}

// Locate asks where a partition key lives. Options: Timeout.
func (c *Client) Locate(ctx context.Context, bucket string, partition []byte, opts ...CallOption) (*Location, error) {
	o := newCallOptions(opts)
	reply, err := invoke(ctx, c, viewCall("locate", &o),
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.LocateResponse, error) {
			return e.cluster.Locate(ctx, &pb.LocateRequest{Bucket: bucket, PartitionKey: partition}, opts...)
		})
	if err != nil {
		return nil, err
	}
	l := &Location{
		Token: reply.GetToken(), Partition: int(reply.GetPartition()), Epoch: reply.GetEpoch(), N: int(reply.GetN()),
		Preference: make([]Placement, len(reply.GetPreference())),
	}
	for i, p := range reply.GetPreference() {
		l.Preference[i] = Placement{
			ID: nodeID(p.GetId()), Name: p.GetName(), Zone: p.GetZone(),
			Liveness: Liveness(p.GetLiveness()), Owner: p.GetOwner(), Guardian: p.GetGuardian(),
		}
	}
	return l, nil
}

// Hints lists the hints of all live nodes. Options: Timeout, LocalOnly.
func (c *Client) Hints(ctx context.Context, opts ...CallOption) (*Hints, error) {
	o := newCallOptions(opts)
	reply, err := invoke(ctx, c, viewCall("hints", &o),
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.HintsResponse, error) {
			return e.cluster.Hints(ctx, &pb.HintsRequest{Local: o.local}, opts...)
		})
	if err != nil {
		return nil, err
	}
	h := &Hints{Hints: make([]HintStatus, len(reply.GetHints())), Missing: reply.GetMissing()}
	for i, s := range reply.GetHints() {
		h.Hints[i] = HintStatus{
			Holder: s.GetHolder(), Target: s.GetTarget(),
			HolderID: nodeID(s.GetHolderId()), TargetID: nodeID(s.GetTargetId()),
			Items: s.GetItems(), Bytes: s.GetBytes(), Oldest: milliseconds(s.GetOldestMs()),
		}
	}
	return h, nil
}

// CompareScope says what two nodes are to compare.
type CompareScope struct {
	// Partitions are the only ones to compare; none: all that both own.
	Partitions []int
	// Bucket is the id of the only one to compare; 0: all.
	Bucket uint64
	// Look changes nothing: what differs is only named.
	Look bool
}

// Comparison is what two nodes found when they compared what they hold, and did about it. Counts of items are of copies: an
// item may have been mended on both sides.
type Comparison struct {
	// Partitions were compared, PartitionsDiffered of them did not have the same sum, and Items were looked at there.
	Partitions, PartitionsDiffered, Items uint64
	// Fetched copies were mended on the first node, Pushed ones on the second; Refused ones a side would not take.
	Fetched, Pushed, Refused uint64
	// Bytes of states travelled.
	Bytes uint64
	// Unlike is how many items a look found to differ, Keys are the first hundred of them.
	Unlike uint64
	Keys   []ComparedKey
}

// ComparedKey is an item that differs. Bucket is its bucket's name, or the id in hexadecimal if the answering node knows
// none.
type ComparedKey struct {
	Bucket string
	Key    Key
}

// Compare has two nodes compare what both own and mend what differs, as they do by themselves every so often. It may be
// repeated. Two nodes that own nothing together have nothing to compare, which is no error. Give it time: Timeout. Options:
// Timeout.
func (c *Client) Compare(ctx context.Context, node, with NodeID, scope CompareScope, opts ...CallOption) (*Comparison, error) {
	o := newCallOptions(opts)
	req := &pb.CompareRequest{NodeId: node[:], WithId: with[:], Look: scope.Look, BucketId: scope.Bucket}
	for _, p := range scope.Partitions {
		req.Partitions = append(req.Partitions, uint32(p))
	}
	op := viewCall("compare", &o)
	op.kind = kindOnce // it takes as long as there is to do, and another node would begin anew
	reply, err := invoke(ctx, c, op,
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.CompareResponse, error) {
			return e.cluster.Compare(ctx, req, opts...)
		})
	if err != nil {
		return nil, err
	}
	out := &Comparison{
		Partitions: reply.GetPartitions(), PartitionsDiffered: reply.GetPartitionsDiffered(), Items: reply.GetItems(),
		Fetched: reply.GetFetched(), Pushed: reply.GetPushed(), Refused: reply.GetRefused(), Bytes: reply.GetBytes(),
		Unlike: reply.GetUnlike(),
	}
	names := c.topology.Load().bucketNames()
	for _, item := range reply.GetKeys() {
		name, ok := names[item.GetBucketId()]
		if !ok {
			name = strconv.FormatUint(item.GetBucketId(), 16)
		}
		out.Keys = append(out.Keys, ComparedKey{Bucket: name, Key: Key{Partition: item.GetPartitionKey(), Sort: item.GetSortKey()}})
	}
	return out, nil
}

// viewCall asks for a node's view of the cluster.
func viewCall(op string, o *callOptions) call {
	return call{op: op, timeout: o.timeout, to: target{seedsFirst: true}}
}

// nodeID reads an id off the wire; one of another length, which no server sends, counts as none.
func nodeID(b []byte) NodeID {
	if len(b) != len(NodeID{}) {
		return NodeID{}
	}
	return NodeID(b)
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
