package antientropy

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/starling-db/starling/antientropy/merkle"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// ErrAsked says that a question makes no sense. What comes from another node is not to be trusted.
var ErrAsked = errors.New("antientropy: a question that can't be")

// Answerer is the side that answers. Whoever uses it has looked whether both nodes own the partition.
type Answerer struct{ Store Store }

// Differ returns which of the partitions have another sum here.
func (a Answerer) Differ(plan Plan, share Share, partitions []int, sums []merkle.Sum) ([]int, error) {
	if len(partitions) != len(sums) || len(partitions) > MaxRoots || !ascending(partitions) {
		return nil, fmt.Errorf("%w: %d partitions, %d sums, at most %d", ErrAsked, len(partitions), len(sums), MaxRoots)
	}
	var differ []int
	for i, p := range partitions {
		if err := checkPartition(plan, p); err != nil {
			return nil, err
		}
		if root(a.Store, plan, share, p) != sums[i] {
			differ = append(differ, p)
		}
	}
	return differ, nil
}

// Nodes returns the sums below some nodes of a partition's tree.
func (a Answerer) Nodes(plan Plan, share Share, partition, depth int, nodes []int) ([]merkle.Sum, error) {
	if err := checkPartition(plan, partition); err != nil {
		return nil, err
	}
	if len(nodes) > MaxNodes {
		return nil, fmt.Errorf("%w: %d nodes, at most %d", ErrAsked, len(nodes), MaxNodes)
	}
	sums, err := merkle.Answer(tree(a.Store, plan, share, partition), depth, nodes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAsked, err)
	}
	return sums, nil
}

// Items compares a page of some leaves.
func (a Answerer) Items(ctx context.Context, plan Plan, share Share, ask Ask) (Answer, error) {
	if err := checkAsk(plan, ask); err != nil {
		return Answer{}, err
	}
	if ask.Recount {
		_, err := recount(ctx, a.Store, share, ask.First, ask.Last)
		return Answer{}, err
	}
	theirs := make(map[uint64]bool, len(ask.Hashes)) // and whether it was found here
	for _, h := range ask.Hashes {
		theirs[h] = false
	}
	out := Answer{Claims: told(a.Store.ClaimOf(share.N, tokenIn(plan, ask.Partition)))}
	var err error
	if out.Damaged, err = a.Store.LeafDamaged(share.Buckets, ask.First, ask.Last); err != nil {
		return Answer{}, err
	}
	size, most := 0, maxPush
	if ask.Keys {
		most = MaxPage
	}
	for after := ask.After; ; {
		items, more, err := a.Store.LeafItems(ctx, share.Buckets, ask.First, ask.Last, after, MaxPage)
		if err != nil {
			return Answer{}, err
		}
		for _, item := range items {
			if ask.Through != nil && bytes.Compare(item.Key, ask.Through) > 0 {
				more = false
				break
			}
			if _, same := theirs[item.Hash]; same {
				theirs[item.Hash] = true
				continue
			}
			if size >= maxBytes || len(out.Items) >= most {
				out.Lacks = lacking(ask.Hashes, theirs)
				return out, nil
			}
			var state causal.State
			if !ask.Keys {
				state, err = stateOf(ctx, a.Store, share.N, item.Key)
				if damaged(err) {
					continue // since it was listed: it says nothing
				}
				if err != nil {
					return Answer{}, err
				}
			}
			size += len(item.Key) + state.Size()
			out.Items = append(out.Items, Item{item.Key, state})
			if size >= maxBytes || len(out.Items) >= most {
				out.Through = item.Key
			}
		}
		if !more {
			break
		}
		after = items[len(items)-1].Key
	}
	out.Through = nil // nothing was left out
	out.Lacks = lacking(ask.Hashes, theirs)
	return out, nil
}

// ascending tells whether no partition comes twice, and all are in order.
func ascending(partitions []int) bool {
	for i, p := range partitions {
		if i > 0 && partitions[i-1] >= p {
			return false
		}
	}
	return true
}

func lacking(hashes []uint64, found map[uint64]bool) []uint64 {
	var out []uint64
	for _, h := range hashes {
		if !found[h] {
			out = append(out, h)
		}
	}
	return out
}

