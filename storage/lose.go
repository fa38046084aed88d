package storage

import (
	"context"
	"errors"
)

// Lose removes an item as a fault might: without a tombstone, and without a word to anybody. With unnoticed its leaf goes on
// counting it, too. It is for tests and drills of what brings replicas together again.
func (s *Store) Lose(ctx context.Context, k Key, unnoticed bool) error {
	if err := k.Check(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	stripe := stripeOf(k.Token)
	if err := s.lock(ctx, stripe); err != nil {
		return err
	}
	c, err := s.applyLoss(k, stripe, unnoticed)
	s.stripes.unlock(stripe)
	if err != nil {
		return err
	}
	return s.await(ctx, c)
}

func (s *Store) applyLoss(k Key, stripe int, unnoticed bool) (*commit, error) {
	it, err := s.load(k)
	if err != nil || !it.found {
		return nil, err
	}
	b := s.newBatch()
	if err := s.stage(b, it, nil, true); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if unnoticed {
		b.leaves = nil
	}
	return s.apply(b, true, stripe)
}
