package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/storage"
)

// Reasons for which a source does not count, for the time being.
var (
	// ErrRebuilding: its data may lack anything.
	ErrRebuilding = errors.New("transfer: the copy of the range is being rebuilt and vouches for nothing")
	// ErrDamaged: some items can't be read, and what is not sent would be taken not to be there.
	ErrDamaged = errors.New("transfer: some items of the range are damaged: it can be read when they are mended")
	// ErrBucket: one side holds items of a bucket that it, or the other, has yet to hear of.
	ErrBucket = errors.New("transfer: items of a bucket that this node has yet to hear of")
)

// SourceStore is what answering needs of package storage; *storage.Store has it.
type SourceStore interface {
	Range(ctx context.Context, r storage.RangeRequest) (items []storage.RangeItem, exhausted bool, err error)
	Buckets() ([]uint64, error)
	Leaves(dst []storage.Leaf, buckets []uint64, first, last int) []storage.Leaf
	LeafDamaged(buckets []uint64, first, last int) (bool, error)
	ClaimOf(n int, token uint64) storage.Claim
}

// Source is the side that answers. Whoever uses it has passed the fence, and looked whether this node is an owner of the range in the
// layout in force.
type Source struct {
	Store SourceStore
	// Buckets are those with n replicas, ascending.
	Buckets func(n int) []uint64
	// Known reports whether this node has heard of a bucket, be it that it was dropped.
	Known func(bucket uint64) bool
}

// Page reads the next page of a range. It fails rather than leave an item out: whoever has read a range to its end must have all
// that this owner has acknowledged.
func (s Source) Page(ctx context.Context, ask Ask) (Page, error) {
	if err := CheckAsk(ask); err != nil {
		return Page{}, err
	}
	first, last := storage.LeafOf(ask.First), storage.LeafOf(ask.Last)
	buckets := s.Buckets(ask.N)
	if ask.After == nil { // later there can be no items of another one: writes from before are refused since the first page
		if err := s.strangers(ctx, ask.Move); err != nil {
			return Page{}, err
		}
	}
	if damaged, err := s.Store.LeafDamaged(buckets, first, last); err != nil || damaged {
		return Page{}, errors.Join(err, cond(damaged, ErrDamaged))
	}
	before := s.Store.ClaimOf(ask.N, ask.First)
	page, err := s.collect(ctx, ask, buckets)
	if errors.As(err, new(*storage.CorruptError)) {
		return Page{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return Page{}, err
	}
	after := s.Store.ClaimOf(ask.N, ask.First)
	if before.Rebuilding || after.Rebuilding {
		return Page{}, ErrRebuilding
	}
	told := storage.Claimed(before, after, causal.State{})
	page.Floor, page.PurgeLevel, page.Sum = told.Floor, told.PurgeLevel, SumOf(page.Items)
	if ask.After == nil {
		for _, l := range s.Store.Leaves(nil, buckets, first, last) {
			page.Total += max(l.Items, 0)
		}
	}
	return page, nil
}

func cond(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

// strangers looks for items of buckets whose number of replicas nobody has told this node yet.
func (s Source) strangers(ctx context.Context, m storage.Move) error {
	all, err := s.Store.Buckets()
	if err != nil {
		return err
	}
	for _, bucket := range all {
		if s.Known(bucket) {
			continue
		}
		start, end := storage.PartitionBounds(m.First, m.Last)
		items, _, err := s.Store.Range(ctx, storage.RangeRequest{Bucket: bucket, Start: start, End: end, LimitItems: 1})
		if err != nil && !errors.As(err, new(*storage.CorruptError)) {
			return err
		}
		if err != nil || len(items) > 0 {
			return fmt.Errorf("%w: %016x", ErrBucket, bucket)
		}
	}
	return nil
}

// collect fills a page bucket by bucket.
func (s Source) collect(ctx context.Context, ask Ask, buckets []uint64) (page Page, err error) {
	size := 0
	for _, bucket := range buckets {
		start, end, ok := boundsOf(ask.Move, bucket, ask.After)
		if !ok {
			continue
		}
		if len(page.Items) == MaxItems || size >= MaxBytes {
			page.More = true
			return page, nil
		}
		items, exhausted, err := s.Store.Range(ctx, storage.RangeRequest{
			Bucket: bucket, Start: start, End: end, LimitItems: MaxItems - len(page.Items), LimitBytes: int64(MaxBytes - size),
		})
		if err != nil {
			return page, err
		}
		for _, got := range items {
			item := Item{itemKey(bucket, got.Key), causal.AppendState(nil, got.State.Bare())}
			n := len(item.Key) + len(item.State)
			if len(page.Items) > 0 && size+n > MaxBytes {
				page.More = true
				return page, nil
			}
			page.Items, size = append(page.Items, item), size+n
		}
		if !exhausted {
			page.More = true
			return page, nil
		}
	}
	return page, nil
}

// CheckAsk reports what can't be in a request for a page: it comes from another node.
func CheckAsk(ask Ask) error {
	if err := ask.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrPage, err)
	}
	if ask.After == nil {
		return nil
	}
	key, err := keyOf(ask.After)
	if err != nil || key.Token < ask.First || key.Token > ask.Last {
		return errors.Join(fmt.Errorf("%w: a cursor outside of the range", ErrPage), err)
	}
	return nil
}
