package storage

import (
	"context"
	"errors"
)

// dropBatch is how many hints DropBucket removes in one batch.
const dropBatch = 10_000

// DropBucket removes all items of a bucket, and their hints, durably. The caller has made sure that nobody
// writes to the bucket any more; writes to others wait while the hints are looked through. After an error,
// or a crash, items and some hints may be gone: drop it again.
func (s *Store) DropBucket(ctx context.Context, bucket uint64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	select {
	case s.recounting <- struct{}{}:
		defer func() { <-s.recounting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	all := make([]int, stripeCount)
	for i := range all {
		all[i] = i
	}
	// Every latch: a record must not be written back by somebody who read it before it was dropped, and
	// hints are charged by the records that they belong to.
	if err := s.lock(ctx, all...); err != nil {
		return err
	}
	c, err := s.applyDrop(ctx, bucket, all)
	s.stripes.unlock(all...)
	if err != nil {
		return err
	}
	return s.await(ctx, c)
}

// applyDrop removes the items first: a hint without an item is harmless (sweepHint), an item that has
// forgotten whom it stands in for is not.
func (s *Store) applyDrop(ctx context.Context, bucket uint64, indexes []int) (*commit, error) {
	b := s.newBatch()
	b.all, b.dropped = true, &bucket
	for _, start := range [][]byte{
		bucketPrefix(bucket), treePrefixOf(bucket), prefixOf(damagedPrefix, bucket), prefixOf(quarantinePrefix, bucket),
	} {
		if err := b.DeleteRange(start, successor(start), nil); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	s.quarantine.drop(bucket)
	var entries []entry
	flush := func(sync bool) (*commit, error) {
		if err := s.ledger.post(entries); err != nil {
			return nil, errors.Join(err, b.Close())
		}
		entries = entries[:0]
		full := b
		b = s.newBatch()
		return s.apply(full, sync, indexes...)
	}
	err := s.each([]byte{hintPrefix}, []byte{hintPrefix + 1}, func(key, value []byte) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		e, drop, err := droppedHint(b, bucket, key, value)
		if err != nil || !drop {
			return true, err
		}
		if entries = append(entries, e); len(entries) < dropBatch {
			return true, nil
		}
		_, err = flush(false)
		return true, err
	})
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	c, err := flush(true)
	return c, errors.Join(err, b.Close())
}

// droppedHint deletes a hint of the bucket and returns what that does to the ledger.
func droppedHint(b *batch, bucket uint64, key, value []byte) (entry, bool, error) {
	at, err := decodeHintKey(key)
	if err != nil || at.Key.Bucket != bucket {
		// A key that can't be decoded is of no bucket; Hints reports it.
		return entry{}, false, nil
	}
	e := entry{target: at.Target}
	if h, err := decodeHint(key, value); err == nil {
		e.items, e.bytes = -1, -h.Bytes
	}
	return e, true, b.Delete(key, nil)
}
