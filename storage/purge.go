package storage

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/starling-db/starling/causal"
)

// purges knows for each leaf from when on there may be something to purge in it, so that a pass looks only at those. It is
// not stored: after a start everything is looked at once.
type purges struct {
	shards [treeShards]purgeShard
	looked bool // at everything, since the start; of Purge alone
}

type purgeShard struct {
	mu  sync.Mutex
	due map[treeKey]causal.HLC // without pointers
}

// note says that something in a leaf may go once PurgeBefore has reached at; zero: nothing.
func (p *purges) note(k treeKey, at causal.HLC) {
	if at == 0 {
		return
	}
	sh := &p.shards[k.leaf%treeShards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.due == nil {
		sh.due = make(map[treeKey]causal.HLC)
	}
	if old, ok := sh.due[k]; !ok || at < old {
		sh.due[k] = at
	}
}

// drop forgets a bucket.
func (p *purges) drop(bucket uint64) {
	for i := range p.shards {
		sh := &p.shards[i]
		sh.mu.Lock()
		maps.DeleteFunc(sh.due, func(k treeKey, _ causal.HLC) bool { return k.bucket == bucket })
		sh.mu.Unlock()
	}
}

// count is how many leaves there are.
func (p *purges) count() (n int) {
	for i := range p.shards {
		sh := &p.shards[i]
		sh.mu.Lock()
		n += len(sh.due)
		sh.mu.Unlock()
	}
	return n
}

// take returns the leaves that are due, in order, which counts as having looked at them. Writers of one shard at a time wait for
// it, no longer than it takes to copy.
func (p *purges) take(due func(treeKey, causal.HLC) bool) []treeKey {
	var out []treeKey
	for i := range p.shards {
		sh := &p.shards[i]
		sh.mu.Lock()
		all := maps.Clone(sh.due)
		sh.mu.Unlock()
		maps.DeleteFunc(all, func(k treeKey, at causal.HLC) bool { return !due(k, at) })
		sh.mu.Lock()
		for k := range all {
			out = append(out, k)
			delete(sh.due, k)
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b treeKey) int {
		return cmp.Or(cmp.Compare(a.bucket, b.bucket), cmp.Compare(a.leaf, b.leaf))
	})
	return out
}

// Purged is what Purge did.
type Purged struct {
	Leaves  int // looked through
	Items   int // that were rewritten or removed
	Removed int // of which nothing was left
	Bytes   int64
}

// purgeBefore is causal.PurgeBefore for a claim.
func (s *Store) purgeBefore(c Claim) causal.HLC {
	clock := s.clock.Load()
	if clock == nil || c.Rebuilding {
		return 0
	}
	return causal.PurgeBefore(c.PurgeLevel, clock.MaxOffset())
}

// Purge removes what the purge levels let go: tombstones, pasts and expired values, item by item under the item's latch.
// nOf says how many replicas a bucket has, zero if it is not known or dropped: then it is left alone. pace is as in Recount.
// What a crash brings back is purged again. Calls must not overlap.
func (s *Store) Purge(ctx context.Context, nOf func(bucket uint64) int, pace func(bytes int) error) (Purged, error) {
	if err := s.enter(); err != nil {
		return Purged{}, err
	}
	defer s.gate.leave()
	if s.claims.table.Load() == nil {
		return Purged{}, nil
	}
	if err := s.lookOnce(nOf); err != nil {
		return Purged{}, err
	}
	due := func(k treeKey, at causal.HLC) bool {
		n := nOf(k.bucket)
		return n > 0 && at <= s.purgeBefore(s.ClaimOf(n, k.token()))
	}
	var done Purged
	leaves := s.purges.take(due)
	for i, k := range leaves {
		if err := s.purgeLeaf(ctx, k, nOf(k.bucket), &done, pace); err != nil {
			for _, left := range leaves[i:] {
				s.purges.note(left, 1)
			}
			return done, err
		}
		done.Leaves++
	}
	return done, nil
}

func (k treeKey) token() uint64 { return uint64(k.leaf) << (64 - LeafBits) }

// lookOnce makes all leaves due that have items, after a start.
func (s *Store) lookOnce(nOf func(uint64) int) error {
	if s.purges.looked {
		return nil
	}
	for bucket, found, err := s.nextBucket(0); ; bucket, found, err = s.nextBucket(bucket + 1) {
		if err != nil {
			return err
		}
		if !found {
			break
		}
		for leaf := range LeafCount {
			k := treeKey{bucket, uint16(leaf)}
			if s.trees.get(k) != (Leaf{}) {
				s.purges.note(k, 1)
			}
		}
		if bucket == ^uint64(0) {
			break
		}
	}
	s.purges.looked = true
	return nil
}

// purgeLeaf looks through one leaf, and purges what it finds.
func (s *Store) purgeLeaf(ctx context.Context, k treeKey, n int, done *Purged, pace func(int) error) error {
	keys, next, err := s.purgeable(ctx, k, n, done, pace)
	if err != nil {
		return err
	}
	s.purges.note(k, next)
	for _, key := range keys {
		if err := s.purgeItem(ctx, key, n, done); err != nil {
			return err
		}
	}
	return nil
}

// purgeable lists the items of a leaf that have something to purge, and says when there will be more.
func (s *Store) purgeable(ctx context.Context, k treeKey, n int, done *Purged, pace func(int) error) (keys [][]byte, next causal.HLC, err error) {
	lower, upper := LeafRange{Bucket: k.bucket, First: int(k.leaf), Last: int(k.leaf)}.bounds()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, 0, s.readError(lower, err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = s.readError(lower, cerr)
		}
	}()
	claim := s.ClaimOf(n, k.token())
	before, read := s.purgeBefore(claim), 0
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, 0, s.readError(it.Key(), err)
		}
		if read += len(it.Key()) + len(value); read >= recountStep {
			if err := errors.Join(ctx.Err(), pace(read)); err != nil {
				return nil, 0, err
			}
			done.Bytes, read = done.Bytes+int64(read), 0
		}
		r, err := decodeRecord(it.Key(), value)
		if err != nil {
			continue // whoever reads it says so
		}
		left, some := causal.Purge(r.state, claim.PurgeLevel, before)
		if some {
			keys = append(keys, slices.Clone(it.Key()))
		}
		if at := left.PurgeableAt(); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	done.Bytes += int64(read)
	return keys, next, errors.Join(ctx.Err(), pace(read))
}

