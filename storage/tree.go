package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/starling-db/starling/antientropy/merkle"
	"github.com/starling-db/starling/causal"
)

// LeafBits is the number of high bits of a token that name its leaf, whatever the number of partitions: a partition of
// 2^p is the leaves of a sub-range, at least four of them.
const LeafBits = 16

// LeafCount is the number of leaves of a bucket.
const LeafCount = 1 << LeafBits

// LeafOf returns the leaf of a token.
func LeafOf(token uint64) int { return int(token >> (64 - LeafBits)) }

// Leaf sums up a bucket's items in one leaf: the Merkle trees that replicas compare. It changes with the items, in the same
// batch, and is kept in memory and in the database.
type Leaf struct {
	// Sum is that of the items' range keys and the digests of their states.
	Sum merkle.Sum
	// Items is their number, tombstones included. In a leaf that lost count it may be anything.
	Items int64
}

func (l Leaf) plus(o Leaf) Leaf  { return Leaf{l.Sum.Add(o.Sum), l.Items + o.Items} }
func (l Leaf) minus(o Leaf) Leaf { return Leaf{l.Sum.Sub(o.Sum), l.Items - o.Items} }

// leafOfItem is an item's part in its leaf.
func leafOfItem(dbKey []byte, digest causal.Digest) Leaf {
	return Leaf{ItemSum(dbKey[1:], digest), 1}
}

// ItemSum is what an item adds to its leaf. Its key is the bucket's id and its range key behind that.
func ItemSum(key []byte, digest causal.Digest) merkle.Sum { return merkle.Of(key, digest[:]) }

// treeKey names a leaf.
type treeKey struct {
	bucket uint64
	leaf   uint16
}

func (k treeKey) stripe() int { return stripeOf(uint64(k.leaf) << (64 - LeafBits)) }

// dbKey is where the leaf is kept: 't', bucket, leaf.
func (k treeKey) dbKey() []byte { return k.appendTo(make([]byte, 0, treeKeySize)) }

func (k treeKey) appendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, treePrefix), k.bucket)
	return binary.BigEndian.AppendUint16(dst, k.leaf)
}

func treePrefixOf(bucket uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{treePrefix}, bucket)
}

// treeKeyOf is the leaf of an item by its key in the database.
func treeKeyOf(dbKey []byte) treeKey {
	return treeKey{binary.BigEndian.Uint64(dbKey[1:]), binary.BigEndian.Uint16(dbKey[9:])}
}

const (
	treeFormat   = 1
	treeShards   = 64
	treeKeySize  = 1 + 8 + 2
	treeBodySize = merkle.SumSize + 8
)

// trees holds all leaves that are not empty. A leaf changes under its stripe's latch; the shards' locks are for readers.
type trees struct {
	shards [treeShards]treeShard
}

type treeShard struct {
	mu     sync.RWMutex
	leaves map[treeKey]Leaf // without pointers: the garbage collector does not look into it
}

func newTrees() *trees {
	t := new(trees)
	for i := range t.shards {
		t.shards[i].leaves = make(map[treeKey]Leaf)
	}
	return t
}

func (t *trees) shard(k treeKey) *treeShard { return &t.shards[k.leaf%treeShards] }

func (t *trees) get(k treeKey) Leaf {
	sh := t.shard(k)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.leaves[k]
}

func (t *trees) set(k treeKey, l Leaf) {
	sh := t.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l == (Leaf{}) {
		delete(sh.leaves, k)
	} else {
		sh.leaves[k] = l
	}
}

func (t *trees) drop(bucket uint64) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		maps.DeleteFunc(sh.leaves, func(k treeKey, _ Leaf) bool { return k.bucket == bucket })
		sh.mu.Unlock()
	}
}

// leafChange is what a batch changes of a leaf.
type leafChange struct {
	treeKey
	delta, now Leaf // now is set when the batch is applied
}

// moved notes what the batch makes of an item's part in its leaf.
func (b *batch) moved(k treeKey, delta Leaf) {
	if i := slices.IndexFunc(b.leaves, func(c leafChange) bool { return c.treeKey == k }); i >= 0 {
		b.leaves[i].delta = b.leaves[i].delta.plus(delta)
		return
	}
	if b.leaves == nil {
		b.leaves = b.oneLeaf[:0]
	}
	b.leaves = append(b.leaves, leafChange{treeKey: k, delta: delta})
}

// stageLeaves puts the new leaves into the batch, under the latches of all that it changes.
func (s *Store) stageLeaves(b *batch) error {
	for i := range b.leaves {
		c := &b.leaves[i]
		c.now = s.trees.get(c.treeKey).plus(c.delta)
		if err := putLeaf(b, c.treeKey, c.now); err != nil {
			return err
		}
	}
	return nil
}

