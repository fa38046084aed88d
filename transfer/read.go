package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/time/rate"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// stepCost is what a page costs beside its items, in bytes of them.
const stepCost = 4 << 10

// reading is one source on its way to being read whole.
type reading struct {
	p    *Puller
	w    Work
	rec  storage.Pulled
	from ring.NodeID
	// unsaved is what was merged since the record was last written.
	unsaved int64
}

// read reads one source of a work to its end.
func (p *Puller) read(ctx context.Context, r *run, w Work, from ring.NodeID) error {
	list, err := p.o.Store.PulledOf(w.Move)
	if err != nil {
		return err
	}
	x := reading{p: p, w: w, from: from, rec: storage.Pulled{Move: w.Move, Source: storage.NodeID(from), Epoch: r.epoch}}
	begun := false
	for _, rec := range list {
		if rec.Epoch >= w.Changed && rec.Level > p.o.Store.ClaimOf(w.N, w.First).PurgeLevel {
			return errTakenBack
		}
		if rec.Source == storage.NodeID(from) && r.counts(w, rec) {
			x.rec, begun = rec, true
		}
	}
	for cost := int64(0); !x.rec.Done; {
		if err := p.o.Pause(ctx, cost); err != nil {
			return fmt.Errorf("%w: %w", errOwn, err)
		}
		n, err := x.page(ctx, r.epoch, begun)
		if err != nil {
			return err
		}
		begun, cost = true, stepCost+n
		if x.unsaved += n; x.rec.Done || x.unsaved >= p.o.SaveBytes {
			if err := p.o.Store.SetPulled(ctx, x.rec); err != nil {
				return err
			}
			x.unsaved = 0
		}
	}
	return nil
}

// page fetches and merges one page, and moves the cursor behind it.
func (x *reading) page(ctx context.Context, epoch uint64, begun bool) (int64, error) {
	o := x.p.o
	ask := Ask{Epoch: epoch, Move: x.w.Move, After: x.rec.Cursor}
	page, err := x.fetch(ctx, ask)
	if err != nil {
		return 0, err
	}
	size := int64(bytesOf(page.Items))
	if err := x.p.spend(ctx, size); err != nil {
		return 0, err
	}
	merges, err := decode(ask, page, func(bucket uint64) (causal.Policy, bool, error) { return o.Policy(bucket, x.w.N) })
	if err != nil {
		return 0, err
	}
	highest := page.Floor
	for i := range merges {
		highest = max(highest, merges[i].State.MaxHLC())
	}
	if err := o.Observe(highest); err != nil {
		return 0, err
	}
	if err := x.hear(ctx, page, begun); err != nil {
		return 0, err
	}
	absent, err := x.absent(ctx, ask, page)
	if err != nil {
		return 0, err
	}
	for _, err := range o.Store.Merge(ctx, append(merges, absent...)) {
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errOwn, err)
		}
	}
	if n := len(page.Items); n > 0 {
		x.rec.Cursor = page.Items[n-1].Key
	}
	x.rec.Done = !page.More
	x.p.totals.page(x.w, page, size)
	return size, nil
}

func (x *reading) fetch(ctx context.Context, ask Ask) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, x.p.o.PageTimeout)
	defer cancel()
	return x.p.o.Page(ctx, x.from, ask)
}

// hear brings the own claim up to what the source has purged, before anything is merged.
func (x *reading) hear(ctx context.Context, page Page, begun bool) error {
	o := x.p.o
	claim := o.Store.ClaimOf(x.w.N, x.w.First)
	switch {
	case claim.Rebuilding:
		return fmt.Errorf("%w: %w", errOwn, ErrRebuilding)
	case begun && claim.PurgeLevel < x.rec.Level:
		return errTakenBack
	case begun && page.Floor < x.rec.Floor:
		// Its disk was put back, or it is no longer sure: what was read before is not what it holds.
		if err := o.Store.ForgetPulled(ctx, x.w.Move); err != nil {
			return err
		}
		return errTakenBack
	case !begun:
		x.rec.Floor = page.Floor
	}
	if x.w.Standing != Mute && page.PurgeLevel > max(claim.PurgeLevel, claim.Floor) {
		if err := o.Hear(ctx, x.w, page.PurgeLevel); err != nil {
			return fmt.Errorf("%w: %w", errOwn, err)
		}
		if claim = o.Store.ClaimOf(x.w.N, x.w.First); claim.Rebuilding || max(claim.PurgeLevel, claim.Floor) < page.PurgeLevel {
			return fmt.Errorf("%w: %w", errOwn, ErrRebuilding)
		}
	}
	x.rec.Level = claim.PurgeLevel
	return nil
}

// absent lists what this node has and the source has not, where the source may have purged what replaced it: it is merged with
// nothing, under what the source claims.
func (x *reading) absent(ctx context.Context, ask Ask, page Page) ([]storage.Merge, error) {
	o := x.p.o
	if page.PurgeLevel <= o.Store.ClaimOf(x.w.N, x.w.First).Floor {
		return nil, nil
	}
	sent := make(map[string]bool, len(page.Items))
	for _, item := range page.Items {
		sent[string(item.Key)] = true
	}
	var through []byte
	if page.More {
		through = page.Items[len(page.Items)-1].Key
	}
	var out []storage.Merge
	for _, bucket := range o.Buckets(x.w.N) {
		policy, keep, err := o.Policy(bucket, x.w.N)
		if err != nil || !keep {
			continue // it has been dropped since it was listed
		}
		own, err := x.own(ctx, bucket, ask.After, through)
		if err != nil {
			return nil, err
		}
		for _, key := range own {
			if sent[string(key)] {
				continue
			}
			k, err := keyOf(key)
			if err != nil {
				return nil, err
			}
			out = append(out, storage.Merge{
				Key: k, Policy: policy, State: causal.State{Floor: page.Floor, PurgeLevel: page.PurgeLevel}, N: x.w.N, Sync: true, Epoch: ask.Epoch,
			})
		}
	}
	return out, nil
}

// own lists this node's keys of one bucket behind after up to through; nil: from the beginning, to the end.
func (x *reading) own(ctx context.Context, bucket uint64, after, through []byte) (keys [][]byte, err error) {
	start, end, ok := boundsOf(x.w.Move, bucket, after)
	for ok {
		items, exhausted, err := x.p.o.Store.Range(ctx, storage.RangeRequest{
			Bucket: bucket, Start: start, End: end, LimitItems: MaxItems, LimitBytes: 4 * MaxBytes,
		})
		if errors.As(err, new(*storage.CorruptError)) {
			return nil, fmt.Errorf("%w: %w", errOwn, err)
		}
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			key := itemKey(bucket, item.Key)
			if through != nil && bytes.Compare(key, through) > 0 {
				return keys, nil
			}
			keys = append(keys, key)
		}
		if exhausted {
			return keys, nil
		}
		start = append(bytes.Clone(items[len(items)-1].Key), 0)
	}
	return keys, nil
}

// spend waits until so many bytes may be fetched. It comes behind the page, whose size nobody knows before.
func (p *Puller) spend(ctx context.Context, bytes int64) error {
	for bytes > 0 && p.limit.Limit() != rate.Inf {
		n := min(bytes, int64(p.limit.Burst()))
		if err := p.limit.WaitN(ctx, int(n)); err != nil {
			return err
		}
		bytes -= n
	}
	return ctx.Err()
}
