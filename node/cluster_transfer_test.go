package node_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// heavier plans a layout in which one node has a larger share.
func (c *cluster) heavier(base *ring.Layout, node ring.NodeID) *ring.Layout {
	c.t.Helper()
	members := slices.Clone(base.Members())
	for i := range members {
		if members[i].ID == node {
			members[i].Weight *= 3
		}
	}
	l, err := ring.Plan(ring.PlanInput{
		Members: members, Partitions: base.Partitions(), Replicas: base.Replicas(), Previous: base, Version: base.Version() + 1,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return l
}

// holders are the nodes that have a version of an item on disk.
func (c *cluster) holders(k storage.Key) (out []ring.NodeID) {
	c.t.Helper()
	for i := range c.Size() {
		s, err := c.Node(i).Store().Get(context.Background(), k)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(s.Versions) > 0 {
			out = append(out, c.ID(i))
		}
	}
	return out
}

func (c *cluster) teach(at int, e *ring.Epoch, err error) *ring.Epoch {
	c.t.Helper()
	if err == nil {
		err = c.Node(at).Hear(context.Background(), e)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.Eventually(fmt.Sprintf("all nodes have learnt epoch %d", e.Number), func() bool {
		for i := range c.Size() {
			if c.Node(i).Ring().Number < e.Number {
				return false
			}
		}
		return true
	})
	return e
}

// onlySourcesAnswer asks for pages that nobody may get, and for some that they may.
func (c *cluster) onlySourcesAnswer(joint *ring.Epoch) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	refused, served := 0, 0
	for p := range joint.Partitions() {
		old, next := joint.Owners(p, 3), joint.NextOwners(p, 3)
		for from := range c.Size() {
			if !joint.Moves(p, 3) || slices.Contains(old, c.ID(from)) {
				continue
			}
			ask := func(to ring.NodeID, epoch uint64) error { return c.Node(from).AskPage(ctx, to, epoch, p) }
			if err := ask(old[0], joint.Number-1); err == nil {
				c.t.Fatalf("a page of partition %d that was asked for at an epoch before the move", p)
			}
			if err := ask(old[0], joint.Number); (err == nil) != slices.Contains(next, c.ID(from)) {
				c.t.Fatalf("a page of partition %d for node %d, of owners %v and %v: %v", p, from, old, next, err)
			} else if err == nil {
				served++
			}
			for _, to := range next {
				if to != c.ID(from) && !slices.Contains(old, to) {
					refused++
					if ask(to, joint.Number) == nil {
						c.t.Fatalf("a page of partition %d from one that has yet to pull it", p)
					}
				}
			}
		}
		if served > 5 && refused > 5 {
			return
		}
	}
	if served == 0 {
		c.t.Fatal("no page was served")
	}
}

// A whole move: the new owners pull what they get, one of them through a restart, all say that they are complete, and after the
// commit those that own nothing of it any more drop it. Every item is then on its owners, and nowhere else.
func TestMove(t *testing.T) {
	c := besideOthers(t, testcluster.Options{})
	var keys []storage.Key
	id := c.bucket(0, "default").GetId()
	for i := range 300 {
		k := key(fmt.Sprint("item-", i), "")
		c.put(i%c.Size(), &pb.PutRequest{Bucket: "default", Key: k, Value: fmt.Append(nil, i), Options: &pb.WriteOptions{W: all}})
		keys = append(keys, storage.Key{
			Bucket: id, Token: uint64(ring.TokenOf(id, k.GetPartitionKey())), Partition: k.GetPartitionKey(), Sort: k.GetSortKey(),
		})
	}
	genesis := c.Node(0).Ring()
	joint, err := genesis.Begin(c.heavier(genesis.Base, c.ID(2)))
	c.teach(0, joint, err)
	c.onlySourcesAnswer(joint)
	c.Crash(2) // which gets most of what moves
	c.bring(2)
	c.Eventually("nothing stands in the way of the commit", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return len(c.Node(1).Blocked(ctx)) == 0
	})
	moved := 0
	for _, k := range keys {
		p := joint.PartitionOf(ring.Token(k.Token))
		if !joint.Moves(p, 3) {
			continue
		}
		held := c.holders(k)
		for _, owner := range joint.NextOwners(p, 3) {
			if slices.Contains(held, owner) && !slices.Contains(joint.Owners(p, 3), owner) {
				moved++
			}
		}
	}
	if moved == 0 {
		t.Fatal("no item has moved")
	}
	committed, err := joint.Commit()
	c.teach(1, committed, err)
	c.Within(3*time.Minute, "all items are on their owners, and nowhere else", func() bool {
		for _, k := range keys {
			owners := slices.Clone(committed.Owners(committed.PartitionOf(ring.Token(k.Token)), 3))
			held := c.holders(k)
			slices.SortFunc(owners, ring.NodeID.Compare)
			slices.SortFunc(held, ring.NodeID.Compare)
			if !slices.Equal(owners, held) {
				return false
			}
		}
		return true
	})
	for i := range 300 {
		c.want(i%c.Size(), "default", key(fmt.Sprint("item-", i), ""), fmt.Sprint(i))
	}
	if p := c.Node(2).Pulling(); len(p.Sources) > 0 || p.Done != p.Ranges {
		t.Errorf("node 2: %+v", p)
	}
}