func putLeaf(b *batch, k treeKey, l Leaf) error {
	if l == (Leaf{}) {
		return b.Delete(k.dbKey(), nil)
	}
	op := b.SetDeferred(treeKeySize, sealSize+treeBodySize) // written where it goes: this is part of every write
	k.appendTo(op.Key[:0])
	value := openSeal(op.Value[:0], treeFormat)
	value = merkle.AppendSums(value, l.Sum)
	value = binary.BigEndian.AppendUint64(value, uint64(l.Items))
	closeSeal(value, op.Key)
	return op.Finish()
}

// showLeaves shows to readers what the batch has made of leaves.
func (s *Store) showLeaves(b *batch) {
	if b.dropped != nil {
		s.trees.drop(*b.dropped)
		s.purges.drop(*b.dropped)
	}
	for i := range b.leaves {
		s.trees.set(b.leaves[i].treeKey, b.leaves[i].now)
	}
}

// loadTrees fills the memory at Open. A leaf that can't be decoded is left out: it differs from everybody's, and is counted
// anew when that is looked at.
func (s *Store) loadTrees() error {
	err := s.each([]byte{treePrefix}, []byte{treePrefix + 1}, func(key, value []byte) (bool, error) {
		k, l, err := decodeLeaf(key, value)
		if err != nil {
			s.logger.Warn("corrupt leaf of a tree", "key", key, "error", err)
			s.treesSuspect.Store(true)
			return true, nil
		}
		s.trees.set(k, l)
		return true, nil
	})
	if err != nil {
		return err
	}
	clean, err := s.sealed(treeMark)
	var damaged *CorruptError
	if errors.As(err, &damaged) {
		err = nil
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(clean, []byte{LeafBits}) {
		s.treesSuspect.Store(true)
	}
	if clean == nil && damaged == nil {
		return nil
	}
	return s.setSealed(treeMark, nil)
}

func decodeLeaf(key, value []byte) (treeKey, Leaf, error) {
	if len(key) != treeKeySize {
		return treeKey{}, Leaf{}, fmt.Errorf("a key of %d bytes", len(key))
	}
	k := treeKey{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint16(key[9:])}
	body, err := checkSeal(key, value, treeFormat)
	if err != nil {
		return treeKey{}, Leaf{}, err
	}
	if len(body) != treeBodySize {
		return treeKey{}, Leaf{}, fmt.Errorf("%d bytes, not %d", len(body), treeBodySize)
	}
	sums, err := merkle.DecodeSums(body[:merkle.SumSize])
	if err != nil {
		return treeKey{}, Leaf{}, err
	}
	return k, Leaf{sums[0], int64(binary.BigEndian.Uint64(body[merkle.SumSize:]))}, nil
}

// markClean says that the store was closed in order: the trees need not be looked through at the next start.
func (s *Store) markClean() error {
	if s.treesSuspect.Load() {
		return nil
	}
	return s.setSealed(treeMark, []byte{LeafBits})
}

// TreesSuspect tells whether leaves may differ from their items, which only an unclean stop, or a database of before there
// were trees, can bring about: Recount all then.
func (s *Store) TreesSuspect() bool { return s.treesSuspect.Load() }

// Leaves appends the leaves from first to last, both inclusive, of the items of the given buckets together. Each is from one
// moment; those of a range need not be from the same.
func (s *Store) Leaves(dst []Leaf, buckets []uint64, first, last int) []Leaf {
	for leaf := first; leaf <= last; leaf++ {
		var sum Leaf
		for _, bucket := range buckets {
			sum = sum.plus(s.trees.get(treeKey{bucket, uint16(leaf)}))
		}
		dst = append(dst, sum)
	}
	return dst
}

// LeafRange is some leaves of one bucket, both ends inclusive, or everything.
type LeafRange struct {
	Bucket      uint64
	First, Last int
	All         bool // all leaves of all buckets; the other fields don't count
}

// bounds are those of the items' keys.
func (r LeafRange) bounds() (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint16(bucketPrefix(r.Bucket), uint16(r.First))
	return lower, successor(binary.BigEndian.AppendUint16(bucketPrefix(r.Bucket), uint16(r.Last)))
}

// stripes are those whose latches hold the leaves still.
func (r LeafRange) stripes() []int {
	return stripesOf(min(r.Last-r.First+1, stripeCount), func(i int) uint64 { return uint64(r.First+i) << (64 - LeafBits) })
}

// Recounted is what Recount found.
type Recounted struct {
	Items   int // looked at
	Wrong   int // leaves that were not what their items say, and are now
	Corrupt int // items that can't be decoded, and count for nothing
	Damaged int // items that were set aside for it, and count for nothing either
}

func (r Recounted) plus(o Recounted) Recounted {
	return Recounted{
		Items: r.Items + o.Items, Wrong: r.Wrong + o.Wrong, Corrupt: r.Corrupt + o.Corrupt, Damaged: r.Damaged + o.Damaged,
	}
}

// Recount looks through the items of some leaves and mends the leaves that are wrong. Writes go on meanwhile: it looks at one
// moment of the store, and corrects leaves, whatever has become of them since, by how far they were off then. Another Recount,
// or a dropped bucket, would make that wrong: only one of them runs at a time. pace is called with the bytes read since its
// last call, may take its time, and ends the work with its error.
func (s *Store) Recount(ctx context.Context, r LeafRange, pace func(bytes int) error) (Recounted, error) {
	if err := s.enter(); err != nil {
		return Recounted{}, err
	}
	defer s.gate.leave()
	if !r.All {
		return s.recount(ctx, r, pace)
	}
	var all Recounted
	for bucket, found, err := s.nextBucket(0); ; bucket, found, err = s.nextBucket(bucket + 1) {
		if err != nil {
			return all, err
		}
		if !found {
			break
		}
		for first := 0; first < LeafCount; first += recountLeaves { // so that neither snapshot nor latches are held for long
			part, err := s.recount(ctx, LeafRange{Bucket: bucket, First: first, Last: first + recountLeaves - 1}, pace)
			all = all.plus(part)
			if err != nil {
				return all, err
			}
		}
		if bucket == math.MaxUint64 {
			break
		}
	}
	if all.Corrupt == 0 {
		s.treesSuspect.Store(false)
	}
	return all, nil
}

// recountLeaves is how many leaves of a bucket are looked at in one moment.
const recountLeaves = 256

// nextBucket is the first bucket from one on of which there is an item, or a leaf.
func (s *Store) nextBucket(from uint64) (next uint64, found bool, err error) {
	for _, prefix := range []byte{itemPrefix, treePrefix} {
		lower := binary.BigEndian.AppendUint64([]byte{prefix}, from)
		err := s.each(lower, []byte{prefix + 1}, func(key, _ []byte) (bool, error) {
			if len(key) < 9 {
				return true, nil
			}
			if bucket := binary.BigEndian.Uint64(key[1:]); !found || bucket < next {
				next, found = bucket, true
			}
			return false, nil
		})
		if err != nil {
			return 0, false, err
		}
	}
	return next, found, nil
}

// recount does it for a range of one bucket's leaves.
func (s *Store) recount(ctx context.Context, r LeafRange, pace func(int) error) (Recounted, error) {
	select {
	case s.recounting <- struct{}{}:
		defer func() { <-s.recounting }()
	case <-ctx.Done():
		return Recounted{}, ctx.Err()
	}
	stripes := r.stripes()
	if err := s.lock(ctx, stripes...); err != nil {
		return Recounted{}, err
	}
	snapshot := s.db.NewSnapshot()
	off := make(map[treeKey]Leaf) // what is kept, less what is counted
	for leaf := r.First; leaf <= r.Last; leaf++ {
		k := treeKey{r.Bucket, uint16(leaf)}
		if l := s.trees.get(k); l != (Leaf{}) {
			off[k] = l
		}
	}
	s.stripes.unlock(stripes...)
	found, err := s.count(ctx, snapshot, r, off, pace)
	if cerr := snapshot.Close(); err == nil && cerr != nil {
		err = s.readError(nil, cerr)
	}
	if err != nil {
		return found, err
	}
	for k, l := range off {
		if l == (Leaf{}) {
			continue
		}
		if err := s.correct(ctx, k, l); err != nil {
			return found, err
		}
		found.Wrong++
	}
	return found, nil
}

// recountStep is how many bytes are read between two calls of pace.
const recountStep = 256 << 10

func (s *Store) count(ctx context.Context, from *pebble.Snapshot, r LeafRange, off map[treeKey]Leaf, pace func(int) error) (found Recounted, err error) {
	lower, upper := r.bounds()
	it, err := from.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return found, s.readError(lower, err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = s.readError(lower, cerr)
		}
	}()
	read := 0
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return found, s.readError(it.Key(), err)
		}
		key := it.Key()
		if read += len(key) + len(value); read >= recountStep {
			if err := errors.Join(ctx.Err(), pace(read)); err != nil {
				return found, err
			}
			read = 0
		}
		found.Items++
		rec, err := decodeRecord(key, value)
		if err != nil {
			found.Corrupt++
			s.logger.Error("corrupt item", "key", slices.Clone(key), "error", err)
			s.damage.note(key)
			continue
		}
		if rec.damaged {
			found.Damaged++
			continue
		}
		k := treeKeyOf(key)
		off[k] = off[k].minus(leafOfItem(key, rec.state.Digest()))
	}
	return found, errors.Join(ctx.Err(), pace(read))
}

// correct takes from a leaf how far it is off.
func (s *Store) correct(ctx context.Context, k treeKey, off Leaf) error {
	if err := s.lock(ctx, k.stripe()); err != nil {
		return err
	}
	defer s.stripes.unlock(k.stripe())
	b := s.newBatch()
	b.moved(k, Leaf{}.minus(off))
	_, err := s.apply(b, false, k.stripe())
	return err
}
