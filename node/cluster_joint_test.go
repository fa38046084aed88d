package node_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// A replica that is asked at an epoch which it has not heard of learns it and serves; a coordinator whose plan is out of date
// learns and plans again. Neither costs the client anything.
func TestNodesLearnEpochsFromRequests(t *testing.T) {
	for name, c := range map[string]struct {
		hears func(c *cluster, by int) []int
	}{
		"replicas are late":       {func(_ *cluster, by int) []int { return []int{by} }},
		"the coordinator is late": {func(c *cluster, by int) []int { return c.alive(by) }},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t, testcluster.Options{Configure: fewPartitions})
			joint := cl.leaving(4, 1)
			k := cl.moving(joint, true, 1)[0]
			base, next := cl.sides(joint, cl.bucket(0, "default").GetId(), k)
			by := base[0]
			cl.put(by, &pb.PutRequest{Key: k, Value: []byte("before"), Options: &pb.WriteOptions{W: all}})
			cl.hear(joint, c.hears(cl, by)...)
			cl.put(by, &pb.PutRequest{
				Key: k, Value: []byte("in it"), Context: cl.get(by, &pb.GetRequest{Key: k, Options: strictRead}).GetContext(),
				Options: &pb.WriteOptions{W: all, Mode: pb.QuorumMode_QUORUM_MODE_STRICT},
			})
			for _, i := range append(base, next...) {
				if have := cl.Node(i).Ring().Number; have != joint.Number {
					t.Errorf("%s has served at epoch %d and has %d", cl.Name(i), joint.Number, have)
				}
			}
			for i := range cl.Size() {
				cl.wantQuorum(i, k, "in it")
			}
			for i := range cl.Size() {
				cl.Stop(i)
			}
			for _, i := range append(base, next...) {
				cl.Start(i) // alone: what it has of the ring it has on its disk
				if have := cl.Node(i).Ring(); have == nil || have.Number != joint.Number {
					t.Errorf("%s does not remember the epoch that it has served at", cl.Name(i))
				}
				cl.Stop(i)
			}
		})
	}
}

// A whole move while requests go on, with one node down and one that hears late of everything: a quorum read never misses what
// was acknowledged, during the move and when it has ended either way. Of what was written since it began the next owners alone
// have a quorum; what was there before is found through both layouts.
func TestRequestsInAMove(t *testing.T) {
	for name, m := range map[string]struct {
		cut int
		end func(*ring.Epoch) (*ring.Epoch, error)
	}{
		"committed":                {1, (*ring.Epoch).Commit},
		"given up":                 {1, (*ring.Epoch).Abort},
		"committed, and a cut too": {2, (*ring.Epoch).Commit},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, testcluster.Options{Configure: fewPartitions})
			joint := c.leaving(4, m.cut)
			keys := append(c.moving(joint, true, 12), c.moving(joint, false, 4)...)
			before, since := keys[:6], keys[6:]
			for i, k := range before {
				c.put(i%c.Size(), &pb.PutRequest{Key: k, Value: []byte("before"), Options: &pb.WriteOptions{W: all}})
			}
			const late, down = 0, 3
			c.lose(down)
			c.hear(joint, c.alive(late)...)
			for i, k := range since {
				by := c.alive()[i%4]
				c.put(by, &pb.PutRequest{Key: k, Value: []byte("since"), Options: strictWrite})
			}
			c.throughAll("before", before)
			c.throughAll("since", since)
			for i, k := range before[:3] { // and is replaced by who has read it
				by := c.alive()[i%4]
				token := c.get(by, &pb.GetRequest{Key: k, Options: strictRead}).GetContext()
				c.put(by, &pb.PutRequest{Key: k, Value: []byte("replaced"), Context: token, Options: strictWrite})
			}
			c.throughAll("replaced", before[:3])
			c.scansAll(joint, keys)

			ended, err := m.end(joint)
			if err != nil {
				t.Fatal(err)
			}
			// Nobody has pulled: only what was written since, or read by a quorum, is certain to be with the next owners.
			c.hear(ended, c.alive(late)...)
			c.throughAll("since", since)
			c.throughAll("replaced", before[:3])
			c.throughAll("before", before[3:])
			for i, k := range since {
				by := c.alive()[i%4]
				token := c.get(by, &pb.GetRequest{Key: k, Options: strictRead}).GetContext()
				c.put(by, &pb.PutRequest{Key: k, Value: []byte("after"), Context: token, Options: strictWrite})
			}
			c.throughAll("after", since)
			c.bring(down)
			c.Eventually("all nodes have the epoch that ended the move", func() bool {
				return !slices.ContainsFunc(c.alive(), func(i int) bool { return c.Node(i).Ring().Number != ended.Number })
			})
			c.throughAll("after", since)
			c.drained()
			c.throughAll("after", since)
			c.scansAll(ended, keys)
		})
	}
}

