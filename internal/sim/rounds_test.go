package sim

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

const (
	// roundEvery is the time between two rounds of a partition.
	roundEvery = 10 * time.Second
	// twoRounds is how long two of them may take when the first has to be tried again.
	twoRounds = 100 * time.Second
	// pastAll is more than tombstones must be old to go.
	pastAll = 10 * time.Minute
)

// rounds is a small cluster with a few items, whose owners are compared and whose floors rise.
type rounds struct {
	*testing.T
	c       *cluster
	holds   *holdings
	bucket  uint64
	keys    []storage.Key
	deleted map[string]bool
}

// newRounds starts a cluster of four nodes: each partition has three owners and one other guardian. see is called for each message
// between nodes, before is before the first runs.
func newRounds(t *testing.T, see tap, before func(*cluster)) *rounds {
	p := &Plan{Seed: 1, Nodes: 4, Partitions: 8, MemTable: 1 << 20, MaxSiblings: 100, Clocks: make([]Clock, 4), Repair: roundEvery}
	c, err := newCluster(p, newTrace())
	if err != nil {
		t.Fatal(err)
	}
	r := &rounds{T: t, c: c, deleted: map[string]bool{}}
	t.Cleanup(r.end)
	c.network.tap = see
	before(c)
	for _, m := range c.members {
		m.cfg.RequestTimeout, m.cfg.ScrubRate = time.Second, 0
		r.must(c.start(int(m.at)))
	}
	r.must(c.awaitReady(startWithin, r.all()))
	list, err := c.admin(0).ListBuckets(context.Background(), &pb.ListBucketsRequest{})
	r.must(err)
	r.bucket = list.GetBuckets()[0].GetId()
	r.holds, err = findHoldings(c, []Bucket{{Name: "default", Policy: history.Siblings, N: 3}}, map[string]uint64{"default": r.bucket})
	r.must(err)
	return r
}

// end stops everything.
func (r *rounds) end() {
	r.c.close()
	time.Sleep(time.Minute) // memberlist's probes end by their own deadline
	if r.Failed() && testing.Verbose() {
		r.Log(r.c.trace.String())
	}
}

func (r *rounds) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rounds) all() []int { return others(len(r.c.members), nil) }

func (r *rounds) store(i int) *storage.Store { return r.c.running(i).Store() }

func (r *rounds) owners(k storage.Key) []int { return r.holds.owners(k.Bucket, k.Token) }

// put writes an item to all its owners.
func (r *rounds) put(name string) storage.Key {
	k := r.key(name)
	_, err := r.c.kv(0).Put(context.Background(), &pb.PutRequest{
		Bucket: "default", Key: &pb.ItemKey{PartitionKey: k.Partition}, Value: k.Partition, Options: &pb.WriteOptions{W: replicas(3)},
	})
	r.must(err)
	r.keys = append(r.keys, k)
	return k
}

// remove deletes an item at all its owners.
func (r *rounds) remove(k storage.Key) {
	_, err := r.c.kv(0).Delete(context.Background(), &pb.DeleteRequest{
		Bucket: "default", Key: &pb.ItemKey{PartitionKey: k.Partition}, Options: &pb.WriteOptions{W: replicas(3)},
	})
	r.must(err)
	r.deleted[string(k.Partition)] = true
}

// passTime sets all clocks.
func (r *rounds) passTime(d time.Duration) {
	for _, m := range r.c.members {
		m.clock.jump(d)
	}
}

func (r *rounds) key(name string) storage.Key {
	key := []byte(name)
	return storage.Key{Bucket: r.bucket, Token: uint64(ring.TokenOf(r.bucket, key)), Partition: key}
}

// late has a put arrive at one owner that nobody else has.
func (r *rounds) late(at int, k storage.Key) {
	if !r.orphan(k, causal.Write{Value: k.Partition}, at) {
		r.Errorf("a late write of %s was refused by %s", k.Partition, nodeName(at))
		return
	}
	if !slices.ContainsFunc(r.keys, func(known storage.Key) bool { return bytes.Equal(known.Partition, k.Partition) }) {
		r.keys = append(r.keys, k)
	}
}

