package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/starling-db/starling/causal"
)

// HintStats sums up the hints kept for one target.
type HintStats struct {
	Target NodeID
	Items  int64
	// Bytes charged to the budget.
	Bytes int64
	// Oldest is when the oldest of them was found owing.
	Oldest causal.HLC
}

// HintStats lists the targets that have hints here, by id. A closed or failed store has none to show.
func (s *Store) HintStats() []HintStats {
	if s.enter() != nil {
		return nil
	}
	defer s.gate.leave()
	stats := s.ledger.snapshot()
	for i := range stats {
		// Asking the database beats keeping every target's hints in order in memory.
		_ = s.eachHint(stats[i].Target, nil, func(key, _ []byte) (bool, error) {
			h, err := decodeHintKey(key)
			stats[i].Oldest = h.Since
			return err != nil, nil
		})
	}
	return stats
}

// Hints lists up to limit hints of a target, oldest first: those behind after, or from the first if after is
// nil. The limit is at least 1.
//
// Hints that can't be decoded are left out of the list and joined into the error, each a *CorruptError; the
// list is good all the same. At the next Open they are made anew from the records that they belong to.
func (s *Store) Hints(target NodeID, after *Hint, limit int) ([]Hint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	var hints []Hint
	var corrupt corruptList
	err := s.eachHint(target, after, func(key, value []byte) (bool, error) {
		key = slices.Clone(key)
		h, err := decodeHint(key, value)
		if err != nil {
			corrupt.add(&CorruptError{Key: key, What: "hint", Err: err})
			return true, nil
		}
		hints = append(hints, h)
		return len(hints) < max(limit, 1), nil
	})
	if err != nil {
		return nil, err
	}
	return hints, corrupt.err()
}

// corruptList joins errors, the first few of them: there may be as many as hints.
type corruptList struct {
	errs []error
	more int
}

func (l *corruptList) add(err error) {
	if len(l.errs) == 16 {
		l.more++
		return
	}
	l.errs = append(l.errs, err)
}

func (l *corruptList) err() error {
	if l.more == 0 {
		return errors.Join(l.errs...)
	}
	return errors.Join(append(l.errs, fmt.Errorf("storage: and %d more", l.more))...)
}

// eachHint calls visit for the hints of a target, in order, until it returns false. The key and value are
// overwritten when it returns.
func (s *Store) eachHint(target NodeID, after *Hint, visit func(key, value []byte) (bool, error)) error {
	lower, upper := hintBounds(target)
	if after != nil {
		lower = append(appendHintKey(nil, after.Target, after.Since, after.Key), 0)
		if bytes.Compare(lower, upper) >= 0 {
			return nil
		}
	}
	return s.each(lower, upper, visit)
}

// each visits the keys in [lower, upper).
func (s *Store) each(lower, upper []byte, visit func(key, value []byte) (bool, error)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return s.readError(lower, err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(s.readError(it.Key(), err), it.Close())
		}
		more, err := visit(it.Key(), value)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			return it.Close()
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return s.readError(lower, err)
	}
	return nil
}

// HintState returns the present state of a hint's item, durable as with Get, and false if the hint is
// settled: the item is gone, or owes its target nothing.
func (s *Store) HintState(ctx context.Context, h Hint) (causal.State, bool, error) {
	if err := s.enter(); err != nil {
		return causal.State{}, false, err
	}
	defer s.gate.leave()
	r, found, err := s.durable(ctx, h.Key)
	if errors.Is(err, errSetAside) { // what was merged since is owed all the same
		r, err = s.damagedOwing(ctx, h, err)
		found = true
	}
	if err != nil || !found {
		return causal.State{}, false, err
	}
	if _, owes := r.find(h.Target); !owes {
		return causal.State{}, false, nil
	}
	return r.state, true, nil
}

// Owe notes durably that a target lacks the item's present state: a hint on a record that is here anyway, as
// its owner's. It costs little and is never refused by the budget, and by a full disk only with *DiskFullError when
// little is left of its reserve. If the item doesn't exist nothing is owed.
func (s *Store) Owe(ctx context.Context, k Key, target NodeID, epoch uint64) error {
	if err := k.Check(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	clock := s.clock.Load()
	if clock == nil {
		return ErrNoClock
	}
	stripe := stripeOf(k.Token)
	if err := s.lock(ctx, stripe); err != nil {
		return err
	}
	c, err := s.applyDebt(k, target, clock.Latest(), epoch)
	s.stripes.unlock(stripe)
	if err != nil {
		return err
	}
	return s.await(ctx, c)
}

func (s *Store) applyDebt(k Key, target NodeID, since causal.HLC, epoch uint64) (*commit, error) {
	it, err := s.load(k)
	if err != nil || !it.found {
		return nil, err
	}
	stripe := stripeOf(k.Token)
	if changed, err := it.owe(target, kindDebt, since, epoch); err != nil {
		return nil, err
	} else if !changed {
		return s.settled(stripe)
	}
	if err := s.space.admitSmall(it.newSize()); err != nil {
		return nil, err
	}
	b := s.newBatch()
	if err := s.stage(b, it, nil, false); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return s.apply(b, true, stripe)
}