// A fallback keeps the only other copy of an acknowledged write, for an owner that is down and that a move takes the partition
// from. It waits for no owner of the past: the state reaches the present owners, and only then the hint goes.
func TestHintsFollowAMove(t *testing.T) {
	for name, back := range map[string]bool{"the owner of the past stays away": false, "it comes back": true} {
		t.Run(name, func(t *testing.T) {
			const gone = 4
			c := newCluster(t, testcluster.Options{Configure: fewPartitions})
			bucket := c.bucket(0, "default").GetId()
			joint := c.leaving(gone, 1)
			keys := c.moving(joint, true, 8)
			c.lose(gone)
			for i, k := range keys {
				resp := c.put(i%4, &pb.PutRequest{Key: k, Value: []byte("v"), Options: &pb.WriteOptions{W: all}})
				if resp.GetFallbacks() != 1 {
					t.Fatalf("%q has %d stand-ins", k.GetPartitionKey(), resp.GetFallbacks())
				}
			}
			if c.hints(0) < len(keys) {
				t.Fatalf("%d hints", c.hints(0))
			}
			c.hear(joint, c.alive()...)
			ended, err := joint.Commit()
			if err != nil {
				t.Fatal(err)
			}
			c.hear(ended, c.alive()...)
			if back {
				c.bring(gone)
			}
			c.drained()
			for i := range c.Size() {
				c.Stop(i)
			}
			for _, k := range keys {
				_, next := c.sides(joint, bucket, k)
				held := 0
				for _, i := range next {
					if state, _ := c.stored(i, bucket, k); len(state.Versions) == 1 {
						held++
					}
				}
				if held < 2 {
					t.Errorf("%q: %d of its owners hold it, and no hint is left", k.GetPartitionKey(), held)
				}
			}
		})
	}
}

// Whoever goes by a ring of the past, a client or a node, pays a forward for it and nothing else.
func TestOldViewsCostAForward(t *testing.T) {
	const gone = 4
	c := newCluster(t, testcluster.Options{Configure: fewPartitions})
	bucket := c.bucket(0, "default").GetId()
	joint := c.leaving(gone, 1)
	committed, err := joint.Commit()
	if err != nil {
		t.Fatal(err)
	}
	keys := c.moving(joint, true, 12)
	// A client's old map names the owner that is gone, and that does not know it yet itself: it finds out in the midst of the
	// first write. A node's map is old, too: it hands a write to that owner.
	const late = 0
	c.hear(joint, c.alive(gone, late)...)
	c.hear(committed, c.alive(gone, late)...)
	for i, k := range keys {
		c.put([]int{gone, late}[i%2], &pb.PutRequest{Key: k, Value: []byte("v"), Options: strictWrite})
	}
	c.throughAll("v", keys)
	for _, k := range keys {
		_, next := c.sides(joint, bucket, k)
		if slices.Contains(next, gone) {
			t.Fatalf("%q has not moved away from %s", k.GetPartitionKey(), c.Name(gone))
		}
	}
}

// A node whose view of the ring names one owner alone, who is none any more, asks it, learns from its refusal, and finds the
// present one.
func TestAnOldViewOfTheOnlyOwner(t *testing.T) {
	const gone, late = 4, 0
	c := newCluster(t, testcluster.Options{Configure: fewPartitions})
	c.createBucket(&pb.Bucket{Name: "single", N: 1})
	bucket := c.bucket(0, "single").GetId()
	joint := c.leaving(gone, 1)
	committed, err := joint.Commit()
	if err != nil {
		t.Fatal(err)
	}
	var k *pb.ItemKey
	for i := 0; k == nil; i++ {
		p := joint.PartitionOf(ring.TokenOf(bucket, []byte(numbered("single", i))))
		if joint.Owners(p, 1)[0] == c.ID(gone) && joint.NextOwners(p, 1)[0] != c.ID(late) {
			k = key(numbered("single", i), "")
		}
	}
	c.hear(joint, c.alive(late)...)
	c.hear(committed, c.alive(late)...)
	c.put(late, &pb.PutRequest{Bucket: "single", Key: k, Value: []byte("v"), Options: strictWrite})
	if have := c.Node(late).Ring().Number; have != committed.Number {
		t.Errorf("%s has epoch %d", c.Name(late), have)
	}
	c.want(late, "single", k, "v")
}

