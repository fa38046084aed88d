package node

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
	"github.com/starling-db/starling/transfer"
)

// Ring is the epoch that the node has.
func (n *Node) Ring() *ring.Epoch { return n.epoch() }

// Hear has the node hear of a decided epoch, as gossip would tell it.
func (n *Node) Hear(ctx context.Context, e *ring.Epoch) error {
	doc := new(pb.ClusterDocument)
	if err := proto.Unmarshal(n.state.Document(), doc); err != nil {
		return err
	}
	doc.Epochs[e.Number] = ring.AppendEpoch(nil, e)
	raw, err := proto.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = n.state.Offer(ctx, raw)
	return err
}

// SendHint hands an item's state to a node as a hint, named with an epoch.
func (n *Node) SendHint(ctx context.Context, to ring.NodeID, epoch uint64, item causal.ItemKey, s causal.State) error {
	_, err := peers{n}.callOn(ctx, n.pool.CallBulk, to, &pb.PeerRequest{Epoch: epoch, Body: &pb.PeerRequest_Handoff{Handoff: &pb.Handoff{
		Item: addressOf(item), State: causal.AppendState(nil, s), Conflict: conflictProto(causal.Siblings), N: 3,
	}}})
	return err
}

// Blocked says what a commit of the move under way waits for, as this node hears from the others.
func (n *Node) Blocked(ctx context.Context) (blocked []ring.Block) {
	e, quorums := n.epoch(), quorumsOf(n.state.Snapshot())
	known := transfer.NewKnown(e, quorums)
	n.askMoves(ctx, known, nil)
	for _, q := range quorums {
		blocked = append(blocked, e.MayCommit(q, known.Facts())...)
	}
	return blocked
}

// AskPage asks another node for the first page of a partition at N=3, as one that planned at an epoch.
func (n *Node) AskPage(ctx context.Context, source ring.NodeID, epoch uint64, p int) error {
	first, last := n.epoch().PartitionRange(p)
	ask := transfer.Ask{Epoch: epoch, Move: storage.Move{First: uint64(first), Last: uint64(last), N: 3}}
	_, err := peers{n}.pullPage(ctx, source, ask)
	return err
}

// Pulling is how far the node's pull has come.
func (n *Node) Pulling() transfer.Progress { return n.moves.puller.Progress() }
