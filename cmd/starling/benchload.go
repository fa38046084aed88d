package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/bench"
)

const (
	// loadWorkers, loadBatch and loadBatchBytes shape the load: batches under way, and items and bytes of each.
	loadWorkers    = 4
	loadBatch      = 100
	loadBatchBytes = 4 << 20
	// loadPatience is for how long a batch is tried again.
	loadPatience = 30 * time.Second
)

// benchLoad is what storing the items took.
type benchLoad struct {
	Items     uint64  `json:"items"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
}

// ensureBucket finds the bucket, or makes it.
func (b *benchRun) ensureBucket(ctx context.Context) error {
	c, name := b.clients[0], b.f.call.bucket
	buckets, err := c.ListBuckets(ctx, b.app.callOptions()...)
	if err != nil {
		return err
	}
	for _, found := range buckets {
		if found.Name != name {
			continue
		}
		if b.f.n != 0 && b.f.n != found.N || b.conflict != client.ConflictDefault && b.conflict != found.Conflict {
			return fmt.Errorf("bench: bucket %s is there with N=%d and %s: %w", name, found.N, found.Conflict, client.ErrBucketExists)
		}
		b.bucket = found
		return nil
	}
	if b.f.skipLoad {
		return fmt.Errorf("bench: bucket %s has no items for --skip-load: %w", name, client.ErrUnknownBucket)
	}
	wanted := client.Bucket{Name: name, N: b.f.n, Conflict: b.conflict}
	if wanted.Conflict == client.ConflictDefault {
		wanted.Conflict = client.ConflictLWW
	}
	if b.bucket, b.made, err = c.CreateBucket(ctx, wanted, b.app.callOptions()...); err != nil {
		return err
	}
	b.app.note("Made bucket %s (N=%d, %s).", name, b.bucket.N, b.bucket.Conflict)
	return nil
}

// load stores all items.
func (b *benchRun) load(ctx context.Context) (*benchLoad, error) {
	total, batch := b.items.Loaded(), uint64(min(loadBatch, max(1, loadBatchBytes/(b.f.valueBytes+1))))
	bar := b.app.newProgress("storing items", int64(total), false)
	defer bar.finish()
	began := time.Now()
	var next, stored atomic.Uint64
	workers, ctx := errgroup.WithContext(ctx)
	for range loadWorkers {
		workers.Go(func() error {
			for {
				from := next.Add(batch) - batch
				if from >= total {
					return nil
				}
				to := min(from+batch, total)
				if err := b.loadBatch(ctx, from, to); err != nil {
					return fmt.Errorf("bench: store the items: %w", err)
				}
				done := stored.Add(to - from)
				bar.set(int64(done), int(done))
			}
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	return &benchLoad{Items: total, Seconds: took, PerSecond: float64(total) / max(took, 1e-9)}, nil
}

// loadBatch stores the items from one up to another, and tries again those that fail.
func (b *benchRun) loadBatch(ctx context.Context, from, to uint64) error {
	batch := make([]client.PutItem, 0, to-from)
	for i := from; i < to; i++ {
		batch = append(batch, client.PutItem{Key: benchKey(b.items.Key(i)), Value: b.values.At(i)})
	}
	deadline := time.Now().Add(loadPatience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := b.see(ctx, batch)
		if err == nil {
			batch, err = b.put(ctx, batch)
		}
		if err == nil || isFinal(err) || ctx.Err() != nil {
			return err
		}
		if time.Now().Add(pause).After(deadline) || !wait(ctx, pause) {
			return err
		}
	}
}

// put stores a batch once, and returns what failed and an error of it.
func (b *benchRun) put(ctx context.Context, batch []client.PutItem) (left []client.PutItem, err error) {
	for k, o := range b.clients[0].BatchPut(ctx, b.bucket.Name, batch, b.opts...) {
		if o.Err != nil {
			left, err = append(left, batch[k]), o.Err
		}
	}
	return left, err
}

// see gives the items of a batch the contexts with which they replace what is there, and new request ids, where writes
// without contexts would add siblings.
func (b *benchRun) see(ctx context.Context, batch []client.PutItem) error {
	if b.bucket.Conflict == client.ConflictLWW || b.made && batch[0].RequestID.IsZero() {
		return b.identify(batch)
	}
	keys := make([]client.Key, len(batch))
	for k := range batch {
		keys[k] = batch[k].Key
	}
	for k, o := range b.clients[0].BatchGet(ctx, b.bucket.Name, keys, b.opts...) {
		if o.Err != nil {
			return o.Err
		}
		batch[k].Context = o.Result.Context
	}
	return b.identify(batch)
}

func (b *benchRun) identify(batch []client.PutItem) (err error) {
	for k := range batch {
		if batch[k].RequestID, err = b.clients[0].NewRequestID(); err != nil {
			return err
		}
	}
	return nil
}

func benchKey(k bench.Key) client.Key { return client.Key{Partition: k.Partition, Sort: k.Sort} }
