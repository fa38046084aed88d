package sim

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

var deletesFlag = flag.Int("deletes", 500, "how many items TestDeletedStaysDeleted deletes")

// purgeWithin is two rounds, and the time that a tombstone must be old to go: the longest write, a retry window, the
// offset of clocks, and the time that gossip and the purge itself take.
const purgeWithin = 2*deletesRepair + deletesRepair/5 + 15*time.Second + causal.RetryWindow + 20*time.Second

const deletesRepair = 30 * time.Second

// deletes is a cluster of five and what was done to its items.
type deletes struct {
	*testing.T
	c      *cluster
	rng    *rand.Rand
	bucket uint64
	keys   [][]byte
	owned  [][]bool // by item and node
}

// TestDeletedStaysDeleted deletes nine of ten items while nodes crash and one owner of each is away, for ten days by the
// clocks. As long as it is, what it missed stays; when all are healthy again two rounds purge every tombstone. Then a node
// gets a disk back on which nothing was deleted yet, and nothing comes back, at any node, in any read.
func TestDeletedStaysDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Seed: 1, Nodes: 5, Partitions: 16, MemTable: 1 << 20, MaxSiblings: 100, Clocks: make([]Clock, 5), Repair: deletesRepair}
		trace := newTrace()
		c, err := newCluster(p, trace)
		if err != nil {
			t.Fatal(err)
		}
		d := &deletes{T: t, c: c, rng: p.rng("deletes")}
		defer func() {
			c.close()
			time.Sleep(time.Minute) // memberlist's probes end by their own deadline
			if t.Failed() && testing.Verbose() {
				t.Log(trace.String())
			}
		}()
		d.story()
	})
}

func (d *deletes) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *deletes) story() {
	for i := range d.c.members {
		d.must(d.c.start(i))
	}
	all := others(5, nil)
	d.must(d.c.awaitReady(startWithin, all))
	d.fill(*deletesFlag * 10 / 9)
	time.Sleep(2 * deletesRepair) // floors are there
	const away, wasAway = 4, 3
	before := d.c.members[wasAway].disk.image(100)

	d.c.crash(away, 0)
	crashing, stop := context.WithCancel(context.Background())
	var crashes sync.WaitGroup
	crashes.Go(func() { d.crashOthers(crashing, away) })
	d.deleteMost()
	stop()
	crashes.Wait()
	d.must(d.c.awaitReady(healWithin, others(5, []int{away})))
	for _, m := range d.c.members {
		m.clock.jump(10 * 24 * time.Hour)
	}
	time.Sleep(purgeWithin)
	tombstones := d.tombstones(away)
	if tombstones == 0 {
		d.Error("tombstones were purged while an owner that had not seen them was away")
	}

	d.must(d.c.start(away))
	d.must(d.c.awaitReady(healWithin, all))
	time.Sleep(purgeWithin)
	d.checkDisks("after two rounds with everybody")

	d.c.crash(wasAway, 0)
	d.c.members[wasAway].disk.replace(before)
	time.Sleep(5 * time.Second)
	d.must(d.c.start(wasAway))
	d.must(d.c.awaitReady(healWithin, all))
	d.checkReads("with an old disk put back", wasAway)
	time.Sleep(2 * deletesRepair)
	d.checkReads("after it was rebuilt", wasAway)
	d.checkDisks("after it was rebuilt")
}

func (d *deletes) deleted(i int) bool { return i%10 != 9 }

// fill writes all items and finds their owners.
func (d *deletes) fill(n int) {
	ctx := context.Background()
	list, err := d.c.admin(0).ListBuckets(ctx, &pb.ListBucketsRequest{})
	d.must(err)
	d.bucket = list.GetBuckets()[0].GetId()
	for i := range n {
		d.keys = append(d.keys, fmt.Append(nil, "item-", i))
	}
	owners := map[ring.Token][]bool{} // by partition
	for _, key := range d.keys {
		p := ring.TokenOf(d.bucket, key) >> 60
		if owners[p] == nil {
			at, err := d.c.admin(0).Locate(ctx, &pb.LocateRequest{Bucket: "default", PartitionKey: key})
			d.must(err)
			owners[p] = make([]bool, 5)
			for _, n := range at.GetPreference() {
				for i := range 5 {
					owners[p][i] = owners[p][i] || n.GetOwner() && n.GetName() == nodeName(i)
				}
			}
		}
		d.owned = append(d.owned, owners[p])
	}
	d.each(func(i, at int, id []byte) error {
		_, err := d.c.kv(at).Put(ctx, &pb.PutRequest{
			Bucket: "default", Key: &pb.ItemKey{PartitionKey: d.keys[i]}, Value: fmt.Append(nil, i), RequestId: id,
		})
		return err
	}, func(int) bool { return true })
}

