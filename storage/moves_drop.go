package storage

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// dropItems is how many items DropRange removes in one batch: their latches are held for no longer than that takes.
const dropItems = 128

// Dropped is what DropRange did.
type Dropped struct {
	Items int
	// Kept are items that stay: they wait as hints for other nodes, or can't be read yet. They are dropped when that is over.
	Kept  int
	Bytes int64
}

// DropRange removes the items of some buckets in whole leaves, first to last, in bounded batches, with their part in the
// leaves. Items that owe something to another node stay, for nobody else may hold what they promise, and so do damaged ones,
// of which that is not known. may is asked under the latches of the items that are about to go, and ends it with ErrKept: a
// write that is let in after may would have refused is never removed. pace is as in Recount. After a crash some of the items
// may be back; drop them again.
func (s *Store) DropRange(
	ctx context.Context, buckets []uint64, first, last int, may func() bool, pace func(bytes int) error,
) (done Dropped, err error) {
	if err := s.enter(); err != nil {
		return done, err
	}
	defer s.gate.leave()
	for _, bucket := range buckets {
		lower, upper := LeafRange{Bucket: bucket, First: first, Last: last}.bounds()
		for len(lower) > 0 {
			var keys [][]byte
			var read int
			if keys, lower, read, err = s.keysFrom(ctx, lower, upper); err != nil {
				return done, err
			}
			done.Bytes += int64(read)
			if err := s.dropKeys(ctx, keys, may, &done); err != nil {
				return done, err
			}
			if err := errors.Join(ctx.Err(), pace(read)); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// ErrKept says that what was to be dropped is not to be dropped any more.
var ErrKept = errors.New("storage: the range is to be kept after all")

// keysFrom lists the next keys of items, and where to go on; nil: nowhere.
func (s *Store) keysFrom(ctx context.Context, lower, upper []byte) (keys [][]byte, next []byte, size int, err error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, nil, 0, s.readError(lower, err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = s.readError(lower, cerr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		if len(keys) == dropItems {
			return keys, slices.Clone(it.Key()), size, nil
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, nil, 0, s.readError(it.Key(), err)
		}
		size += len(it.Key()) + len(value)
		keys = append(keys, slices.Clone(it.Key()))
	}
	return keys, nil, size, ctx.Err()
}

// dropKeys removes some items, in one batch.
func (s *Store) dropKeys(ctx context.Context, keys [][]byte, may func() bool, done *Dropped) error {
	var at []Key
	for _, key := range keys {
		k, err := DecodeKey(key)
		if err != nil { // a scrub sets it aside
			done.Kept++
			continue
		}
		at = append(at, k)
	}
	if len(at) == 0 {
		return nil
	}
	stripes := stripesOf(len(at), func(i int) uint64 { return at[i].Token })
	if err := s.lock(ctx, stripes...); err != nil {
		return err
	}
	defer s.stripes.unlock(stripes...)
	if !may() {
		return ErrKept
	}
	b := s.newBatch()
	dropped := 0
	for _, k := range at {
		it, err := s.loadAny(k)
		switch {
		case errors.As(err, new(*CorruptError)):
			done.Kept++
			continue
		case err != nil:
			return errors.Join(err, b.Close())
		case !it.found:
			continue
		case it.old.damaged || len(it.old.targets) > 0:
			done.Kept++
			continue
		}
		if err := s.stage(b, it, nil, true); err != nil {
			return errors.Join(err, b.Close())
		}
		dropped++
	}
	if dropped == 0 {
		return b.Close()
	}
	if _, err := s.apply(b, false, stripes...); err != nil {
		return err
	}
	done.Items += dropped
	return nil
}
