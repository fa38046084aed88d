package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/starling-db/starling/causal"
)

// RangeRequest asks for the items of a bucket between two range keys.
type RangeRequest struct {
	Bucket uint64
	// Start is inclusive, End exclusive; an empty End is the end of the bucket. Any bytes will do.
	Start, End []byte
	// Reverse returns the items from the end backwards.
	Reverse bool
	// LimitItems and LimitBytes end the reply; 0 is no limit. One item is returned however large it is.
	LimitItems int
	LimitBytes int64
}

// RangeItem is one item of a range. Deleted ones are there too, with their tombstones.
type RangeItem struct {
	// Key is the item's range key: DecodeRangeKey.
	Key   []byte
	State causal.State
}

// Range returns the items in order, from a single moment, and whether that was all. It waits, as Get does,
// until what it returns is durable, and leaves nothing out: a record that can't be decoded fails it with
// *CorruptError.
func (s *Store) Range(ctx context.Context, r RangeRequest) (items []RangeItem, exhausted bool, err error) {
	if err := s.enter(); err != nil {
		return nil, false, err
	}
	defer s.gate.leave()
	lower := append(bucketPrefix(r.Bucket), r.Start...)
	upper := successor(bucketPrefix(r.Bucket))
	if len(r.End) > 0 {
		upper = append(bucketPrefix(r.Bucket), r.End...)
	}
	if bytes.Compare(lower, upper) >= 0 {
		return nil, true, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, false, s.readError(lower, err)
	}
	items, exhausted, err = s.collect(ctx, it, r)
	if cerr := it.Close(); err == nil && cerr != nil {
		err = s.readError(lower, cerr)
	}
	if err == nil {
		err = s.awaitItems(ctx, items)
	}
	if err != nil {
		return nil, false, err
	}
	return items, exhausted, nil
}

func bucketPrefix(bucket uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{itemPrefix}, bucket)
}

func (s *Store) collect(ctx context.Context, it *pebble.Iterator, r RangeRequest) ([]RangeItem, bool, error) {
	first, next := it.First, it.Next
	if r.Reverse {
		first, next = it.Last, it.Prev
	}
	var items []RangeItem
	var size int64
	for ok := first(); ok; ok = next() {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		key := it.Key()
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, false, s.readError(key, err)
		}
		size += int64(len(key) + len(value))
		full := r.LimitItems > 0 && len(items) == r.LimitItems || r.LimitBytes > 0 && size > r.LimitBytes
		if full && len(items) > 0 {
			return items, false, nil
		}
		item, err := rangeItem(key, value)
		if err != nil {
			return nil, false, s.noticed(err)
		}
		items = append(items, item)
	}
	if err := it.Error(); err != nil {
		return nil, false, s.readError(nil, err)
	}
	return items, true, nil
}

// rangeItem copies key and value, which the iterator will overwrite.
func rangeItem(key, value []byte) (RangeItem, error) {
	key = slices.Clone(key)
	if _, err := DecodeKey(key); err != nil {
		return RangeItem{}, &CorruptError{Key: key, What: "item key", Err: err}
	}
	r, err := decodeItem(key, slices.Clone(value))
	if err != nil {
		return RangeItem{}, err
	}
	return RangeItem{Key: key[9:], State: r.state}, nil
}

// awaitItems waits for the commits under way on the items' stripes. Those of an item that is not in the
// result because its limit was reached, or because it is gone, don't matter.
func (s *Store) awaitItems(ctx context.Context, items []RangeItem) error {
	last := -1
	for i := range items {
		stripe := stripeOf(binary.BigEndian.Uint64(items[i].Key))
		if stripe == last {
			continue
		}
		last = stripe
		if err := s.await(ctx, s.stripes[stripe].pending.Load()); err != nil {
			return err
		}
	}
	return s.Err()
}
