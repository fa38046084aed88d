package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Bounds of one page. A single item may be larger.
const (
	MaxItems = 512
	MaxBytes = 256 << 10
)

// Item is one on its way to a new owner.
type Item struct {
	Key   []byte // bucket id (8 bytes) and range key, as storage.LeafItem
	State []byte // a causal.State in its binary form, without claims
}

// Ask is a request for the next page of a range.
type Ask struct {
	// Epoch is the asker's, at which the pull was planned.
	Epoch uint64
	storage.Move
	// After is the last key of the page before; nil: none.
	After []byte
}

// Page is the items of a range behind Ask.After, in the order of their keys.
type Page struct {
	Items []Item
	// More: there may be others behind the last one.
	More bool
	// Sum is the checksum over the items.
	Sum uint32
	// Floor and PurgeLevel are what the source claims of its data in the range.
	Floor, PurgeLevel causal.HLC
	// Total is about how many items the whole range has. The first page says it.
	Total int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SumOf is the checksum over items, where one ends and the next begins included.
func SumOf(items []Item) uint32 {
	var sum uint32
	var sizes [8]byte
	for _, item := range items {
		binary.BigEndian.PutUint32(sizes[:], uint32(len(item.Key)))
		binary.BigEndian.PutUint32(sizes[4:], uint32(len(item.State)))
		sum = crc32.Update(sum, castagnoli, sizes[:])
		sum = crc32.Update(sum, castagnoli, item.Key)
		sum = crc32.Update(sum, castagnoli, item.State)
	}
	return sum
}

func bytesOf(items []Item) (n int) {
	for _, item := range items {
		n += len(item.Key) + len(item.State)
	}
	return n
}

// ErrPage says that a page can't be an answer to what was asked.
var ErrPage = errors.New("transfer: a page that can't be")

// decode checks a page that came from another node, and returns its items as merges in the order of their keys. What comes from
// there is not trusted: every item must lie behind the cursor, in the range, and at the token that its key has.
func decode(ask Ask, page Page, policy func(bucket uint64) (p causal.Policy, keep bool, err error)) ([]storage.Merge, error) {
	size := bytesOf(page.Items)
	switch {
	case len(page.Items) > MaxItems, len(page.Items) > 1 && size > MaxBytes:
		return nil, fmt.Errorf("%w: %d items of %d bytes, at most %d of %d", ErrPage, len(page.Items), size, MaxItems, MaxBytes)
	case page.More && len(page.Items) == 0:
		return nil, fmt.Errorf("%w: it goes no further than the page before, and is not the last", ErrPage)
	case SumOf(page.Items) != page.Sum:
		return nil, fmt.Errorf("%w: the checksum is wrong", ErrPage)
	case page.PurgeLevel > page.Floor:
		return nil, fmt.Errorf("%w: it claims to have purged what it has not seen", ErrPage)
	}
	last := ask.After
	merges := make([]storage.Merge, 0, len(page.Items))
	for _, item := range page.Items {
		if last != nil && bytes.Compare(item.Key, last) <= 0 {
			return nil, fmt.Errorf("%w: keys that do not ascend", ErrPage)
		}
		last = item.Key
		key, err := keyOf(item.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPage, err)
		}
		if key.Token < ask.First || key.Token > ask.Last || key.Token != uint64(ring.TokenOf(key.Bucket, key.Partition)) {
			return nil, fmt.Errorf("%w: an item outside of the range", ErrPage)
		}
		state, err := causal.DecodeState(item.State)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPage, err)
		}
		p, keep, err := policy(key.Bucket)
		if err != nil {
			return nil, err
		}
		if keep {
			state.Floor, state.PurgeLevel = page.Floor, page.PurgeLevel
			merges = append(merges, storage.Merge{Key: key, Policy: p, State: state, N: ask.N, Sync: true, Epoch: ask.Epoch})
		}
	}
	return merges, nil
}

func keyOf(key []byte) (storage.Key, error) {
	bucket, rangeKey, err := storage.SplitItemKey(key)
	if err != nil {
		return storage.Key{}, err
	}
	return storage.DecodeRangeKey(bucket, rangeKey)
}

// boundsOf are those of a range's items in one bucket behind a key, for storage.Range; ok is false if none can be there.
func boundsOf(m storage.Move, bucket uint64, after []byte) (start, end []byte, ok bool) {
	start, end = storage.PartitionBounds(m.First, m.Last)
	if len(after) < 8 {
		return start, end, true
	}
	switch at := binary.BigEndian.Uint64(after); {
	case bucket < at:
		return nil, nil, false
	case bucket == at:
		if behind := append(slices.Clone(after[8:]), 0); bytes.Compare(behind, start) > 0 {
			start = behind
		}
	}
	return start, end, end == nil || bytes.Compare(start, end) < 0
}

func itemKey(bucket uint64, rangeKey []byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(rangeKey)), bucket), rangeKey...)
}
