package storage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
)

const (
	quarantineFormat = 1
	// quarantineOverhead is charged for each entry, so that many small ones are bounded too.
	quarantineOverhead = 1 << 10
	quarantineKeySize  = 1 + 8 + 8
)

// quarantine knows the entries that hold the bytes of records that were set aside. Their keys are 'q', the bucket, and a
// number that grows. It is changed by whoever holds the token of Store.recounting, in step with a batch; if that fails
// the store has failed.
type quarantine struct {
	limit   int64
	entries []quarantined // oldest first
	next    uint64
	bytes   atomic.Int64
	dropped atomic.Int64
}

type quarantined struct {
	bucket, number uint64
	size           int64
}

func (q *quarantine) keyOf(e quarantined) []byte {
	return binary.BigEndian.AppendUint64(prefixOf(quarantinePrefix, e.bucket), e.number)
}

// stage puts a record's key and bytes into the batch and takes the oldest out for which there is no room any more. What
// is larger than all the room is not kept.
func (q *quarantine) stage(b *batch, key, value []byte) error {
	e := quarantined{bucket: binary.BigEndian.Uint64(key[1:]), number: q.next, size: int64(len(key)+len(value)) + quarantineOverhead}
	if e.size > q.limit {
		q.dropped.Add(1)
		return nil
	}
	q.next++
	q.add(e)
	for q.bytes.Load() > q.limit {
		oldest := q.entries[0]
		q.entries = q.entries[1:]
		q.bytes.Add(-oldest.size)
		q.dropped.Add(1)
		if err := b.Delete(q.keyOf(oldest), nil); err != nil {
			return err
		}
	}
	at := q.keyOf(e)
	sealed := openSeal(make([]byte, 0, sealSize+binary.MaxVarintLen64+len(key)+len(value)), quarantineFormat)
	sealed = append(binary.AppendUvarint(sealed, uint64(len(key))), key...)
	sealed = append(sealed, value...)
	closeSeal(sealed, at)
	return b.Set(at, sealed, nil)
}

func (q *quarantine) add(e quarantined) {
	q.entries = append(q.entries, e)
	q.bytes.Add(e.size)
}

// drop forgets the entries of a bucket that goes.
func (q *quarantine) drop(bucket uint64) {
	q.entries = slices.DeleteFunc(q.entries, func(e quarantined) bool {
		if e.bucket == bucket {
			q.bytes.Add(-e.size)
		}
		return e.bucket == bucket
	})
}

// loadQuarantine lists at Open what is there.
func (s *Store) loadQuarantine() error {
	q := s.quarantine
	err := s.each([]byte{quarantinePrefix}, []byte{quarantinePrefix + 1}, func(key, value []byte) (bool, error) {
		if len(key) != quarantineKeySize {
			s.logger.Warn("corrupt entry of the quarantine", "key", slices.Clone(key))
			return true, nil
		}
		e := quarantined{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:]), int64(len(value)) + quarantineOverhead}
		q.next = max(q.next, e.number+1)
		q.add(e)
		return true, nil
	})
	slices.SortFunc(q.entries, func(a, b quarantined) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return err
}

// Quarantined is a record that was set aside: the bytes that were found under an item's key.
type Quarantined struct{ Key, Value []byte }

// Quarantined shows the bytes of records that were set aside, by bucket and then oldest first. visit must not keep them.
func (s *Store) Quarantined(visit func(Quarantined) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return s.each([]byte{quarantinePrefix}, []byte{quarantinePrefix + 1}, func(key, value []byte) (bool, error) {
		q, err := decodeQuarantined(key, value)
		if err != nil {
			return false, &CorruptError{Key: slices.Clone(key), What: "entry of the quarantine", Err: err}
		}
		return true, visit(q)
	})
}

func decodeQuarantined(key, value []byte) (Quarantined, error) {
	body, err := checkSeal(key, value, quarantineFormat)
	if err != nil {
		return Quarantined{}, err
	}
	n, body, err := decodeUvarint(body)
	if err != nil {
		return Quarantined{}, err
	}
	if n > uint64(len(body)) {
		return Quarantined{}, fmt.Errorf("a key of %d bytes in %d", n, len(body))
	}
	return Quarantined{Key: body[:n], Value: body[n:]}, nil
}