func checkPartition(plan Plan, p int) error {
	if p < 0 || p >= 1<<plan.PartitionBits {
		return fmt.Errorf("%w: partition %d of %d", ErrAsked, p, 1<<plan.PartitionBits)
	}
	return nil
}

func checkAsk(plan Plan, ask Ask) error {
	if err := checkPartition(plan, ask.Partition); err != nil {
		return err
	}
	first, count := leavesOf(plan, ask.Partition)
	switch {
	case ask.First < first || ask.Last < ask.First || ask.Last >= first+count:
		return fmt.Errorf("%w: leaves %d to %d of partition %d", ErrAsked, ask.First, ask.Last, ask.Partition)
	case len(ask.Hashes) > MaxPage:
		return fmt.Errorf("%w: %d items, at most %d", ErrAsked, len(ask.Hashes), MaxPage)
	case ask.After != nil && ask.Through != nil && bytes.Compare(ask.After, ask.Through) >= 0:
		return fmt.Errorf("%w: a page that ends before it begins", ErrAsked)
	}
	return nil
}

// leavesOf are the leaves of a partition.
func leavesOf(plan Plan, p int) (first, count int) {
	count = 1 << (storage.LeafBits - plan.PartitionBits)
	return p * count, count
}

// root is the sum of a partition.
func root(s Store, plan Plan, share Share, p int) merkle.Sum {
	first, count := leavesOf(plan, p)
	var sum merkle.Sum
	for _, l := range s.Leaves(make([]storage.Leaf, 0, count), share.Buckets, first, first+count-1) {
		sum = sum.Add(l.Sum)
	}
	return sum
}

// tree is that of a partition, as it is now.
func tree(s Store, plan Plan, share Share, p int) *merkle.Tree {
	t := merkle.New(storage.LeafBits - plan.PartitionBits)
	first, count := leavesOf(plan, p)
	for i, l := range s.Leaves(make([]storage.Leaf, 0, count), share.Buckets, first, first+count-1) {
		t.Set(i, l.Sum)
	}
	return t
}

// tokenIn is some token of a partition.
func tokenIn(plan Plan, p int) uint64 { return uint64(p) << (64 - plan.PartitionBits) }

// told are the claims that go out beside states.
func told(c storage.Claim) causal.State { return storage.Claimed(c, c, causal.State{}) }

// stateOf reads an item of a bucket with n replicas by the key that leaves give it, with what is claimed of its partition. It
// waits until what it shows is durable.
func stateOf(ctx context.Context, s Store, n int, key []byte) (causal.State, error) {
	k, err := keyOf(key)
	if err != nil {
		return causal.State{}, err
	}
	before := s.ClaimOf(n, k.Token)
	state, err := s.Get(ctx, k)
	return storage.Claimed(before, s.ClaimOf(n, k.Token), state), err
}

// damaged says that an item can't be read. That is no word about it, and no reason to leave others as they are.
func damaged(err error) bool {
	_, damaged := errors.AsType[*storage.CorruptError](err)
	return damaged
}

// keyOf decodes an item's key and checks that its token is its own.
func keyOf(key []byte) (storage.Key, error) {
	bucket, rangeKey, err := storage.SplitItemKey(key)
	if err != nil {
		return storage.Key{}, err
	}
	k, err := storage.DecodeRangeKey(bucket, rangeKey)
	if err != nil {
		return storage.Key{}, err
	}
	if want := ring.TokenOf(k.Bucket, k.Partition); uint64(want) != k.Token {
		return storage.Key{}, fmt.Errorf("antientropy: a key under token %x that belongs under %x", k.Token, uint64(want))
	}
	return k, nil
}

// recount counts leaves anew in all buckets of a share, and returns how many were wrong.
func recount(ctx context.Context, s Store, share Share, first, last int) (wrong int, err error) {
	for _, bucket := range share.Buckets {
		found, err := s.Recount(ctx, storage.LeafRange{Bucket: bucket, First: first, Last: last}, func(int) error { return nil })
		if err != nil {
			return wrong, err
		}
		wrong += found.Wrong
	}
	return wrong, nil
}
