package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// atRest are the faults of data at rest. What they leave behind is mended by comparing and scrubbing, so only plans with
// repair have them.
var atRest = []FaultKind{TreeCorrupted, BitFlip}

// scrubEvery is how often records are verified in runs with faults of data at rest: once more while the cluster settles.
const scrubEvery = 8 * time.Second

func (f Fault) isAtRest() bool { return slices.Contains(atRest, f.Kind) }

// hurtsAtRest reports whether a plan has faults of data at rest.
func (p *Plan) hurtsAtRest() bool { return slices.ContainsFunc(p.Faults, Fault.isAtRest) }

// faultsAtRest adds some to half of the plans with repair. A record is damaged only where no disk loses what it had synced:
// then there is always another copy.
func (p *Plan) faultsAtRest(rng *rand.Rand) {
	if p.Repair == 0 || rng.IntN(2) == 0 {
		return
	}
	from := atRest
	if slices.ContainsFunc(p.Faults, func(f Fault) bool { return f.Kind == DiskWiped || f.Kind == DiskReverted }) {
		from = []FaultKind{TreeCorrupted}
	}
	for range 1 + rng.IntN(6) {
		p.Faults = append(p.Faults, Fault{
			Kind: pick(rng, from...), At: time.Second + time.Duration(rng.Int64N(int64(p.Length-2*time.Second))),
			Nodes: []int{rng.IntN(p.Nodes)}, Count: 1 + rng.IntN(8),
		})
	}
}

// WithoutRepair leaves to hints and reads what they can mend, and leaves out what they can't.
func (p *Plan) WithoutRepair() {
	p.Repair = 0
	p.Faults = slices.DeleteFunc(p.Faults, Fault.isAtRest)
}

// holdings is where items belong. It does not change in a run.
type holdings struct {
	layout  *ring.Layout
	members map[ring.NodeID]int
	buckets map[uint64]Bucket // without those in memory, which a crash may take from all other owners
}

// findHoldings asks a cluster in which all nodes run.
func findHoldings(c *cluster, buckets []Bucket, ids map[string]uint64) (*holdings, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	resp, err := c.admin(0).Ring(ctx, &pb.RingRequest{})
	if err != nil {
		return nil, fmt.Errorf("read the ring: %w", err)
	}
	epoch, err := ring.DecodeEpoch(resp.GetEpoch())
	if err != nil {
		return nil, err
	}
	h := &holdings{layout: epoch.Base, members: map[ring.NodeID]int{}, buckets: map[uint64]Bucket{}}
	for i := range c.members {
		h.members[c.running(i).ID()] = i
	}
	for _, b := range buckets {
		if !b.Memory {
			h.buckets[ids[b.Name]] = b
		}
	}
	return h, nil
}

func (h *holdings) owners(bucket, token uint64) (out []int) {
	for _, id := range h.layout.Owners(h.layout.PartitionOf(ring.Token(token)), h.buckets[bucket].N) {
		out = append(out, h.members[id])
	}
	return out
}

func (h *holdings) ids() []uint64 { return slices.Sorted(maps.Keys(h.buckets)) }

func (b Bucket) policy() causal.Policy {
	if b.Policy == history.LWW {
		return causal.LastWriteWins
	}
	return causal.Siblings
}

// harmPatience bounds what a fault of data at rest may wait for a disk.
const harmPatience = 2 * time.Second

// harm does it, and reports whether it found something.
func (in *injector) harm(ctx context.Context, f Fault) bool {
	n := in.c.running(f.Nodes[0])
	if n == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, harmPatience)
	defer cancel()
	rng := in.plan.rng(string(f.Kind), int(f.At))
	if f.Kind == TreeCorrupted {
		return in.miscount(ctx, n.Store(), f, rng)
	}
	return in.flipBits(ctx, n.Store(), f, rng)
}

// miscount changes leaves, of which every other has items.
func (in *injector) miscount(ctx context.Context, s *storage.Store, f Fault, rng *rand.Rand) (some bool) {
	for _, bucket := range in.holds.ids() {
		used := usedLeaves(s, bucket)
		for i := range f.Count {
			leaf := rng.IntN(storage.LeafCount)
			if i%2 == 0 && len(used) > 0 {
				leaf = pick(rng, used...)
			}
			by := storage.Leaf{Sum: storage.ItemSum(binary.BigEndian.AppendUint64(nil, rng.Uint64()), causal.Digest{}), Items: int64(rng.IntN(5) - 2)}
			some = s.Miscount(ctx, bucket, leaf, by) == nil || some // a store that was closed is a node that was just crashed
		}
	}
	return some
}

func usedLeaves(s *storage.Store, bucket uint64) (used []int) {
	for leaf, l := range s.Leaves(nil, []uint64{bucket}, 0, storage.LeafCount-1) {
		if l.Items > 0 {
			used = append(used, leaf)
		}
	}
	return used
}

// flipBits damages items that another owner holds too, durably, each on one node only in a run.
func (in *injector) flipBits(ctx context.Context, s *storage.Store, f Fault, rng *rand.Rand) bool {
	keys := in.keysOf(ctx, s)
	hit := 0
	for _, i := range rng.Perm(len(keys)) {
		if hit == f.Count {
			break
		}
		k := keys[i]
		digest, elsewhere := in.heldElsewhere(ctx, s, k, f.Nodes[0])
		if !elsewhere || !in.first(k) {
			continue
		}
		if done, err := s.DamageIf(ctx, k, digest); err == nil && done {
			in.trace.add(place(f.Nodes[0]), "damaged %x", storage.AppendKey(nil, k))
			hit++
		}
	}
	return hit > 0
}

// first reports whether an item was not hit before.
func (in *injector) first(k storage.Key) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	name := string(storage.AppendKey(nil, k))
	if in.harmed[name] {
		return false
	}
	in.harmed[name] = true
	return true
}

// keysOf lists a node's items, whoever owns them, in order.
func (in *injector) keysOf(ctx context.Context, s *storage.Store) (keys []storage.Key) {
	for _, bucket := range in.holds.ids() {
		for _, leaf := range usedLeaves(s, bucket) {
			items, _, err := s.LeafItems(ctx, []uint64{bucket}, leaf, leaf, nil, 1024)
			if err != nil {
				return nil
			}
			for _, item := range items {
				_, rangeKey, _ := storage.SplitItemKey(item.Key)
				if k, err := storage.DecodeRangeKey(bucket, rangeKey); err == nil {
					keys = append(keys, k)
				}
			}
		}
	}
	return keys
}

// heldElsewhere returns the digest of an owner's copy, if another owner that runs holds all of it.
func (in *injector) heldElsewhere(ctx context.Context, s *storage.Store, k storage.Key, at int) (causal.Digest, bool) {
	owners := in.holds.owners(k.Bucket, k.Token)
	own, err := s.Get(ctx, k)
	if err != nil || len(own.Versions) == 0 || !slices.Contains(owners, at) {
		return causal.Digest{}, false
	}
	for _, i := range owners {
		n := in.c.running(i)
		if i == at || n == nil {
			continue
		}
		other, err := n.Store().Get(ctx, k)
		if err == nil && causal.Merge(in.holds.buckets[k.Bucket].policy(), other.Bare(), own.Bare()).Digest() == other.Digest() {
			return own.Digest(), true
		}
	}
	return causal.Digest{}, false
}
