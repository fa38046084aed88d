package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"github.com/starling-db/starling/causal"
)

// errSetAside is what reads of a damaged item find until it is mended.
var errSetAside = errors.New("it was damaged and set aside; it has no vote until it has been fetched from all other owners")

// noticedLimit bounds the keys of records that were found corrupt and not set aside yet. More are found again, by the
// next read of them or by a scrub.
const noticedLimit = 1024

// damage collects what readers and writers find corrupt. They must not wait, so somebody else sets it aside.
type damage struct {
	mu   sync.Mutex
	keys map[string]struct{}
	wake chan struct{} // has room for one
}

func newDamage() *damage {
	return &damage{keys: make(map[string]struct{}), wake: make(chan struct{}, 1)}
}

// note remembers a key, which it copies.
func (d *damage) note(key []byte) {
	d.mu.Lock()
	if len(d.keys) < noticedLimit {
		d.keys[string(key)] = struct{}{}
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// noticed passes err on, and notes the item that it says is corrupt.
func (s *Store) noticed(err error) error {
	if err == nil {
		return nil
	}
	if corrupt, ok := errors.AsType[*CorruptError](err); ok && !errors.Is(err, errSetAside) {
		s.damage.note(corrupt.Key)
	}
	return err
}

// Noticed receives when items were found corrupt since TakeNoticed was last called.
func (s *Store) Noticed() <-chan struct{} { return s.damage.wake }

// TakeNoticed returns the keys, as stored, of the items that were found corrupt since the last call, in order: for
// SetAside. There are at most 1,024.
func (s *Store) TakeNoticed() [][]byte {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	keys := make([][]byte, 0, len(s.damage.keys))
	for k := range s.damage.keys {
		keys = append(keys, []byte(k))
	}
	clear(s.damage.keys)
	slices.SortFunc(keys, bytes.Compare)
	return keys
}

// Each damaged item has an entry of its own beside the items, so that they are found without looking through all: 'x'
// and its key behind the 'd'.
const damagedIndexFormat = 1

func prefixOf(prefix byte, bucket uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, bucket)
}

// stageMark keeps the list of damaged items in step with their records.
func (it *item) stageMark(b *batch) error {
	if it.old.damaged == it.new.damaged {
		return nil
	}
	key := append([]byte{damagedPrefix}, it.dbKey[1:]...)
	if !it.new.damaged {
		return b.Delete(key, nil)
	}
	value := openSeal(nil, damagedIndexFormat)
	closeSeal(value, key)
	return b.Set(key, value, nil)
}

// Damaged lists up to limit items that were set aside, in order: those behind after, or from the first if after is nil.
func (s *Store) Damaged(after *Key, limit int) ([]Key, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	lower := []byte{damagedPrefix}
	if after != nil {
		lower = append(lower, AppendKey(nil, *after)[1:]...)
		lower = append(lower, 0)
	}
	var keys []Key
	err := s.each(lower, []byte{damagedPrefix + 1}, func(key, _ []byte) (bool, error) {
		// The value says nothing, and the record says whether the entry is right: Mend looks.
		k, err := DecodeKey(append([]byte{itemPrefix}, key[1:]...))
		if err != nil {
			s.logger.Error("corrupt entry of a damaged item", "key", slices.Clone(key), "error", err)
			return true, nil
		}
		keys = append(keys, k)
		return len(keys) < limit, nil
	})
	return keys, err
}

// loadAny is load that takes a damaged item, too.
func (s *Store) loadAny(k Key) (*item, error) {
	it, err := s.load(k)
	if !errors.Is(err, errSetAside) {
		return it, err
	}
	it = &item{key: k, dbKey: AppendKey(nil, k), found: true}
	if it.old, err = s.damagedRecord(it.dbKey); err != nil {
		return nil, err
	}
	it.new = it.old
	return it, nil
}

// damagedRecord reads a record that may be damaged, past the cache, which keeps none that is.
func (s *Store) damagedRecord(dbKey []byte) (record, error) {
	value, err := s.read(dbKey)
	if err != nil || value == nil {
		return record{}, err
	}
	r, err := decodeRecord(dbKey, value)
	if err != nil {
		return record{}, s.noticed(&CorruptError{Key: dbKey, What: "item", Err: err})
	}
	return r, nil
}

// damagedOwing is the record of a damaged item, once it is durable, if what was merged since is owed to the hint's
// target. What it owed before is not known: then unknown is returned, and the hint stays.
func (s *Store) damagedOwing(ctx context.Context, h Hint, unknown error) (record, error) {
	r, err := s.damagedRecord(AppendKey(nil, h.Key))
	if err == nil {
		err = s.pendingOn(h.Key).Wait(ctx)
	}
	if err != nil {
		return record{}, err
	}
	if _, owes := r.find(h.Target); !owes && r.damaged {
		return record{}, unknown
	}
	return r, nil
}

// Mend says what the other owners of a damaged item hold.
type Mend struct {
	Key    Key
	Policy causal.Policy
	// State is the join of what all other owners hold; or what somebody has decided that the item is.
	State causal.State
	// Drop the record when it owes nobody: this node is no owner of it.
	Drop bool
}

// Mend joins a state into a damaged item and gives it its vote back, durably; of one that is not damaged it does nothing
// and returns false. It is for when all other owners have said what they hold, or somebody has decided: what this node
// acknowledged may otherwise be on one of those that were not asked, and reads that count this node would miss it. It
// fails like Merge.
func (s *Store) Mend(ctx context.Context, m Mend) (mended bool, err error) {
	if err := m.Key.Check(); err != nil {
		return false, err
	}
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.gate.leave()
	stripe := stripeOf(m.Key.Token)
	if err := s.lock(ctx, stripe); err != nil {
		return false, err
	}
	c, mended, err := s.applyMend(&m)
	s.stripes.unlock(stripe)
	if err != nil || !mended {
		return false, err
	}
	return true, s.await(ctx, c)
}

func (s *Store) applyMend(m *Mend) (*commit, bool, error) {
	it, err := s.loadAny(m.Key)
	if err != nil || !it.old.damaged {
		return nil, false, err
	}
	it.new.state, it.new.damaged = causal.Merge(m.Policy, it.old.state, m.State).Bare(), false
	if n := len(it.new.state.Versions); n > causal.MaxVersions {
		return nil, false, &LimitError{What: "siblings", Value: int64(n), Limit: causal.MaxVersions}
	}
	remove := len(it.new.targets) == 0 && (m.Drop || len(it.new.state.Versions) == 0)
	if !remove {
		if err := s.space.admit(it.newSize()); err != nil {
			return nil, false, err
		}
	}
	b := s.newBatch()
	if err := s.stage(b, it, nil, remove); err != nil {
		return nil, false, errors.Join(err, b.Close())
	}
	c, err := s.apply(b, true, stripeOf(m.Key.Token))
	return c, err == nil, err
}

// LeafDamaged reports whether some item in the leaves from first to last of the given buckets is damaged and has no vote.
func (s *Store) LeafDamaged(buckets []uint64, first, last int) (found bool, err error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.gate.leave()
	for _, bucket := range buckets {
		lower, upper := LeafRange{Bucket: bucket, First: first, Last: last}.bounds()
		lower[0] = damagedPrefix
		if upper[0] == itemPrefix {
			upper[0] = damagedPrefix
		} else { // the last leaf of the last bucket
			upper = []byte{damagedPrefix + 1}
		}
		err := s.each(lower, upper, func([]byte, []byte) (bool, error) {
			found = true
			return false, nil
		})
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}
