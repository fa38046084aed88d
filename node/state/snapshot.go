package state

import (
	"cmp"
	"maps"
	"slices"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// rememberedDrops bounds, by name, how many dropped generations a snapshot lists.
const rememberedDrops = 256

// NodeAttributes are what may change about a node; its id may not.
type NodeAttributes struct {
	ID         ring.NodeID
	Name, Zone string
	// As host:port, the way other nodes and clients reach it.
	ClientAddr, PeerAddr, GossipAddr, HTTPAddr string
	// Generation is one higher each time that the node changes one of the others.
	Generation uint64
	// Version of the node's binary.
	Version string
}

// Proto returns the attributes in their wire form.
func (n NodeAttributes) Proto() *pb.NodeAttributes {
	return &pb.NodeAttributes{
		Id: n.ID[:], Name: n.Name, Zone: n.Zone,
		ClientAddr: n.ClientAddr, PeerAddr: n.PeerAddr, GossipAddr: n.GossipAddr, HttpAddr: n.HTTPAddr,
		Generation: n.Generation, Version: n.Version,
	}
}

// NodeAttributesOf returns the attributes that p carries. A malformed id gives the zero id.
func NodeAttributesOf(p *pb.NodeAttributes) NodeAttributes {
	n := NodeAttributes{
		Name: p.GetName(), Zone: p.GetZone(),
		ClientAddr: p.GetClientAddr(), PeerAddr: p.GetPeerAddr(), GossipAddr: p.GetGossipAddr(), HTTPAddr: p.GetHttpAddr(),
		Generation: p.GetGeneration(), Version: p.GetVersion(),
	}
	if len(p.GetId()) == len(n.ID) {
		n.ID = ring.NodeID(p.GetId())
	}
	return n
}

// Snapshot is what requests need of the cluster's state. Immutable; everything it returns is shared.
type Snapshot struct {
	// Cluster is the cluster's name, known before the founding.
	Cluster string
	// ClusterID is zero and Epoch nil until the cluster is founded.
	ClusterID   [16]byte
	Incarnation uint64
	Epoch       *ring.Epoch
	// History says how the last epochs came about, oldest first. It may have gaps. Read-only.
	History []EpochChange
	// Nodes are the attributes of all nodes that the document knows. Read-only. A node counts as a member by
	// Epoch alone.
	Nodes map[ring.NodeID]NodeAttributes

	byName  map[string]*Bucket
	byID    map[uint64]*Bucket
	sorted  []*Bucket
	dropped []uint64
}

func newSnapshot(d *Document) *Snapshot {
	s := &Snapshot{
		Cluster:     d.wire.GetName(),
		Incarnation: d.wire.GetIncarnation(),
		Epoch:       d.newest,
		History:     d.history(),
		Nodes:       make(map[ring.NodeID]NodeAttributes, len(d.wire.GetNodes())),
		byName:      make(map[string]*Bucket, len(d.wire.GetBuckets())),
		byID:        make(map[uint64]*Bucket, len(d.wire.GetBuckets())),
	}
	copy(s.ClusterID[:], d.wire.GetClusterId())
	for _, n := range d.wire.GetNodes() {
		a := NodeAttributesOf(n)
		s.Nodes[a.ID] = a
	}
	for name, e := range d.wire.GetBuckets() {
		for g := firstRemembered(e.GetGeneration()); g < e.GetGeneration(); g++ {
			s.dropped = append(s.dropped, BucketID(name, g))
		}
		if e.GetDropped() {
			s.dropped = append(s.dropped, e.GetBucket().GetId())
			continue
		}
		b := newBucket(e)
		s.byName[name], s.byID[b.ID] = b, b
	}
	s.sorted = slices.SortedFunc(maps.Values(s.byName), func(a, b *Bucket) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(s.dropped)
	return s
}

// firstRemembered is the first of the generations before g whose ids are still listed as dropped.
func firstRemembered(g uint64) uint64 {
	if g <= rememberedDrops {
		return 1
	}
	return g - rememberedDrops
}

// Founded reports whether this node belongs to a cluster.
func (s *Snapshot) Founded() bool { return s.Epoch != nil }

// Bucket returns the bucket of that name.
func (s *Snapshot) Bucket(name string) (*Bucket, bool) {
	b, ok := s.byName[name]
	return b, ok
}

// BucketByID returns the bucket with that id.
func (s *Snapshot) BucketByID(id uint64) (*Bucket, bool) {
	b, ok := s.byID[id]
	return b, ok
}

// Buckets returns all buckets by name. Read-only.
func (s *Snapshot) Buckets() []*Bucket { return s.sorted }

// DroppedBuckets returns the ids of the buckets that were dropped (the last 256 of each name), ascending: their
// data may go. Read-only.
func (s *Snapshot) DroppedBuckets() []uint64 { return s.dropped }

// Dropped reports whether id is of a dropped bucket: a replica that is asked to write into it refuses.
func (s *Snapshot) Dropped(id uint64) bool {
	_, found := slices.BinarySearch(s.dropped, id)
	return found
}

// IsMember reports whether the present epoch counts id among its members, present or coming.
func (s *Snapshot) IsMember(id ring.NodeID) bool {
	return s.Epoch != nil && (isMember(s.Epoch.Base, id) || isMember(s.Epoch.Next, id))
}

// MemberNamed returns the member that has this name. A node of that name with another id has lost its disk,
// or was given a name that is taken.
func (s *Snapshot) MemberNamed(name string) (ring.NodeID, bool) {
	for id, n := range s.Nodes {
		if n.Name == name && s.IsMember(id) {
			return id, true
		}
	}
	return ring.NodeID{}, false
}

// Members returns the members of the present epoch, coming ones included, ascending by id.
func (s *Snapshot) Members() []ring.Member {
	if s.Epoch == nil {
		return nil
	}
	all := slices.Clone(s.Epoch.Base.Members())
	if s.Epoch.Next != nil {
		all = append(all, s.Epoch.Next.Members()...)
	}
	slices.SortFunc(all, func(a, b ring.Member) int { return a.ID.Compare(b.ID) })
	return slices.CompactFunc(all, func(a, b ring.Member) bool { return a.ID == b.ID })
}
