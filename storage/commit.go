package storage

import (
	"context"

	"github.com/cockroachdb/pebble/v2"
)

// commitQueue is as long as the queue of syncs inside Pebble: a full one holds up writers, under their
// latches, no earlier than Pebble would.
const commitQueue = 4096

// commit is a batch that is applied and on its way to the disk.
type commit struct {
	batch *pebble.Batch
	done  chan struct{}
	err   error // set before done is closed
}

// Commit is the wait for a write to become durable. The zero Commit is durable already, or was never meant
// to be.
type Commit struct {
	s *Store
	c *commit
}

// Wait blocks until the write is durable. It fails with *FailedError if it may not be, and with the
// context's error if that ends first: the write goes on, and Wait may be called again.
func (w Commit) Wait(ctx context.Context) error {
	if w.c == nil {
		return nil
	}
	return w.s.await(ctx, w.c)
}

// await waits for c, which may be nil.
func (s *Store) await(ctx context.Context, c *commit) error {
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		return c.err
	default:
	}
	select {
	case <-c.done:
		return c.err
	case <-s.failed:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// apply commits b, which it takes over, while the caller holds the latches of all stripes that b touches.
// With sync it returns before the fsync; nil, nil means that there is nothing to wait for.
func (s *Store) apply(b *pebble.Batch, sync bool, indexes ...int) (*commit, error) {
	if !sync {
		if err := s.db.Apply(b, pebble.NoSync); err != nil {
			return nil, s.fail(err)
		}
		for _, i := range indexes {
			s.stripes[i].unsynced = true
		}
		_ = b.Close()
		return nil, s.Err()
	}
	c := &commit{batch: b, done: make(chan struct{})}
	for _, i := range indexes {
		s.stripes[i].pending.Store(c)
	}
	if err := s.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		c.err = s.fail(err)
		close(c.done)
		return nil, c.err
	}
	for _, i := range indexes {
		s.stripes[i].unsynced = false
	}
	s.commits <- c
	return c, nil
}

// settled returns the commit to wait for when a write with sync finds that what it wants is there already:
// the one under way, or, if the stripe has seen writes without sync, a new one that carries nothing.
func (s *Store) settled(index int) (*commit, error) {
	if !s.stripes[index].unsynced {
		return s.stripes[index].pending.Load(), nil
	}
	b := s.db.NewBatch()
	if err := b.LogData(nil, nil); err != nil {
		return nil, s.fail(err)
	}
	return s.apply(b, true, index)
}

// syncLoop finishes commits in the order in which they were applied to their stripes. One goroutine does for
// all: the log is synced in order, so by the time that the first of a group is durable the others are, or
// nearly.
func (s *Store) syncLoop() {
	defer close(s.synced)
	for c := range s.commits {
		err := c.batch.SyncWait()
		if err != nil {
			s.fail(err)
		}
		// A failed fsync is seen by the file system first (freeze.go), and Pebble is told that it went well:
		// what counts is the store's own verdict, which is there before SyncWait returns.
		if c.err = s.Err(); err == nil {
			_ = c.batch.Close()
		}
		c.batch = nil
		close(c.done)
	}
}
