package storage

import (
	"context"
	"errors"

	"github.com/starling-db/starling/causal"
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

// Damage flips a bit of an item's record as a disk might, unnoticed by its checksums of blocks and by its leaf. It is for
// tests and drills of what finds that.
func (s *Store) Damage(ctx context.Context, k Key) error {
	_, err := s.damageIf(ctx, k, func([]byte) bool { return true })
	return err
}

// DamageIf is Damage of an item that is in the state with that digest, and in no other: one that others are known to hold as
// well. It reports whether it was.
func (s *Store) DamageIf(ctx context.Context, k Key, is causal.Digest) (bool, error) {
	return s.damageIf(ctx, k, func(value []byte) bool {
		r, err := decodeRecord(AppendKey(nil, k), value)
		return err == nil && !r.damaged && r.state.Digest() == is
	})
}

func (s *Store) damageIf(ctx context.Context, k Key, is func(value []byte) bool) (bool, error) {
	if err := k.Check(); err != nil {
		return false, err
	}
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.gate.leave()
	stripe := stripeOf(k.Token)
	if err := s.lock(ctx, stripe); err != nil {
		return false, err
	}
	c, err := s.applyDamage(AppendKey(nil, k), stripe, is)
	s.stripes.unlock(stripe)
	if err != nil {
		return false, err
	}
	return c != nil, s.await(ctx, c)
}

func (s *Store) applyDamage(key []byte, stripe int, is func(value []byte) bool) (*commit, error) {
	value, err := s.read(key)
	if err != nil || value == nil || !is(value) {
		return nil, err
	}
	value[len(value)-1] ^= 1
	b := s.newBatch()
	b.changes = append(b.changes, change{stripe: stripe, uncached: true, kept: kept{block: key, keySize: len(key)}})
	if err := b.Set(key, value, nil); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return s.apply(b, true, stripe)
}

// Miscount makes a leaf say something else than its items, in memory and in the database, as a fault in keeping count might.
// It is for tests and drills of what finds that.
func (s *Store) Miscount(ctx context.Context, bucket uint64, leaf int, by Leaf) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return s.correct(ctx, treeKey{bucket, uint16(leaf)}, Leaf{}.minus(by))
}
