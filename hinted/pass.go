package hinted

import (
	"context"
	"errors"
	"fmt"

	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// stuckAfter is after how many failed passes the next one starts behind the batch that they failed at: an item that the
// target refuses for good must not keep the others from it.
const stuckAfter = 3

// errDown ends a pass whose target is no longer up.
var errDown = errors.New("the target is down")

// outcome is what one pass over a target's hints did.
type outcome struct {
	settled, changed, failed int
	corrupt                  int64
	whole                    bool  // it began at the oldest hint and came to the end
	err                      error // nil: it came to the end and nothing failed
}

// progress is what one pass leaves for the next over the same target's hints.
type progress struct {
	from  *storage.Hint // start behind this one; nil: at the oldest
	head  storage.Hint  // first hint of the batch that failed whole, stuck times in a row
	stuck int
}

// pass is one walk over a target's hints, oldest first, each sent once. What changes meanwhile is left for the next.
type pass struct {
	*Replayer
	target ring.NodeID
	rings  uint64 // how often the ring had changed when it began
	sweep  bool   // the target is not up: only hints that have moved are sent
	progress
	outcome
}

// run ends early when the target goes down, a whole batch fails, the store does, or ctx is done.
func (p *pass) run(ctx context.Context) {
	after := p.from
	p.from = nil
	for begun := after == nil; ; {
		hints, err := p.o.Store.Hints(storage.NodeID(p.target), after, p.o.BatchItems)
		if p.err = p.tolerate(err); p.err != nil {
			return
		}
		if len(hints) == 0 {
			if !begun && p.settled+p.changed+p.failed == 0 {
				after, begun = nil, true // nothing behind the batch that failed: back to it
				continue
			}
			p.whole = begun
			if p.failed > 0 {
				p.err = fmt.Errorf("%d hints were not taken", p.failed)
			}
			return
		}
		var batch []Handoff
		if batch, after, p.err = p.load(ctx, hints); p.err != nil {
			return
		}
		if p.err = p.hand(ctx, batch, after); p.err != nil {
			return
		}
	}
}

// hand throttles, sends and settles one batch.
func (p *pass) hand(ctx context.Context, batch []Handoff, last *storage.Hint) error {
	if len(batch) == 0 {
		return nil
	}
	if err := p.admit(ctx, batch); err != nil {
		return err
	}
	taken, err := p.send(ctx, batch)
	if len(taken) == 0 {
		p.failedAt(batch[0].Hint, last)
		return err
	}
	p.stuck = 0
	return p.settle(ctx, taken)
}

// tolerate counts hints that can't be read and returns any other error.
func (p *pass) tolerate(err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if err := p.tolerate(e); err != nil {
				return err
			}
		}
		return nil
	}
	if corrupt := (*storage.CorruptError)(nil); !errors.As(err, &corrupt) {
		return fmt.Errorf("read hints: %w", err)
	}
	p.corrupt++
	p.o.Logger.Debug("a hint can't be read", "target", p.target, "error", err)
	return nil
}

// load reads the present states of the first of the hints, at least one, up to a batch's bytes. last is the last that it has
// dealt with. Hints that can't be read are skipped, and those that wait for their target; those with nothing behind them any more
// are removed.
func (p *pass) load(ctx context.Context, hints []storage.Hint) (batch []Handoff, last *storage.Hint, err error) {
	var bytes int64
	var gone []storage.Settlement
	for i := range hints {
		if p.sweep && !p.o.Moved(hints[i]) {
			last = &hints[i]
			continue
		}
		state, owed, err := p.o.Store.HintState(ctx, hints[i])
		switch size := int64(state.Size()); {
		case err != nil:
			if err := p.tolerate(err); err != nil {
				return nil, nil, err
			}
		case !owed:
			gone = append(gone, storage.Settlement{Hint: hints[i]})
		case len(batch) > 0 && bytes+size > p.o.BatchBytes:
			return batch, last, p.discard(ctx, gone)
		default:
			bytes += size
			batch = append(batch, Handoff{Hint: hints[i], State: state})
		}
		last = &hints[i]
	}
	return batch, last, p.discard(ctx, gone)
}

// discard settles hints that were settled, or whose bucket was dropped, since they were listed.
func (p *pass) discard(ctx context.Context, gone []storage.Settlement) error {
	_, errs := p.o.Store.SettleHints(ctx, gone)
	return p.tolerate(errors.Join(errs...))
}

// admit waits until a batch may be sent. It fails when the target is down by then.
func (p *pass) admit(ctx context.Context, batch []Handoff) error {
	left := 0
	for _, h := range batch {
		left += h.State.Size()
	}
	for p.sweep || p.o.Up(p.target) {
		if left <= 0 {
			return ctx.Err()
		}
		n := min(left, p.limit.Burst())
		if err := p.limit.WaitN(ctx, n); err != nil {
			return err
		}
		left -= n
	}
	return errDown
}

// send sends a batch and returns what was acknowledged. When that is nothing the error says why.
func (p *pass) send(ctx context.Context, batch []Handoff) (taken []Handoff, err error) {
	errs := p.o.Send(ctx, p.target, batch)
	if len(errs) != len(batch) {
		return nil, fmt.Errorf("send returned %d results for %d hints", len(errs), len(batch))
	}
	for i, h := range batch {
		if errs[i] == nil {
			taken = append(taken, h)
			continue
		}
		p.failed++
		p.count.failed.Add(1)
		if err == nil {
			err = fmt.Errorf("the target took none of %d hints: %w", len(batch), errs[i])
		}
	}
	return taken, err
}

// settle removes hints that were acknowledged, if their items are still what was sent.
func (p *pass) settle(ctx context.Context, taken []Handoff) error {
	settlements := make([]storage.Settlement, len(taken))
	for i, h := range taken {
		settlements[i] = storage.Settlement{Hint: h.Hint, Sent: h.State.Digest(), Drop: !p.o.Owns(h.Hint.Key)}
	}
	settled, errs := p.o.Store.SettleHints(ctx, settlements)
	for i, h := range taken {
		switch {
		case errs[i] != nil:
		case settled[i]:
			p.settled++
			p.count.settled.Add(1)
			p.count.bytes.Add(uint64(h.State.Size()))
		default:
			p.changed++
			p.count.changed.Add(1)
		}
	}
	return p.tolerate(errors.Join(errs...))
}

// failedAt remembers where a whole batch failed.
func (p *progress) failedAt(head storage.Hint, last *storage.Hint) {
	if !sameHint(p.head, head) {
		p.head, p.stuck = head, 0
	}
	if p.stuck++; p.stuck >= stuckAfter {
		p.from, p.stuck = last, 0
	}
}

func sameHint(a, b storage.Hint) bool {
	return a.Since == b.Since && a.Key.Bucket == b.Key.Bucket &&
		string(a.Key.Partition) == string(b.Key.Partition) && string(a.Key.Sort) == string(b.Key.Sort)
}
