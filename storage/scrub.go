package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ScrubAt is how far a pass over all items has come: the leaf that it looks at next. The zero ScrubAt is the beginning.
type ScrubAt struct {
	Bucket uint64
	Leaf   int
}

// scrubItems is about how many items one step of a scrub looks at: its snapshot, and what waits for it, lasts as long.
const scrubItems = 1024

// Scrub is one step of a pass: it reads every record of some leaves from the database, verifies its checksum and decodes it,
// and mends the leaves that are wrong, as Recount does. What can't be decoded is counted as Corrupt and noted for
// TakeNoticed. It returns where the next step begins; false says that this was the last. A block that Pebble finds corrupt
// fails the store.
func (s *Store) Scrub(ctx context.Context, at ScrubAt, pace func(bytes int) error) (found Recounted, next ScrubAt, more bool, err error) {
	if err := s.enter(); err != nil {
		return found, at, false, err
	}
	defer s.gate.leave()
	bucket, any, err := s.nextBucket(at.Bucket)
	if err != nil || !any {
		return found, ScrubAt{}, false, err
	}
	first := 0
	if bucket == at.Bucket {
		first = min(max(at.Leaf, 0), LeafCount-1)
	}
	last := s.scrubTo(bucket, first)
	if found, err = s.recount(ctx, LeafRange{Bucket: bucket, First: first, Last: last}, pace); err != nil {
		return found, at, false, err
	}
	switch {
	case last+1 < LeafCount:
		return found, ScrubAt{bucket, last + 1}, true, nil
	case bucket < math.MaxUint64:
		return found, ScrubAt{Bucket: bucket + 1}, true, nil
	default:
		return found, ScrubAt{}, false, nil
	}
}

// scrubTo is the last leaf of a step, by what the leaves say that they hold.
func (s *Store) scrubTo(bucket uint64, first int) int {
	last := first
	for items := int64(0); last < LeafCount-1 && last-first < recountLeaves-1; last++ {
		items += max(s.trees.get(treeKey{bucket, uint16(last + 1)}).Items, 0)
		if items > scrubItems {
			break
		}
	}
	return last
}

// ScrubProgress is how far scrubbing has come, as a restart finds it. Times are in milliseconds since 1970; 0: never.
type ScrubProgress struct {
	// Begun is when the pass under way began; 0: none is.
	Begun int64
	// Ended is when the last whole pass ended, and Since when that one began, or, as long as there is none, the first.
	Since, Ended int64
	At           ScrubAt
}

const (
	scrubDocument     = "scrub/progress"
	scrubDocumentSize = 8 + 8 + 8 + 8 + 2
)

// SaveScrub keeps p durably.
func (s *Store) SaveScrub(p ScrubProgress) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Begun))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Since))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Ended))
	b = binary.BigEndian.AppendUint64(b, p.At.Bucket)
	return s.SetMeta(scrubDocument, binary.BigEndian.AppendUint16(b, uint16(p.At.Leaf)))
}

// ScrubProgress returns what SaveScrub kept. If that is damaged itself it is as if there were none.
func (s *Store) ScrubProgress() (ScrubProgress, error) {
	b, err := s.Meta(scrubDocument)
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		s.logger.Warn("how far scrubbing had come can't be read; it begins anew", "error", corrupt)
		return ScrubProgress{}, nil
	}
	if err != nil || b == nil {
		return ScrubProgress{}, err
	}
	if len(b) != scrubDocumentSize {
		return ScrubProgress{}, fmt.Errorf("storage: document %s of %d bytes", scrubDocument, len(b))
	}
	number := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	return ScrubProgress{
		Begun: int64(number(0)), Since: int64(number(8)), Ended: int64(number(16)),
		At: ScrubAt{Bucket: number(24), Leaf: int(binary.BigEndian.Uint16(b[32:]))},
	}, nil
}

// DamageFigures are what the store has set aside.
type DamageFigures struct {
	// QuarantineBytes is what the quarantine holds, QuarantineDropped how many records it had no room for since Open.
	QuarantineBytes, QuarantineDropped int64
}

// DamageFigures returns the present figures.
func (s *Store) DamageFigures() DamageFigures {
	return DamageFigures{s.quarantine.bytes.Load(), s.quarantine.dropped.Load()}
}