// A hint that was sent by a view of the past is refused by who was its owner then: what it holds would be left behind there
// unseen. So is what names an epoch that nobody has, which costs nobody else anything.
func TestHintsOfThePastAreRefused(t *testing.T) {
	const gone = 4
	c := newCluster(t, testcluster.Options{Configure: fewPartitions})
	bucket := c.bucket(0, "default").GetId()
	joint := c.leaving(gone, 1)
	moves, stays := c.moving(joint, true, 1)[0], c.moving(joint, false, 1)[0]
	send := func(to int, epoch uint64, k *pb.ItemKey) error {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		item := causal.ItemKey{Bucket: bucket, Partition: k.GetPartitionKey(), Sort: k.GetSortKey()}
		return c.Node(0).SendHint(ctx, c.ID(to), epoch, item, causal.State{})
	}
	owner := func(k *pb.ItemKey) int {
		base, _ := c.sides(joint, bucket, k)
		return base[len(base)-1]
	}
	if err := send(owner(moves), 0, moves); err != nil {
		t.Errorf("before the move: %v", err)
	}
	c.hear(joint, c.alive()...)
	_, next := c.sides(joint, bucket, moves)
	for _, to := range append(next, owner(moves)) {
		if stale, ok := errors.AsType[*coordinator.StaleError](send(to, 0, moves)); !ok || stale.Epoch != joint.Number || stale.Node != c.ID(to) {
			t.Errorf("a hint of before the move to %s: %v", c.Name(to), stale)
		}
		if err := send(to, joint.Number, moves); err != nil {
			t.Errorf("a hint of the move to %s: %v", c.Name(to), err)
		}
	}
	if err := send(owner(stays), 0, stays); err != nil {
		t.Errorf("a hint of before the move, of what stays: %v", err)
	}
	if err := send(owner(stays), 99, stays); err == nil || !strings.Contains(err.Error(), "has learnt 1 so far") {
		t.Errorf("a hint of an epoch that there is not: %v", err)
	}
	if err := send(owner(stays), joint.Number, stays); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// No floor rises while the ring moves. When that is over all members attest once, and then rounds go on; where a partition has
// fewer guardians than there are nodes, without those that are none.
func TestRoundsWaitForTheEndOfAMove(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Configure: roundsOften})
	c.createBucket(&pb.Bucket{Name: "single", N: 1}) // of which each partition has two guardians
	for i := range 20 {
		c.put(i%c.Size(), &pb.PutRequest{Key: key(numbered("item", i), ""), Value: []byte("x"), Options: &pb.WriteOptions{W: all}})
	}
	c.Eventually("each partition has had a round", func() bool { return c.figures("round_partitions_total") >= 2*roundPartitions })
	joint := c.leaving(4, 1)
	c.hear(joint, c.alive()...)
	raised := c.figures("round_partitions_total")
	floors := func() (highest causal.HLC) {
		for _, i := range c.alive() {
			for _, claim := range c.Node(i).Store().Claims() {
				highest = max(highest, claim.Floor)
			}
		}
		return highest
	}
	before := floors()
	time.Sleep(3 * time.Second)
	// Those that were under way when the move began may have come to their end, without an effect on any floor.
	if now := c.figures("round_partitions_total"); floors() != before || now > raised+2*roundPartitions {
		t.Errorf("floors rose from %v to %v in a move; %v partitions had rounds", before, floors(), now-raised)
	}
	aborted, err := joint.Abort()
	if err != nil {
		t.Fatal(err)
	}
	c.hear(aborted, c.alive()...)
	raised = c.figures("round_partitions_total")
	c.Eventually("rounds go on", func() bool {
		return c.figures("round_partitions_total") >= raised+4*roundPartitions && floors() > before
	})
	c.lose(4)
	raised = c.figures("round_partitions_total") // of those that run
	c.Eventually("rounds go on where n5 is no guardian", func() bool {
		return c.figures("round_partitions_total") >= raised+2*roundPartitions
	})
}
