package storage

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// SetAside takes a record out of use that can't be decoded; key is as stored, from TakeNoticed. Its bytes go to the quarantine,
// and a mark takes its place, in one durable batch: reads stay *CorruptError, merges are kept, and its leaf does not
// count it, until Mend. If the cache still has the record it is simply written again. It returns false, with nothing done,
// if the record is sound, or gone, or was set aside before.
func (s *Store) SetAside(ctx context.Context, key []byte) (damaged bool, err error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.gate.leave()
	if len(key) < minItemKey || key[0] != itemPrefix {
		return false, nil
	}
	// What the record's part in the leaf was is not known, so the leaf is counted: as Recount does, and never beside it.
	select {
	case s.recounting <- struct{}{}:
		defer func() { <-s.recounting }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	stripe := stripeOf(binary.BigEndian.Uint64(key[9:]))
	if err := s.lock(ctx, stripe); err != nil {
		return false, err
	}
	c, damaged, err := s.applySetAside(ctx, key, stripe)
	s.stripes.unlock(stripe)
	if err == nil {
		err = s.await(ctx, c)
	}
	return damaged && err == nil, err
}

// minItemKey is the size of an item's key up to its token.
const minItemKey = 1 + 8 + 8

func (s *Store) applySetAside(ctx context.Context, key []byte, stripe int) (*commit, bool, error) {
	value, err := s.read(key)
	if err != nil || value == nil {
		return nil, false, err
	}
	at, keyErr := DecodeKey(key)
	if _, err := decodeRecord(key, value); err == nil && keyErr == nil {
		return nil, false, nil
	}
	if err := s.space.admit(len(key) + len(value)); err != nil {
		return nil, false, err
	}
	b := s.newBatch()
	right, err := s.countLeaf(ctx, key)
	if err == nil {
		err = s.quarantine.stage(b, key, value)
	}
	damaged := true
	switch cached := s.cached(at, key, stripe); {
	case err != nil:
	case keyErr != nil: // no item has this key: nobody will miss it, or mend it
		err = b.Delete(key, nil)
	case cached != nil:
		damaged = false
		right = right.plus(leafOfItem(key, cached.was))
		err = s.stage(b, cached, nil, false)
	default:
		err = s.stage(b, &item{key: at, dbKey: key, new: record{damaged: true}}, nil, false)
	}
	if err != nil {
		return nil, false, errors.Join(err, b.Close())
	}
	leaf := treeKeyOf(key) // which stage left alone
	if delta := right.minus(s.trees.get(leaf)); delta != (Leaf{}) {
		b.moved(leaf, delta)
	}
	c, err := s.apply(b, true, stripe)
	return c, damaged && err == nil, err
}

// cached is the item as the cache has it, nil if it has none that is sound. The latch is held, so it is what the database
// should have.
func (s *Store) cached(at Key, key []byte, stripe int) *item {
	k, _, found := s.cache.get(stripe, key)
	if !found {
		return nil
	}
	r, err := decodeItem(key, k.value())
	if err != nil {
		return nil
	}
	return &item{key: at, dbKey: key, old: r, was: k.digest, found: true, new: r}
}

// countLeaf is what the leaf of an item comes to without that item. The latch of its stripe is held.
func (s *Store) countLeaf(ctx context.Context, without []byte) (sum Leaf, err error) {
	k := treeKeyOf(without)
	lower, upper := LeafRange{Bucket: k.bucket, First: int(k.leaf), Last: int(k.leaf)}.bounds()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return sum, s.readError(lower, err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = s.readError(lower, cerr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return sum, s.readError(it.Key(), err)
		}
		if string(it.Key()) == string(without) {
			continue
		}
		if r, err := decodeRecord(it.Key(), value); err == nil && !r.damaged {
			sum = sum.plus(leafOfItem(it.Key(), r.state.Digest()))
		}
	}
	return sum, ctx.Err()
}