// purgeItem does it for one item, as it is now. One that is a hint as well waits until it is handed over.
func (s *Store) purgeItem(ctx context.Context, dbKey []byte, n int, done *Purged) error {
	key, err := DecodeKey(dbKey)
	if err != nil {
		return nil
	}
	stripe := stripeOf(key.Token)
	if err := s.lock(ctx, stripe); err != nil {
		return err
	}
	defer s.stripes.unlock(stripe)
	it, err := s.load(key)
	if errors.As(err, new(*CorruptError)) || err == nil && !it.found {
		return nil
	}
	if err != nil {
		return err
	}
	claim := s.ClaimOf(n, key.Token)
	left, some := causal.Purge(it.old.state, claim.PurgeLevel, s.purgeBefore(claim))
	if claim.Rebuilding || len(it.old.targets) > 0 {
		s.purges.note(treeKeyOf(dbKey), 1)
		return nil
	}
	if !some {
		return nil
	}
	it.new.state = left
	b := s.newBatch()
	if err := s.stage(b, it, nil, len(left.Versions) == 0); err != nil {
		return errors.Join(err, b.Close())
	}
	if _, err := s.apply(b, false, stripe); err != nil {
		return err
	}
	done.Items++
	if len(left.Versions) == 0 {
		done.Removed++
	}
	return nil
}

// PurgeDue is how many leaves have something to purge, now or later.
func (s *Store) PurgeDue() int {
	return s.purges.count()
}

// HintsUpTo calls found for hints here that keep a version with a dot up to h for another node. It asks want before it looks at
// an item, which costs a read. A hint that can't be read counts as one.
func (s *Store) HintsUpTo(ctx context.Context, h causal.HLC, want func(bucket, token uint64) bool, found func(bucket, token uint64)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return s.each([]byte{hintPrefix}, []byte{hintPrefix + 1}, func(key, _ []byte) (bool, error) {
		hint, err := decodeHintKey(key)
		if err != nil {
			return false, &CorruptError{Key: slices.Clone(key), What: "hint", Err: err}
		}
		if !want(hint.Key.Bucket, hint.Key.Token) {
			return true, ctx.Err()
		}
		r, _, _, err := s.loadRecord(stripeOf(hint.Key.Token), AppendKey(nil, hint.Key))
		switch {
		case errors.As(err, new(*CorruptError)):
			found(hint.Key.Bucket, hint.Key.Token)
		case err != nil:
			return false, err
		case slices.ContainsFunc(r.state.Versions, func(v causal.Version) bool { return v.Dot.HLC <= h }):
			found(hint.Key.Bucket, hint.Key.Token)
		}
		return true, ctx.Err()
	})
}
