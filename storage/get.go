package storage

import (
	"context"

	"github.com/starling-db/starling/causal"
)

// Get returns an item's state, the zero State if it was never written. If a synced commit is under way on
// the item's stripe it waits until that is durable: what a reader has seen is not gone after a power cut. A
// record that can't be decoded is a *CorruptError. The caller must not change the values.
func (s *Store) Get(ctx context.Context, k Key) (causal.State, error) {
	if err := ctx.Err(); err != nil {
		return causal.State{}, err
	}
	state, c, err := s.Read(k)
	if err != nil {
		return causal.State{}, err
	}
	if err := c.Wait(ctx); err != nil {
		return causal.State{}, err
	}
	return state, nil
}

// Read is Get without the wait: the state may be told to nobody before its Commit is done.
func (s *Store) Read(k Key) (causal.State, Commit, error) {
	if err := k.Check(); err != nil {
		return causal.State{}, Commit{}, err
	}
	if err := s.enter(); err != nil {
		return causal.State{}, Commit{}, err
	}
	defer s.gate.leave()
	r, _, c, err := s.readRecord(k)
	return r.state, c, err
}

// Digest is Read for those who want the state's digest alone.
func (s *Store) Digest(k Key) (causal.Digest, Commit, error) {
	if err := k.Check(); err != nil {
		return causal.Digest{}, Commit{}, err
	}
	if err := s.enter(); err != nil {
		return causal.Digest{}, Commit{}, err
	}
	defer s.gate.leave()
	digest, err := s.cache.loadDigest(stripeOf(k.Token), AppendKey(nil, k), s.read)
	return digest, s.pendingOn(k), s.noticed(err)
}

// pendingOn is the commit that what was just read may be part of: it is set before it becomes visible.
func (s *Store) pendingOn(k Key) Commit {
	return Commit{s: s, c: s.stripes[stripeOf(k.Token)].pending.Load()}
}

// readRecord returns a record and the commit that it may be part of.
func (s *Store) readRecord(k Key) (record, bool, Commit, error) {
	r, _, found, err := s.loadRecord(stripeOf(k.Token), AppendKey(nil, k))
	if err != nil {
		return record{}, false, Commit{}, err
	}
	return r, found, s.pendingOn(k), nil
}

// durable reads a record and waits until it is on disk.
func (s *Store) durable(ctx context.Context, k Key) (record, bool, error) {
	if err := ctx.Err(); err != nil {
		return record{}, false, err
	}
	r, found, c, err := s.readRecord(k)
	if err == nil {
		err = c.Wait(ctx)
	}
	if err != nil {
		return record{}, false, err
	}
	return r, found, nil
}
