package storage

import (
	"context"

	"github.com/starling-db/starling/causal"
)

// Get returns an item's state, the zero State if it was never written. If a synced commit is under way on
// the item's stripe it waits until that is durable: what a reader has seen is not gone after a power cut. A
// record that can't be decoded is a *CorruptError. The caller must not change the values.
func (s *Store) Get(ctx context.Context, k Key) (causal.State, error) {
	if err := k.Check(); err != nil {
		return causal.State{}, err
	}
	if err := s.enter(); err != nil {
		return causal.State{}, err
	}
	defer s.gate.leave()
	r, _, err := s.durable(ctx, k)
	return r.state, err
}

// durable reads a record and waits until it is on disk.
func (s *Store) durable(ctx context.Context, k Key) (record, bool, error) {
	if err := ctx.Err(); err != nil {
		return record{}, false, err
	}
	r, found, err := s.record(AppendKey(nil, k))
	if err != nil {
		return record{}, false, err
	}
	// After the read: the commit of whatever was read is set before it becomes visible.
	if err := s.await(ctx, s.stripes[stripeOf(k.Token)].pending.Load()); err != nil {
		return record{}, false, err
	}
	return r, found, nil
}
