package node

import (
	"context"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
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
