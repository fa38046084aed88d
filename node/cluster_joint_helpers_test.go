package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// jointPartitions are enough for some to move and some to stay.
const jointPartitions = 16

func fewPartitions(_ int, cfg *config.Config) { cfg.Partitions = jointPartitions }

// hear has nodes hear of an epoch, as gossip would tell them.
func (c *cluster) hear(e *ring.Epoch, nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		err := c.Node(i).Hear(ctx, e)
		cancel()
		if err != nil {
			c.t.Fatalf("%s hears of epoch %d: %v", c.Name(i), e.Number, err)
		}
	}
}

// alive are the nodes that run, but for some.
func (c *cluster) alive(but ...int) (out []int) {
	for i := range c.Size() {
		if c.Node(i) != nil && !slices.Contains(but, i) {
			out = append(out, i)
		}
	}
	return out
}

// leaving is the epoch in which one node gives its partitions to the others, cut into so many times more if that is more than 1.
func (c *cluster) leaving(gone, cut int) *ring.Epoch {
	c.t.Helper()
	stable := c.Node(c.alive()[0]).Ring()
	previous, version := stable.Base, stable.Base.Version()+1
	if cut > 1 {
		var err error
		if previous, err = ring.Split(previous, cut*previous.Partitions(), version); err != nil {
			c.t.Fatal(err)
		}
		version++
	}
	members := slices.DeleteFunc(slices.Clone(stable.Base.Members()), func(m ring.Member) bool { return m.ID == c.ID(gone) })
	next, err := ring.Plan(ring.PlanInput{
		Members: members, Partitions: previous.Partitions(), Replicas: min(stable.Base.Replicas(), len(members)), Version: version, Previous: previous,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	joint, err := stable.Begin(next)
	if err != nil {
		c.t.Fatal(err)
	}
	return joint
}

// moving are keys of the default bucket: of partitions that move at three replicas, or that don't.
func (c *cluster) moving(e *ring.Epoch, moves bool, count int) (out []*pb.ItemKey) {
	bucket := c.bucket(c.alive()[0], "default").GetId()
	for i := 0; len(out) < count; i++ {
		k := key(fmt.Sprintf("moving-%v-%d", moves, i), "")
		if e.Moves(e.PartitionOf(ring.TokenOf(bucket, k.GetPartitionKey())), 3) == moves {
			out = append(out, k)
		}
	}
	return out
}

// sides are the nodes that own a key by the old and by the next layout.
func (c *cluster) sides(e *ring.Epoch, bucket uint64, k *pb.ItemKey) (base, next []int) {
	p := e.PartitionOf(ring.TokenOf(bucket, k.GetPartitionKey()))
	for i := range c.Size() {
		if slices.Contains(e.Owners(p, 3), c.ID(i)) {
			base = append(base, i)
		}
		if slices.Contains(e.NextOwners(p, 3), c.ID(i)) {
			next = append(next, i)
		}
	}
	return base, next
}

var (
	strictWrite = &pb.WriteOptions{W: quorum, Mode: pb.QuorumMode_QUORUM_MODE_STRICT}
	strictRead  = &pb.ReadOptions{R: quorum, Mode: pb.QuorumMode_QUORUM_MODE_STRICT}
)

func (c *cluster) wantQuorum(by int, k *pb.ItemKey, want string) {
	c.t.Helper()
	if got := valuesOf(c.get(by, &pb.GetRequest{Key: k, Options: strictRead}).GetVersions()); !slices.Equal(got, []string{want}) {
		c.t.Errorf("%q through %s: %q, want %q", k.GetPartitionKey(), c.Name(by), got, want)
	}
}

// throughAll checks a value, read from strict quorums through every node.
func (c *cluster) throughAll(want string, keys []*pb.ItemKey) {
	c.t.Helper()
	for _, k := range keys {
		for _, i := range c.alive() {
			c.wantQuorum(i, k, want)
		}
	}
}

// scansAll checks that a scan finds every key once.
func (c *cluster) scansAll(e *ring.Epoch, keys []*pb.ItemKey) {
	c.t.Helper()
	for _, i := range c.alive() {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		stream, err := c.KV(i).Scan(ctx, &pb.ScanRequest{Options: strictRead})
		seen := map[string]int{}
		progress := 0.0
		for err == nil {
			var page *pb.ScanResponse
			if page, err = stream.Recv(); err == nil {
				for _, item := range page.GetItems() {
					seen[string(item.GetKey().GetPartitionKey())]++
				}
				if page.GetProgress() < progress {
					c.t.Errorf("progress %v after %v", page.GetProgress(), progress)
				}
				progress = page.GetProgress()
			}
		}
		cancel()
		if !errors.Is(err, io.EOF) || progress != 1 {
			c.t.Errorf("scan by %s at epoch %d: %v, progress %v", c.Name(i), e.Number, err, progress)
		}
		for _, k := range keys {
			if n := seen[string(k.GetPartitionKey())]; n != 1 {
				c.t.Errorf("scan by %s at epoch %d: %d times %q", c.Name(i), e.Number, n, k.GetPartitionKey())
			}
		}
	}
}