// each does something to many items, until each is done.
func (d *deletes) each(do func(i, at int, id []byte) error, of func(i int) bool) {
	var next atomic.Int64
	ids := newSeededReader(d.rng)
	var working sync.WaitGroup
	for range 16 {
		working.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(d.keys) {
					return
				}
				if !of(i) {
					continue
				}
				id, _ := causal.NewRequestID(time.Now().Add(-time.Second).UnixMilli(), ids)
				for try := 0; ; try++ {
					err := do(i, (i+try)%4, id[:])
					if err == nil {
						break
					}
					if try == 100 {
						d.Errorf("item %d: %v", i, err)
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	working.Wait()
}

// deleteMost deletes, at all nodes in turn.
func (d *deletes) deleteMost() {
	d.each(func(i, at int, id []byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := d.c.kv(at).Delete(ctx, &pb.DeleteRequest{Bucket: "default", Key: &pb.ItemKey{PartitionKey: d.keys[i]}, RequestId: id})
		return err
	}, d.deleted)
}

// crashOthers takes one node after the other down, for a while.
func (d *deletes) crashOthers(ctx context.Context, but int) {
	for sleep(ctx, 300*time.Millisecond) == nil {
		i := d.rng.IntN(but)
		d.c.crash(i, 50)
		_ = sleep(ctx, 2*time.Second)
		if err := d.c.start(i); err != nil {
			d.Error(err)
			return
		}
		_ = sleep(ctx, 3*time.Second)
	}
}

// disk opens what a node has on its disk now.
func (d *deletes) disk(i int) *storage.Store {
	var fs vfs.FS = d.c.members[i].disk.image(100)
	s, err := storage.Open(storage.Options{Dir: d.c.members[i].cfg.Dir, FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	d.must(err)
	return s
}

func (d *deletes) copyOf(s *storage.Store, i int) causal.State {
	key := d.keys[i]
	state, err := s.Get(context.Background(), storage.Key{Bucket: d.bucket, Token: uint64(ring.TokenOf(d.bucket, key)), Partition: key})
	d.must(err)
	return state
}

// tombstones counts those of what a node owns on the disks of the others.
func (d *deletes) tombstones(of int) (n int) {
	for _, at := range others(5, []int{of}) {
		s := d.disk(at)
		for i := range d.keys {
			if !d.owned[i][of] || !d.owned[i][at] {
				continue
			}
			if state := d.copyOf(s, i); len(state.Versions) > 0 && !state.Live() {
				n++
			}
		}
		d.must(s.Close())
	}
	return n
}

// checkDisks looks for what is deleted, and for what is not, on all disks.
func (d *deletes) checkDisks(when string) {
	wrong := 0
	for at := range 5 {
		s := d.disk(at)
		for i := range d.keys {
			state := d.copyOf(s, i)
			if want := d.owned[i][at] && !d.deleted(i); (len(state.Versions) == 1 && state.Live()) != want || !want && len(state.Versions) > 0 {
				if wrong++; wrong < 10 {
					d.Errorf("%s %s has of item %d, deleted %v: %v", when, nodeName(at), i, d.deleted(i), state.Versions)
				}
			}
		}
		d.must(s.Close())
	}
	if wrong > 0 {
		d.Errorf("%s %d copies are wrong", when, wrong)
	}
}

// checkReads reads at one node, one replica and several, again and again in a random order.
func (d *deletes) checkReads(when string, at int) {
	back := 0
	for _, i := range d.rng.Perm(len(d.keys)) {
		for _, level := range []*pb.Consistency{{Kind: &pb.Consistency_Replicas{Replicas: 1}}, nil} {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			got, err := d.c.kv(at).Get(ctx, &pb.GetRequest{
				Bucket: "default", Key: &pb.ItemKey{PartitionKey: d.keys[i]}, Options: &pb.ReadOptions{R: level},
			})
			cancel()
			if err != nil {
				d.Fatalf("%s item %d can't be read: %v", when, i, err)
			}
			if there := len(got.GetVersions()) > 0; there == d.deleted(i) {
				if back++; back < 10 {
					d.Errorf("%s a read of item %d, deleted %v, finds it %v", when, i, d.deleted(i), there)
				}
			}
		}
	}
}
