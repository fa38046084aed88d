package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/starling-db/starling/client"
)

const (
	// firstPause and longestPause are between the rounds in which what was not stored is tried again.
	firstPause   = 200 * time.Millisecond
	longestPause = 2 * time.Second
)

// store stores a batch. It fails when nothing of it was stored for want of a cluster.
func (i *importer) store(ctx context.Context, batch []row) error {
	items := make([]client.PutItem, len(batch))
	for n := range batch {
		items[n] = batch[n].item
	}
	outcomes := i.insist(ctx, items)
	replaced := 0
	if i.replaces {
		replaced = i.replace(ctx, items, outcomes)
	}
	var trouble error
	stored := 0
	for n, o := range outcomes {
		switch {
		case o.Err == nil:
			stored++
			i.settle(batch[n].line, batch[n].end)
		case isFinal(o.Err):
			i.refuse(batch[n], o.Err)
		default:
			trouble = o.Err
			i.postpone(batch[n], o.Err, ctx.Err() == nil)
		}
	}
	i.count(stored, replaced)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if trouble != nil && stored == 0 {
		return fmt.Errorf("import stopped: %w", trouble)
	}
	return nil
}

// isFinal reports whether an item can't be stored, however often it is tried.
func isFinal(err error) bool { return errors.Is(err, client.ErrInvalidArgument) }

// insist writes items until each is stored or refused for good, for as long as the flags have patience.
// The client's own tries are over sooner: they are meant for somebody who waits, and would rather be told
// that a quorum is gone. Whoever imports would rather wait for nodes that are busy, or just come back.
func (i *importer) insist(ctx context.Context, items []client.PutItem) []client.PutOutcome {
	outcomes := make([]client.PutOutcome, len(items))
	for n := range items {
		if err := i.identify(&items[n]); err != nil {
			return slices.Repeat([]client.PutOutcome{{Err: err}}, len(items))
		}
	}
	i.rounds(ctx, len(items), func(at []int) {
		round := make([]client.PutItem, len(at))
		for k, n := range at {
			round[k] = items[n]
		}
		for k, o := range i.client.BatchPut(ctx, i.flags.call.bucket, round, i.opts...) {
			outcomes[at[k]] = o
			if errors.Is(o.Err, client.ErrTooOld) {
				_ = i.identify(&items[at[k]]) // the old id only fails again
			}
		}
	}, func(n int) error { return outcomes[n].Err })
	return outcomes
}

// insistOnReading reads items as insist writes them.
func (i *importer) insistOnReading(ctx context.Context, keys []client.Key) []client.GetOutcome {
	outcomes := make([]client.GetOutcome, len(keys))
	i.rounds(ctx, len(keys), func(at []int) {
		round := make([]client.Key, len(at))
		for k, n := range at {
			round[k] = keys[n]
		}
		for k, o := range i.client.BatchGet(ctx, i.flags.call.bucket, round, i.opts...) {
			outcomes[at[k]] = o
		}
	}, func(n int) error { return outcomes[n].Err })
	return outcomes
}

// rounds runs try for the items 0 to n-1, then again and again for those that failed and may succeed yet.
func (i *importer) rounds(ctx context.Context, n int, try func(at []int), failure func(n int) error) {
	at := make([]int, n)
	for k := range at {
		at[k] = k
	}
	deadline := time.Now().Add(i.flags.patience)
	for pause := firstPause; len(at) > 0; pause = min(2*pause, longestPause) {
		try(at)
		at = slices.DeleteFunc(at, func(n int) bool { return failure(n) == nil || isFinal(failure(n)) })
		if len(at) > 0 && (time.Now().Add(pause).After(deadline) || !wait(ctx, pause)) {
			return
		}
	}
}

// identify gives an item a request id, which it keeps over the rounds of insist while servers know it.
func (i *importer) identify(item *client.PutItem) (err error) {
	item.RequestID, err = i.client.NewRequestID()
	return err
}

// wait waits for a while; false when ctx ends meanwhile.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// replace makes the items that have siblings have one version, the imported one: it reads every stored
// item back, and where there is more it writes the line again with the context of that read. What a put
// says of siblings would not do: it is what one replica knew, which may have missed an earlier write. And
// a read first, instead, would let a write in between become a sibling.
func (i *importer) replace(ctx context.Context, items []client.PutItem, outcomes []client.PutOutcome) int {
	var at []int
	var keys []client.Key
	for n, o := range outcomes {
		if o.Err == nil {
			at, keys = append(at, n), append(keys, items[n].Key)
		}
	}
	var again []client.PutItem
	var from []int
	for k, o := range i.insistOnReading(ctx, keys) {
		switch {
		case o.Err != nil:
			outcomes[at[k]] = client.PutOutcome{Err: o.Err}
		case o.Result.Siblings() || outcomes[at[k]].Written.Versions > 1: // those that expired show nowhere else
			again = append(again, client.PutItem{Key: keys[k], Value: items[at[k]].Value, Context: o.Result.Context})
			from = append(from, at[k])
		}
	}
	replaced := 0
	for k, o := range i.insist(ctx, again) {
		outcomes[from[k]] = o
		if o.Err == nil {
			replaced++
		}
	}
	return replaced
}
