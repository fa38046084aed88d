package storage

import (
	"context"

	"github.com/starling-db/starling/causal"
)

// Settlement says that a hint's target has, durably, the state with the digest Sent.
type Settlement struct {
	Hint Hint
	Sent causal.Digest
	// Drop the record when it owes nobody any more: this node is no owner of it.
	Drop bool
}

// SettleHint settles one hint: SettleHints.
func (s *Store) SettleHint(ctx context.Context, h Hint, sent causal.Digest, drop bool) (settled bool, err error) {
	done, errs := s.SettleHints(ctx, []Settlement{{Hint: h, Sent: sent, Drop: drop}})
	return done[0], errs[0]
}

// SettleHints takes targets from the records that owed them, but only where the present state still is the
// one that was sent; where it changed since, the result is false and the hint stays, to be sent again. A
// record with no target left is removed if Drop says so, and its actor with it. All in one commit, durable
// on return; the results are in the order given. A hint that is gone already counts as settled. When little is left of a
// full disk's reserve, records that stay are not rewritten: *DiskFullError.
func (s *Store) SettleHints(ctx context.Context, settlements []Settlement) (settled []bool, errs []error) {
	settled, errs = make([]bool, len(settlements)), make([]error, len(settlements))
	if len(settlements) == 0 {
		return settled, errs
	}
	if err := s.enter(); err != nil {
		return settled, fill(errs, err)
	}
	defer s.gate.leave()
	indexes := stripesOf(len(settlements), func(i int) uint64 { return settlements[i].Hint.Key.Token })
	if err := s.lock(ctx, indexes...); err != nil {
		return settled, fill(errs, err)
	}
	c, err := s.applySettlements(settlements, settled, errs, indexes)
	s.stripes.unlock(indexes...)
	if err == nil {
		err = s.await(ctx, c)
	}
	if err != nil {
		clear(settled)
		return settled, fill(errs, err)
	}
	return settled, errs
}

func (s *Store) applySettlements(all []Settlement, settled []bool, errs []error, indexes []int) (*commit, error) {
	b := s.newBatch()
	seen := make(map[string]*item, len(all))
	for i := range all {
		settled[i], errs[i] = s.settleOne(b, seen, &all[i])
	}
	if b.Empty() {
		return nil, b.Close()
	}
	return s.apply(b, true, indexes...)
}

func (s *Store) settleOne(b *batch, seen map[string]*item, st *Settlement) (bool, error) {
	h := &st.Hint
	if err := h.Key.Check(); err != nil {
		return false, err
	}
	key := string(AppendKey(nil, h.Key))
	it := seen[key]
	if it == nil {
		var err error
		if it, err = s.loadAny(h.Key); err != nil {
			return false, err
		}
		seen[key] = it
	}
	if _, owes := it.old.find(h.Target); !owes {
		if it.dirty {
			// This batch may be what settled it, and the database doesn't show that yet.
			return true, nil
		}
		if it.old.damaged {
			return false, &CorruptError{Key: it.dbKey, What: "item", Err: errSetAside} // what it owed is not known
		}
		it.dirty = true
		return true, s.sweepHint(b, h)
	}
	if it.old.state.Digest() != st.Sent {
		return false, nil
	}
	before := it.new
	it.settle(h.Target)
	drop := st.Drop && len(it.new.targets) == 0 && !it.new.damaged
	if !drop { // what is dropped gives room back
		if err := s.space.admitSmall(it.newSize()); err != nil {
			it.new = before
			return false, err
		}
	}
	it.dirty = true
	if err := s.stage(b, it, nil, drop); err != nil {
		return false, err
	}
	return true, nil
}

// sweepHint removes a hint without a record behind it, if there is one: a crash in the middle of DropBucket
// leaves some.
func (s *Store) sweepHint(b *batch, h *Hint) error {
	key := appendHintKey(nil, h.Target, h.Since, h.Key)
	value, err := s.read(key)
	if err != nil || value == nil {
		return err
	}
	stored, err := decodeHint(key, value)
	if err != nil {
		return &CorruptError{Key: key, What: "hint", Err: err}
	}
	if err := s.ledger.post([]entry{{target: h.Target, items: -1, bytes: -stored.Bytes}}); err != nil {
		return err
	}
	return b.Delete(key, nil)
}
