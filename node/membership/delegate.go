package membership

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// delegate is what memberlist calls back. It holds its node lock meanwhile, mostly: so nothing here calls
// memberlist, waits, or takes a lock that is held across a wait. What happens is put into the inbox.
type delegate Membership

// NodeMeta returns this node's metadata.
func (d *delegate) NodeMeta(int) []byte { return *d.meta.Load() }

// NotifyMsg ignores user messages; GetBroadcasts has none: metadata says it all.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts returns nothing.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState returns nothing: whole exchanges carry each node's metadata, and in that the fingerprint of its document.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState ignores what nobody sends.
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyAlive decides on every node that gossip speaks of.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	if n.Name == d.o.ID.String() {
		return nil
	}
	_, err := d.inspect(n)
	if err != nil {
		d.refused.Add(1)
	}
	return err
}

// NotifyMerge decides on a whole exchange with a stranger. It is refused when none of its nodes is of our
// cluster and one of them is of another. One stray among our own does not make the peer a stranger: strays
// are turned away one by one.
func (d *delegate) NotifyMerge(peers []*memberlist.Node) error {
	var stray error
	for _, n := range peers {
		if n.State == memberlist.StateDead || n.State == memberlist.StateLeft || n.Name == d.o.ID.String() {
			continue
		}
		meta, err := d.inspect(n)
		switch {
		case err != nil:
			stray = err
		case len(meta.GetClusterId()) > 0:
			return nil
		}
	}
	if stray != nil {
		d.refused.Add(1)
	}
	return stray
}

// inspect decodes a node's metadata and asks Refuse about it.
func (d *delegate) inspect(n *memberlist.Node) (*pb.GossipMeta, error) {
	_, meta, err := decodeNode(n)
	if err != nil {
		return nil, err
	}
	if err := d.o.Refuse(meta); err != nil {
		return nil, fmt.Errorf("node %q at %s: %w", meta.GetAttributes().GetName(), n.Address(), err)
	}
	return meta, nil
}

var errMeta = errors.New("metadata is malformed")

// decodeNode reads a node's id and metadata, which must agree.
func decodeNode(n *memberlist.Node) (ring.NodeID, *pb.GossipMeta, error) {
	id, err := ring.ParseNodeID(n.Name)
	if err != nil {
		return ring.NodeID{}, nil, err
	}
	meta := &pb.GossipMeta{}
	if len(n.Meta) > memberlist.MetaMaxSize || proto.Unmarshal(n.Meta, meta) != nil {
		return ring.NodeID{}, nil, fmt.Errorf("node %s at %s: %w", id, n.Address(), errMeta)
	}
	if !bytes.Equal(meta.GetAttributes().GetId(), id[:]) {
		return ring.NodeID{}, nil, fmt.Errorf("node %s at %s: %w: it names another node", id, n.Address(), errMeta)
	}
	return id, meta, nil
}

// NotifyConflict learns that a node id is claimed by two addresses.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.conflicts.Add(1)
	if existing.Name != d.o.ID.String() {
		return
	}
	// The others know this node's former address, or somebody runs a copy of its data. In the first case it
	// must speak up until they have given the old one up for dead: they don't listen before.
	d.conflicted.Store(speakUpRounds)
	select {
	case d.rejoin <- struct{}{}:
	default:
	}
}

// NotifyJoin, NotifyUpdate and NotifyLeave queue what happened.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.post(n, true) }

// NotifyUpdate queues a node's new metadata.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.post(n, true) }

// NotifyLeave queues a death or a goodbye.
func (d *delegate) NotifyLeave(n *memberlist.Node) { d.post(n, false) }

func (d *delegate) post(n *memberlist.Node, here bool) {
	if n.Name == d.o.ID.String() {
		return
	}
	id, meta, err := decodeNode(n)
	if err != nil {
		return // NotifyAlive has turned it away already
	}
	d.inbox.put(event{id: id, meta: meta, addr: n.Address(), here: here})
}
