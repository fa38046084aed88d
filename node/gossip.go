package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/spread"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// openCluster makes what knows the other nodes: the cluster's document, the connections, the failure detector.
func (n *Node) openCluster(ctx context.Context, l *listeners, undo *cleanup) error {
	n.detector = membership.NewDetector(membership.DetectorOptions{Self: n.id, Now: n.opts.Now, SlowAfter: 4 * n.cfg.SlowReplica})
	options := transport.Options{
		Self: n.identity, HLC: func() uint64 { return uint64(n.clock.Latest()) }, ObserveHLC: n.observe,
		OnWall: func(id transport.NodeID, ahead time.Duration) { n.noteOffset(ring.NodeID(id), ahead) },
		Now:    n.opts.Now, Dial: n.opts.Dial, Rand: n.opts.Rand, Logger: n.log,
	}
	if err := options.Validate(); err != nil {
		return err
	}
	manager, err := state.New(state.Options{
		ID: n.id, Cluster: n.cfg.Cluster, ClusterID: n.store.Identity().ClusterID, Expect: n.cfg.BootstrapExpect,
		Founder:    state.IsFounder(ctx, n.cfg.BootstrapExpect, n.cfg.Join, l.gossipAt, lookupHost),
		Partitions: n.cfg.Partitions, Store: n.store, HLC: n.stamp, Rand: n.opts.Rand, Logger: n.log,
		Live:       func(id ring.NodeID) bool { return id == n.id || n.detector.State(id) == membership.Alive },
		Candidates: n.candidates, Push: n.pushState, Propose: n.propose,
	})
	if err != nil {
		return err
	}
	undo.add(func() error { manager.Close(); return nil })
	n.state = manager
	n.pool = transport.NewPool(options)
	undo.add(func() error { n.pool.Close(); return nil })
	n.replicaSrv = transport.NewServer(options, peerService{n})
	if err := n.openDeciding(undo); err != nil {
		return err
	}
	return manager.SetSelf(ctx, n.nodeAttributes(l))
}

func lookupHost(ctx context.Context, host string) ([]string, error) {
	return net.DefaultResolver.LookupHost(ctx, host)
}

// openGossip joins gossip: from here on others see this node.
func (n *Node) openGossip(ctx context.Context, l *listeners, undo *cleanup) error {
	members, err := membership.New(ctx, membership.Options{
		ID: n.id, Meta: n.gossipMeta, Cluster: n.cfg.Cluster, Advertise: l.gossipAt, Transport: l.gossip,
		Join: n.cfg.Join, StoredPeers: n.storedPeers, Refuse: n.refuse, Detector: n.detector, Logger: n.log, Now: n.opts.Now,
	})
	if err != nil {
		return err
	}
	undo.add(members.Close)
	n.members = members
	if n.opts.GossipTransport != nil {
		n.addrs.Gossip = members.Addr()
	}
	return nil
}

// identity is what this node says of itself on internode connections.
func (n *Node) identity() transport.Identity {
	snap := n.state.Snapshot()
	id := transport.Identity{Cluster: n.cfg.Cluster, Incarnation: snap.Incarnation, NodeID: transport.NodeID(n.id), Name: n.cfg.Name}
	if snap.Founded() {
		id.ClusterID = snap.ClusterID[:]
	}
	return id
}

func (n *Node) observe(h uint64) error {
	err := n.clock.Observe(causal.HLC(h))
	if err != nil {
		n.metrics.PeerClockRefused()
	}
	return err
}

// stamp returns a new reading of the hybrid clock above after.
func (n *Node) stamp(after causal.HLC) (causal.HLC, error) {
	for {
		h, err := n.clock.NowAfter(after)
		bound, ok := errors.AsType[*causal.BoundError](err)
		if !ok {
			return h, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.RequestTimeout)
		err = n.bound.raise(ctx, bound.Wanted)
		cancel()
		if err != nil {
			return 0, err
		}
	}
}

func (n *Node) gossipMeta() *pb.GossipMeta {
	snap := n.state.Snapshot()
	ready := n.notReadyReason() == ""
	n.announced.Store(ready)
	meta := &pb.GossipMeta{Attributes: n.state.Self().Proto(), Document: n.state.Fingerprint(), Ready: ready}
	if snap.Founded() {
		meta.ClusterId, meta.Epoch = snap.ClusterID[:], snap.Epoch.Number
	}
	return meta
}

