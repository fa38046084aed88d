package transport

import (
	"bytes"
	"fmt"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// protocol is the version of the internode protocol.
	protocol = 1
	// maxNameBytes bounds the names in a Hello.
	maxNameBytes = 255
	idBytes      = 16
)

// hello is what this node says first; to is the node it means to reach.
func (id Identity) hello(to NodeID, now time.Time) *pb.Hello {
	return &pb.Hello{
		Protocol:    protocol,
		Cluster:     id.Cluster,
		ClusterId:   id.ClusterID,
		Incarnation: id.Incarnation,
		NodeId:      id.NodeID[:],
		Name:        id.Name,
		ToNodeId:    to[:],
		WallMs:      now.UnixMilli(),
	}
}

// sameCluster says whether a stream opened as one identity may go on as the other.
func (id Identity) sameCluster(o Identity) bool {
	return id.Cluster == o.Cluster && id.Incarnation == o.Incarnation && bytes.Equal(id.ClusterID, o.ClusterID)
}

// admit judges a peer's Hello. founding means that one of the two has no cluster id yet: then only requests that
// found clusters may pass.
func (id Identity) admit(h *pb.Hello) (founding bool, refused *RefusedError) {
	refuse := func(reason, format string, args ...any) (bool, *RefusedError) {
		return false, &RefusedError{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	wrongCluster := reasonName(pb.Reason_REASON_WRONG_CLUSTER)
	switch {
	case h == nil:
		return refuse(reasonBadHello, "the first frame held no Hello")
	case h.Protocol != protocol:
		return refuse(reasonWrongProtocol, "internode protocol %d, this node speaks %d: upgrade the older one", h.Protocol, protocol)
	case len(h.NodeId) != idBytes || NodeID(h.NodeId) == NodeID{}:
		return refuse(reasonBadHello, "a Hello without a node id of 16 bytes")
	case len(h.ClusterId) != 0 && len(h.ClusterId) != idBytes:
		return refuse(reasonBadHello, "a Hello with a cluster id of %d bytes, 16 are right", len(h.ClusterId))
	case len(h.Cluster) > maxNameBytes || len(h.Name) > maxNameBytes:
		return refuse(reasonBadHello, "a Hello with a name of more than %d bytes", maxNameBytes)
	case !bytes.Equal(h.ToNodeId, id.NodeID[:]):
		return refuse(reasonWrongNode, "meant for node %x, this is %x: another node has taken its address", h.ToNodeId, id.NodeID)
	case h.Cluster != id.Cluster:
		return refuse(wrongCluster, "cluster %q met cluster %q", h.Cluster, id.Cluster)
	case len(h.ClusterId) == 0 || len(id.ClusterID) == 0:
		return true, nil
	case !bytes.Equal(h.ClusterId, id.ClusterID):
		return refuse(wrongCluster, "two clusters named %q: id %x met %x", h.Cluster, h.ClusterId, id.ClusterID)
	case h.Incarnation != id.Incarnation:
		return refuse(wrongCluster, "incarnation %d of cluster %q met incarnation %d: one side was recovered without the other", h.Incarnation, h.Cluster, id.Incarnation)
	}
	return false, nil
}

// foundsClusters says whether a request may pass between nodes of which one has no cluster id yet.
func foundsClusters(r *pb.PeerRequest) bool {
	switch r.Body.(type) {
	case *pb.PeerRequest_Propose, *pb.PeerRequest_PullState, *pb.PeerRequest_PushState, *pb.PeerRequest_Ping:
		return true
	}
	return false
}
