package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// LeafItem is one item of a leaf, as replicas compare them.
type LeafItem struct {
	// Key is the bucket's id (8 bytes) and, behind it, the item's range key.
	Key []byte
	// Hash is the first half of ItemSum: it tells items, and states of an item, apart.
	Hash uint64
}

// SplitItemKey is the reverse of how LeafItem.Key is made.
func SplitItemKey(key []byte) (bucket uint64, rangeKey []byte, err error) {
	if len(key) < 8 {
		return 0, nil, fmt.Errorf("storage: an item key of %d bytes", len(key))
	}
	return binary.BigEndian.Uint64(key), key[8:], nil
}

// LeafItems returns up to limit items of the leaves from first to last, or some megabytes of them, in the buckets given, which
// ascend, in the order of their keys from the one behind after on, nil being the first; more says that there may be others behind
// them. Those that can't be decoded, or are damaged, are left out. What it shows need not be durable yet.
func (s *Store) LeafItems(
	ctx context.Context, buckets []uint64, first, last int, after []byte, limit int,
) (items []LeafItem, more bool, err error) {
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.gate.leave()
	left := leafItemsBytes
	for _, bucket := range buckets {
		lower, upper := LeafRange{Bucket: bucket, First: first, Last: last}.bounds()
		if after != nil && bytes.Compare(lower[1:], after) <= 0 {
			lower = append(append([]byte{itemPrefix}, after...), 0)
		}
		if bytes.Compare(lower, upper) >= 0 {
			continue
		}
		var cut bool
		if items, cut, err = s.appendLeafItems(ctx, items, lower, upper, limit, &left); err != nil {
			return nil, false, err
		}
		if cut {
			return items, true, nil
		}
	}
	return items, false, nil
}

// leafItemsBytes bounds what LeafItems reads at once, but for the last item.
const leafItemsBytes = 4 << 20

// appendLeafItems appends until there are limit items or no bytes are left to read; cut says that it was so.
func (s *Store) appendLeafItems(
	ctx context.Context, items []LeafItem, lower, upper []byte, limit int, left *int,
) (_ []LeafItem, cut bool, err error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, false, s.readError(lower, err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = s.readError(lower, cerr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		if len(items) >= limit || *left <= 0 && len(items) > 0 {
			return items, true, ctx.Err()
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, false, s.readError(it.Key(), err)
		}
		*left -= len(it.Key()) + len(value)
		r, err := decodeRecord(it.Key(), value)
		if err != nil {
			s.logger.Error("corrupt item", "key", slices.Clone(it.Key()), "error", err)
			s.damage.note(it.Key())
			continue
		}
		if r.damaged {
			continue
		}
		key := slices.Clone(it.Key()[1:])
		items = append(items, LeafItem{key, ItemSum(key, r.state.Digest()).A})
	}
	return items, false, ctx.Err()
}