// storedPeers are the gossip addresses of all nodes that the document knows: what a node that restarts alone looks for.
func (n *Node) storedPeers() []string {
	var out []string
	for id, a := range n.state.Snapshot().Nodes {
		if id != n.id && a.GossipAddr != "" {
			out = append(out, a.GossipAddr)
		}
	}
	return out
}

// refuse keeps foreign clusters out, and nodes that come under a member's name with another disk. It runs under
// memberlist's lock: it only looks.
func (n *Node) refuse(meta *pb.GossipMeta) error {
	snap := n.state.Snapshot()
	if id := meta.GetClusterId(); snap.Founded() && len(id) > 0 && string(id) != string(snap.ClusterID[:]) {
		return fmt.Errorf("it belongs to another cluster of the same name, %x", id)
	}
	a := state.NodeAttributesOf(meta.GetAttributes())
	if member, ok := snap.MemberNamed(a.Name); ok && member != a.ID {
		return fmt.Errorf("the name %q is that of member %v, and this is %v: a node that lost its disk must be replaced, not restarted empty",
			a.Name, member, a.ID)
	}
	return nil
}

// candidates are the nodes that gossip shows alive, for the founding.
func (n *Node) candidates() []state.Candidate {
	var out []state.Candidate
	for _, seen := range n.members.Nodes() {
		if seen.State == membership.Alive {
			out = append(out, state.Candidate{
				NodeAttributes: state.NodeAttributesOf(seen.Meta.GetAttributes()), Founded: len(seen.Meta.GetClusterId()) > 0,
			})
		}
	}
	return out
}

func (n *Node) pushState(ctx context.Context, to ring.NodeID, req *pb.PushState) (*pb.PushStateReply, error) {
	reply, err := peers{n}.call(ctx, to, &pb.PeerRequest{Body: &pb.PeerRequest_PushState{PushState: req}})
	return reply.GetPushState(), err
}

func (n *Node) propose(ctx context.Context, to ring.NodeID, req *pb.Propose) (*pb.ProposeReply, error) {
	reply, err := peers{n}.call(ctx, to, &pb.PeerRequest{Body: &pb.PeerRequest_Propose{Propose: req}})
	return reply.GetPropose(), err
}

// onPeer is told of every change that gossip brings.
func (n *Node) onPeer(seen membership.Node) {
	if seen.State != membership.Alive {
		return
	}
	n.pool.Wake(transport.NodeID(seen.ID))
	if seen.Meta.GetReady() {
		n.unready.Delete(seen.ID)
		n.hints.Wake(seen.ID)
	} else {
		n.unready.LoadOrStore(seen.ID, n.opts.Now())
	}
	if seen.Meta.GetDocument() != n.state.Fingerprint() {
		n.spread.Wake()
	}
}

// openSpread makes what fetches the documents of nodes whose fingerprint differs.
func (n *Node) openSpread() error {
	rng, err := n.seeded()
	if err != nil {
		return err
	}
	n.spread, err = spread.New(spread.Options{Own: n.state.Fingerprint, Peers: n.documents, Fetch: n.fetchDocument, Rand: rng, Logger: n.log})
	return err
}

// documents are the fingerprints that gossip shows.
func (n *Node) documents() []spread.Peer {
	seen := n.members.Nodes()
	peers := make([]spread.Peer, 0, len(seen))
	for _, s := range seen {
		if s.State == membership.Alive {
			peers = append(peers, spread.Peer{ID: s.ID, Print: s.Meta.GetDocument(), Epoch: s.Meta.GetEpoch()})
		}
	}
	return peers
}

func (n *Node) fetchDocument(ctx context.Context, id ring.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
	defer cancel()
	reply, err := peers{n}.callOn(ctx, n.pool.CallBulk, id, &pb.PeerRequest{Body: &pb.PeerRequest_PullState{PullState: &pb.PullState{}}})
	if err != nil {
		return err
	}
	_, err = n.state.Offer(ctx, reply.GetPullState().GetDocument())
	if errors.Is(err, state.ErrNotMember) {
		return nil // nor does this document ever name this node
	}
	return err
}

// spreadLoop fetches documents.
func (n *Node) spreadLoop(ctx context.Context) { n.stopOn("spread", ctx, n.spread.Run(ctx)) }
