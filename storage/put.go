package storage

import (
	"context"
	"errors"
	"time"

	"github.com/starling-db/starling/causal"
)

// Put is one write at the node that coordinates it.
type Put struct {
	Key    Key
	Policy causal.Policy
	// Write's value is kept in the result and must not change afterwards.
	Write causal.Write
	// Sync: the Commit ends when the write is on disk. Otherwise it is lost when the process dies.
	Sync bool
	// HintFor are the owners that this copy stands in for, when the coordinator is a fallback: the budget
	// counts them.
	HintFor []NodeID
	// Owes are owners that are known to miss the write and that nobody stands in for: as by Owe, in the same
	// batch.
	Owes []NodeID
	// N is how many replicas the item's bucket has: the result tells what is claimed of the partition.
	N int
	// Above: a write with a known request id is minted again if its version is not above this, for it was refused
	// elsewhere for coming too late.
	Above causal.HLC
	// Epoch is the one that the request was planned at; hints note it.
	Epoch uint64
}

// PutResult is what a Put made of the item.
type PutResult struct {
	// State is the item's, whole: what the other replicas get.
	State causal.State
	// Version is the one minted; of a repeated request the one minted before, zero if it was replaced since.
	Version causal.Version
	// Repeated: the request id was known, nothing was minted.
	Repeated bool
}

// Put mints a version and merges it into the item. It returns before the write is on disk, so that the
// coordinator can send it to others meanwhile: the write may be acknowledged, or counted, only when
// Commit.Wait returns nil.
//
// A request id that the item has seen mints nothing. Otherwise Put fails, with nothing done, with
// *TooOldError or *causal.OffsetError when the time in the request id is out of bounds, *causal.BoundError
// when the clock has used up its durable bound, *LimitError when the item would grow too large,
// *HintBudgetError and *DiskFullError.
func (s *Store) Put(ctx context.Context, p Put) (PutResult, Commit, error) {
	if err := p.Key.Check(); err != nil {
		return PutResult{}, Commit{}, err
	}
	if err := s.enter(); err != nil {
		return PutResult{}, Commit{}, err
	}
	defer s.gate.leave()
	clock := s.clock.Load()
	if clock == nil {
		return PutResult{}, Commit{}, ErrNoClock
	}
	stripe := stripeOf(p.Key.Token)
	if err := s.lock(ctx, stripe); err != nil {
		return PutResult{}, Commit{}, err
	}
	defer s.stripes.unlock(stripe)
	it, err := s.load(p.Key)
	if err != nil {
		return PutResult{}, Commit{}, err
	}
	result, err := s.mint(clock, it, p)
	if err != nil {
		return PutResult{}, Commit{}, err
	}
	c, err := s.applyPut(it, p, !result.Repeated, clock.Latest())
	if err != nil {
		return PutResult{}, Commit{}, err
	}
	result.State = result.State.Claims(s.ClaimOf(p.N, p.Key.Token).told())
	return result, Commit{s: s, c: c}, nil
}

// mint makes the version and the item's new state, or finds that it was made before.
func (s *Store) mint(clock *causal.Clock, it *item, p Put) (PutResult, error) {
	state := it.old.state
	if v, known := state.Known(p.Write.RequestID); known && (v == nil || v.Dot.HLC > p.Above) {
		result := PutResult{State: state, Repeated: true}
		if v != nil {
			result.Version = *v
		}
		return result, nil
	}
	h, err := stamp(clock, max(state.MaxHLC(), p.Write.Context.MaxHLC(), s.Attested(), p.Above), p.Write.RequestID)
	if err != nil {
		return PutResult{}, err
	}
	if it.new.boot != s.boot {
		// Another run drew the actor, or none: that run may have minted what this one doesn't know of.
		actor, err := s.draw()
		if err != nil {
			return PutResult{}, err
		}
		it.new.boot, it.new.actor = s.boot, causal.Actor(actor)
	}
	next, v := causal.Mint(p.Policy, state, it.new.actor, h, p.Write)
	if err := s.checkLimits(state, next); err != nil {
		return PutResult{}, err
	}
	it.new.state = next
	return PutResult{State: next, Version: v}, nil
}

// stamp returns an HLC above after and within the window of the request id: from its time on, for
// causal.RetryWindow. Later the replaced request ids may have been forgotten, and a retry would be minted a
// second time.
func stamp(clock *causal.Clock, after causal.HLC, id causal.RequestID) (causal.HLC, error) {
	if id.IsZero() {
		return clock.NowAfter(after)
	}
	first := causal.NewHLC(id.Millis(), 0)
	h, err := clock.NowAfter(max(after, first-min(first, 1)))
	if err != nil {
		return 0, err
	}
	age := time.Duration(h.Millis()-id.Millis()) * time.Millisecond
	if age > causal.RetryWindow {
		return 0, &TooOldError{Age: age, Window: causal.RetryWindow}
	}
	return h, nil
}

// checkLimits lets through what makes an item smaller, even if it still is too large: that is the way out.
func (s *Store) checkLimits(before, after causal.State) error {
	if n := len(after.Versions); n > s.o.MaxSiblings && n > len(before.Versions) {
		return &LimitError{What: "siblings", Value: int64(n), Limit: int64(s.o.MaxSiblings)}
	}
	if n := int64(after.Size()); n > s.o.MaxStateBytes && n > int64(before.Size()) {
		return &LimitError{What: "bytes", Value: n, Limit: s.o.MaxStateBytes}
	}
	return nil
}

// applyPut adds the targets and applies what there is to apply.
func (s *Store) applyPut(it *item, p Put, changed bool, since causal.HLC) (*commit, error) {
	owe := func(nodes []NodeID, kind hintKind) error {
		for _, node := range nodes {
			added, err := it.owe(node, kind, since, p.Epoch)
			if err != nil {
				return err
			}
			changed = changed || added
		}
		return nil
	}
	if err := errors.Join(owe(p.HintFor, kindCopy), owe(p.Owes, kindDebt)); err != nil {
		return nil, err
	}
	stripe := stripeOf(p.Key.Token)
	if !changed {
		if !p.Sync {
			return nil, nil
		}
		return s.settled(stripe)
	}
	if err := s.space.admit(it.newSize()); err != nil {
		return nil, err
	}
	b := s.newBatch()
	if err := s.stage(b, it, p.HintFor, false); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return s.apply(b, p.Sync, stripe)
}
