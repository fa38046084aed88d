package storage

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// commitQueue is as long as the queue of syncs inside Pebble: a full one holds up writers, under their
// latches, no earlier than Pebble would.
const commitQueue = 4096

// commit is a batch that is applied and on its way to the disk.
type commit struct {
	batch *batch
	done  chan struct{}
	err   error // set before done is closed

	mu    sync.Mutex
	ended bool
	then  []func(error) // until ended
}

// finish tells everybody who waits.
func (c *commit) finish(err error) {
	c.err = err
	close(c.done)
	c.mu.Lock()
	then := c.then
	c.then, c.ended = nil, true
	c.mu.Unlock()
	for _, f := range then {
		f(err)
	}
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

// Then calls f, once, with what Wait would return, as soon as that is known: from this goroutine if it is known already,
// else from the one that finishes all commits, which f must not hold up. When the store fails, f may not be called before
// Close.
func (w Commit) Then(f func(error)) {
	if w.c == nil {
		f(nil)
		return
	}
	w.c.mu.Lock()
	if !w.c.ended {
		w.c.then = append(w.c.then, f)
		w.c.mu.Unlock()
		return
	}
	w.c.mu.Unlock()
	f(w.c.err)
}

// all is the wait for several commits.
func (s *Store) all(commits []*commit) Commit {
	switch len(commits) {
	case 0:
		return Commit{}
	case 1:
		return Commit{s: s, c: commits[0]}
	}
	joint := &commit{done: make(chan struct{})}
	var left atomic.Int64
	left.Store(int64(len(commits)))
	var failed atomic.Pointer[error]
	for _, c := range commits {
		Commit{s: s, c: c}.Then(func(err error) {
			if err != nil {
				failed.Store(&err)
			}
			if left.Add(-1) > 0 {
				return
			}
			if first := failed.Load(); first != nil {
				err = *first
			}
			joint.finish(err)
		})
	}
	return Commit{s: s, c: joint}
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
func (s *Store) apply(b *batch, sync bool, indexes ...int) (*commit, error) {
	if !sync {
		err := s.visibly(b, func() error { return s.db.Apply(b.Batch, pebble.NoSync) })
		if err != nil {
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
	err := s.visibly(b, func() error { return s.db.ApplyNoSyncWait(b.Batch, pebble.Sync) })
	if err != nil {
		c.finish(s.fail(err))
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
	b := s.newBatch()
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
		failed := s.Err()
		if err == nil {
			_ = c.batch.Close()
		}
		c.batch = nil
		c.finish(failed)
	}
}
