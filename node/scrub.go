package node

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/starling-db/starling/node/telemetry"
	"github.com/starling-db/starling/storage"
)

const (
	// scrubSoon is when the first pass of a new node begins at the latest.
	scrubSoon = time.Minute
	// scrubSaved is how often a pass keeps how far it has come: a restart does as much again.
	scrubSaved = 30 * time.Second
	// scrubRetry is how long a pass waits after an error.
	scrubRetry = time.Minute
)

// scrubbing is what this node has verified and mended since its start.
type scrubbing struct {
	bytes, records atomic.Uint64
	aside, mended  atomic.Uint64
	waiting        atomic.Int64 // items that are damaged now
	ageFrom        atomic.Int64 // when the last whole pass ended, or the first began, in ms; 0: there was none
	// try has room for one: damaged items may be fetched that could not be, or were not known, before.
	try chan struct{}
}

// mendSoon says that it is worth while to look at damaged items now. It never waits.
func (s *scrubbing) mendSoon() {
	select {
	case s.try <- struct{}{}:
	default:
	}
}

// scrubLoop verifies all records, pass after pass, and goes on where the last run of this node was.
func (n *Node) scrubLoop(ctx context.Context) {
	p, err := n.store.ScrubProgress()
	if err != nil {
		n.log.Warn("how far scrubbing had come can't be read; it begins anew", "error", err)
	}
	n.scrub.ageFrom.Store(scrubAgeFrom(p))
	if n.cfg.ScrubRate == 0 {
		return
	}
	select {
	case <-n.ready:
	case <-ctx.Done():
		return
	}
	for n.awaitScrub(ctx, p) {
		if p, err = n.scrubPass(ctx, p); err != nil && ctx.Err() == nil {
			n.log.Warn("scrubbing was cut short and goes on soon", "error", err)
			sleep(ctx, scrubRetry)
		}
	}
}

// scrubAgeFrom is the moment from which the age of the last whole pass counts.
func scrubAgeFrom(p storage.ScrubProgress) int64 {
	if p.Ended != 0 {
		return p.Ended
	}
	return p.Begun
}

// awaitScrub waits until a pass is due. It looks at the clock now and then, which may be set.
func (n *Node) awaitScrub(ctx context.Context, p storage.ScrubProgress) bool {
	wait := min(scrubSoon, n.cfg.ScrubInterval)
	switch {
	case p.Begun != 0:
		wait = 0
	case p.Since != 0:
		wait = n.cfg.ScrubInterval - n.opts.Now().Sub(time.UnixMilli(p.Since))
	}
	for due := n.opts.Now().Add(wait); ; {
		left := due.Sub(n.opts.Now())
		if left <= 0 {
			return ctx.Err() == nil
		}
		if !sleep(ctx, min(left, time.Minute)) {
			return false
		}
	}
}

// scrubPass begins a pass, or goes on with the one that was under way, and returns how far it came.
func (n *Node) scrubPass(ctx context.Context, p storage.ScrubProgress) (storage.ScrubProgress, error) {
	if p.Begun == 0 {
		p.Begun, p.At = n.opts.Now().UnixMilli(), storage.ScrubAt{}
		n.scrub.ageFrom.CompareAndSwap(0, p.Begun)
	}
	pace := n.scrubPace(ctx)
	var total storage.Recounted
	saved := n.opts.Now()
	for {
		found, next, more, err := n.store.Scrub(ctx, p.At, pace)
		n.scrub.records.Add(uint64(found.Items))
		total.Items, total.Wrong, total.Corrupt = total.Items+found.Items, total.Wrong+found.Wrong, total.Corrupt+found.Corrupt
		if err == nil && found.Corrupt > 0 && n.setAside(ctx) > 0 {
			n.scrub.mendSoon()
			continue // there may be more than are noted at once
		}
		if err == nil {
			p.At = next
		}
		if err == nil && !more {
			break
		}
		if now := n.opts.Now(); err != nil || now.Sub(saved) >= scrubSaved {
			saved = now
			if serr := n.store.SaveScrub(p); err == nil {
				err = serr
			}
		}
		if err != nil {
			return p, err
		}
	}
	p = storage.ScrubProgress{Since: p.Begun, Ended: n.opts.Now().UnixMilli()}
	n.scrub.ageFrom.Store(p.Ended)
	n.log.Info("all records were verified", "records", total.Items, "corrupt", total.Corrupt, "leaves_mended", total.Wrong,
		"took", time.Duration(p.Ended-p.Since)*time.Millisecond)
	return p, n.store.SaveScrub(p)
}

// scrubPace holds a pass to its rate.
func (n *Node) scrubPace(ctx context.Context) func(int) error {
	burst := max(int(n.cfg.ScrubRate)/4, 1)
	limit := rate.NewLimiter(rate.Limit(n.cfg.ScrubRate), burst)
	return func(bytes int) error {
		n.scrub.bytes.Add(uint64(bytes))
		for bytes > 0 {
			part := min(bytes, burst)
			if err := limit.WaitN(ctx, part); err != nil {
				return err
			}
			bytes -= part
		}
		return nil
	}
}

func (n *Node) scrubFigures() telemetry.Scrubs {
	kept := n.store.DamageFigures()
	out := telemetry.Scrubs{
		Bytes: n.scrub.bytes.Load(), Records: n.scrub.records.Load(), Damaged: n.scrub.aside.Load(), Mended: n.scrub.mended.Load(),
		Waiting: uint64(n.scrub.waiting.Load()), QuarantineBytes: uint64(kept.QuarantineBytes),
		QuarantineDropped: uint64(kept.QuarantineDropped),
	}
	if from := n.scrub.ageFrom.Load(); from != 0 {
		out.Age = max(n.opts.Now().Sub(time.UnixMilli(from)), 0)
	}
	return out
}
