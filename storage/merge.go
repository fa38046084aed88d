package storage

import (
	"context"
	"slices"

	"github.com/starling-db/starling/causal"
)

// Merge is a state from another node, to be joined with what is here.
type Merge struct {
	Key    Key
	Policy causal.Policy
	// State's values are not kept. The caller has let the clock observe its HLCs.
	State causal.State
	// HintFor is the owner that this copy stands in for; zero: none.
	HintFor NodeID
	// N is how many replicas the item's bucket has: what is claimed of its partition takes part. Zero: nothing is claimed.
	N int
	// Fresh is the HLC of the version of State that is only now being written, zero if none is: it is refused where its time
	// is over.
	Fresh causal.HLC
	Sync  bool
	Epoch uint64
}

// Merge joins states into items, all in one batch with one fsync, and returns when those with Sync are on
// disk. A damaged item takes them, too, and stays damaged (Mend). The result has one error for each: nil, *HintBudgetError,
// *DiskFullError for what would change something, *BelowFloorError for a fresh write, *CorruptError for a record that can't be
// read and was not set aside yet, *KeyError, *LimitError beyond causal.MaxVersions, or what kept the whole from being done.
// After an error of the context the states may have been merged.
func (s *Store) Merge(ctx context.Context, merges []Merge) []error {
	errs, c := s.StartMerge(ctx, merges)
	if err := c.Wait(ctx); err != nil {
		return fill(errs, err)
	}
	return errs
}

// StartMerge is Merge without the wait: a state that was merged without an error of its own may be acknowledged when the
// Commit is done.
func (s *Store) StartMerge(ctx context.Context, merges []Merge) ([]error, Commit) {
	errs := make([]error, len(merges))
	if len(merges) == 0 {
		return errs, Commit{}
	}
	if err := s.enter(); err != nil {
		return fill(errs, err), Commit{}
	}
	defer s.gate.leave()
	indexes := stripesOf(len(merges), func(i int) uint64 { return merges[i].Key.Token })
	if err := s.lock(ctx, indexes...); err != nil {
		return fill(errs, err), Commit{}
	}
	waits, err := s.applyMerges(merges, errs, indexes)
	s.stripes.unlock(indexes...)
	if err != nil {
		return fill(errs, err), Commit{}
	}
	return errs, s.all(waits)
}

// fill gives err to all that have none of their own.
func fill(errs []error, err error) []error {
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// applyMerges fills one batch and applies it under the latches; it returns the commits to wait for.
func (s *Store) applyMerges(merges []Merge, errs []error, indexes []int) ([]*commit, error) {
	b := s.newBatch()
	seen := make(map[string]*item, len(merges))
	sync := false
	var waits []*commit
	for i := range merges {
		m := &merges[i]
		changed, err := s.merge(b, seen, m)
		if errs[i] = err; err != nil || !m.Sync {
			continue
		}
		stripe := stripeOf(m.Key.Token)
		if changed || s.stripes[stripe].unsynced {
			sync = true
		} else if c := s.stripes[stripe].pending.Load(); c != nil && !slices.Contains(waits, c) {
			waits = append(waits, c)
		}
	}
	if b.Empty() {
		if !sync {
			return waits, b.Close()
		}
		// Nothing new, but some of it was never synced.
		if err := b.LogData(nil, nil); err != nil {
			return nil, s.fail(err)
		}
	}
	c, err := s.apply(b, sync, indexes...)
	if err != nil || c == nil {
		return waits, err
	}
	// The log is synced in order, so c is the last to finish.
	return []*commit{c}, nil
}

// merge stages one state and reports whether it changed anything. Items that the batch has changed before
// are in seen.
func (s *Store) merge(b *batch, seen map[string]*item, m *Merge) (changed bool, err error) {
	if err := m.Key.Check(); err != nil {
		return false, err
	}
	key := string(AppendKey(nil, m.Key))
	it := seen[key]
	if it == nil {
		if it, err = s.loadAny(m.Key); err != nil {
			return false, err
		}
		seen[key] = it
	}
	// What is denied must not be acknowledged either, whatever was attested.
	if limit := max(s.Attested(), s.ClaimOf(m.N, m.Key.Token).PurgeLevel); refuses(limit, m.Fresh, m.State, it.old.state) {
		return false, &BelowFloorError{HLC: m.Fresh, Floor: limit}
	}
	merged := s.join(it, m)
	if n := len(merged.Versions); n > causal.MaxVersions {
		return false, &LimitError{What: "siblings", Value: int64(n), Limit: causal.MaxVersions}
	}
	before := it.new
	it.new.state = merged
	changed, err = s.oweMerge(it, m)
	if err == nil {
		changed = changed || !sameState(merged, it.old.state)
		if !changed {
			return it.dirty, nil
		}
		err = s.space.admit(it.newSize())
	}
	if err == nil {
		err = s.stage(b, it, []NodeID{m.HintFor}, len(merged.Versions) == 0 && !it.new.damaged)
	}
	if err != nil {
		it.new = before
		return false, err
	}
	it.dirty = true
	return true, nil
}

// join merges a state with what is here, under what is claimed of the partition at this moment: purging happens under the
// latch too. What would be purged again at once is not taken.
func (s *Store) join(it *item, m *Merge) causal.State {
	claim := s.ClaimOf(m.N, m.Key.Token)
	if it.old.damaged {
		claim.Floor = 0 // what was lost is not known to have been replaced
	}
	merged := causal.Merge(m.Policy, it.old.state.Claims(claim.held()), m.State)
	if !claim.Rebuilding && !it.old.damaged && len(it.old.targets) == 0 && m.HintFor == (NodeID{}) {
		merged, _ = causal.Purge(merged, claim.PurgeLevel, s.purgeBefore(claim))
	}
	return merged.Bare()
}

func (s *Store) oweMerge(it *item, m *Merge) (bool, error) {
	if m.HintFor == (NodeID{}) || len(it.new.state.Versions) == 0 {
		return false, nil
	}
	clock := s.clock.Load()
	if clock == nil {
		return false, ErrNoClock
	}
	return it.owe(m.HintFor, kindCopy, clock.Latest(), m.Epoch)
}