// orphan has a write arrive at some owners, and at nobody else: its coordinator died before it was on any disk, hints included. It has
// the lowest HLC that is not refused, and reports whether all those owners took it.
func (r *rounds) orphan(k storage.Key, write causal.Write, at ...int) bool {
	before := r.state(at[0], k).Bare()
	h := max(r.store(at[0]).Attested(), before.MaxHLC()) + 1
	write.RequestID[0] = 1 // no other write of the item has it
	state, _ := causal.Mint(causal.Siblings, before, causal.Actor(h), h, write)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	took := true
	for _, i := range at {
		errs := r.store(i).Merge(ctx, []storage.Merge{{Key: k, Policy: causal.Siblings, State: state, N: 3, Fresh: h, Sync: true}})
		took = took && errs[0] == nil
	}
	return took
}

// state reads an owner's copy.
func (r *rounds) state(at int, k storage.Key) causal.State {
	state, err := r.store(at).Get(context.Background(), k)
	r.must(err)
	return state
}

// converged says what is not as it should be in the end: all owners have what was written and not deleted, nobody has anything else,
// and not even a tombstone is left.
func (r *rounds) converged() error {
	for _, k := range r.keys {
		owners := r.owners(k)
		for i := range r.c.members {
			state := r.state(i, k)
			live, want := len(state.Versions) > 0 && state.Live(), slices.Contains(owners, i) && !r.deleted[string(k.Partition)]
			switch {
			case live != want, !want && len(state.Versions) > 0:
				return fmt.Errorf("%s, deleted %v, owned by %v, is on %s: %v%s",
					k.Partition, r.deleted[string(k.Partition)], owners, nodeName(i), state.Versions, r.claims(k))
			case want && state.Digest() != r.state(owners[0], k).Digest():
				return fmt.Errorf("%s differs between %s and %s", k.Partition, nodeName(i), nodeName(owners[0]))
			}
		}
	}
	return nil
}

// claims tells what all nodes hold and claim.
func (r *rounds) claims(k storage.Key) (out string) {
	for i := range r.c.members {
		c := r.store(i).ClaimOf(3, k.Token)
		out += fmt.Sprintf("\n%s has %d versions, %+v, attested %v", nodeName(i), len(r.state(i, k).Versions), c, r.store(i).Attested())
	}
	return out
}

// await waits until a check is content.
func (r *rounds) await(what string, within time.Duration, check func() error) {
	r.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s, after %v: %v", what, within, err)
		}
		time.Sleep(2 * time.Second)
	}
}

// floorsReach says whether each owner of each item has a floor above h.
func (r *rounds) floorsReach(h causal.HLC) error {
	for _, k := range r.keys {
		for _, i := range r.owners(k) {
			if c := r.store(i).ClaimOf(3, k.Token); c.Floor < h {
				return fmt.Errorf("the floor of %s for %s is %v, below %v", nodeName(i), k.Partition, c.Floor, h)
			}
		}
	}
	return nil
}

// checkFloors holds what each owner claims against what the others have: every write up to its floor must be there, or have been
// replaced. The order in which things are read lets it run while the cluster works.
func (r *rounds) checkFloors(when string) {
	r.Helper()
	for _, k := range r.keys {
		for _, from := range r.owners(k) {
			for _, at := range r.owners(k) {
				theirs := r.state(from, k).Bare()
				before := r.store(at).ClaimOf(3, k.Token)
				own := r.state(at, k).Bare()
				purged := r.store(at).ClaimOf(3, k.Token).PurgeLevel
				for _, v := range causal.Merge(causal.Siblings, own, theirs).Versions {
					if v.Dot.HLC > purged && v.Dot.HLC <= before.Floor && !own.Has(v.Dot) {
						r.Errorf("%s %s claims to have every write up to %v and lacks one of %v, of %s, that %s has",
							when, nodeName(at), before.Floor, v.Dot.HLC, k.Partition, nodeName(from))
					}
				}
			}
		}
	}
}
