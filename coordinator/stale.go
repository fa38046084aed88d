package coordinator

import (
	"context"
	"errors"

	"github.com/starling-db/starling/ring"
)

// StaleError is a replica's answer to a request that was planned at an epoch since which the item's owners have changed: an
// answer to it would count for owners that are none.
type StaleError struct {
	// Node is the replica, and Epoch the one that it has.
	Node  ring.NodeID
	Epoch uint64
	Err   error
}

// Error is the replica's.
func (e *StaleError) Error() string { return e.Err.Error() }

// Unwrap gives the replica's error.
func (e *StaleError) Unwrap() error { return e.Err }

// newestStale is the refusal that names the latest epoch, nil if an error has none.
func newestStale(err error) (newest *StaleError) {
	newest, _ = errors.AsType[*StaleError](err)
	if q, ok := errors.AsType[*QuorumError](err); ok {
		for _, c := range q.Causes {
			if stale, ok := errors.AsType[*StaleError](c.Err); ok && (newest == nil || stale.Epoch > newest.Epoch) {
				newest = stale
			}
		}
	}
	return newest
}

// again reports whether a request that failed is to be planned anew: a replica has found its plan, made at that epoch or a
// later one, out of date, and this node knows a later epoch by now. Each time takes one that is newer, so it comes to an end.
func (c *Coordinator) again(ctx context.Context, planned uint64, err error) bool {
	stale := newestStale(err)
	if stale == nil || ctx.Err() != nil {
		return false
	}
	if c.Cluster.Epoch().Number <= planned {
		if err := c.Cluster.Learn(ctx, stale.Node, stale.Epoch); err != nil {
			return false
		}
	}
	return c.Cluster.Epoch().Number > planned && ctx.Err() == nil
}

// errDownOwner is why an owner was not sent a state.
var errDownOwner = errors.New("it is down")

// RestoreRequest brings a state that is there already to the present owners of its item.
type RestoreRequest struct {
	WriteRequest // HintFor, Fresh and Epoch are left empty
	W            int
}

// Restore sends an item's state to all its owners that are up, those of both layouts while its partition moves, and returns
// once all have answered. It fails unless W of each layout have it on disk. Stand-ins don't count: what is brought back is a
// copy that somebody stood in for an owner with, and may be dropped afterwards.
func (c *Coordinator) Restore(ctx context.Context, req RestoreRequest) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.running.Done()
	for {
		planned := c.Cluster.Epoch().Number
		err := c.restore(ctx, req)
		if err == nil || !c.again(ctx, planned, err) {
			return err
		}
	}
}

// restore is one try, planned at one epoch.
func (c *Coordinator) restore(ctx context.Context, req RestoreRequest) error {
	pl := c.place(req.Item, req.N, nil)
	write := req.WriteRequest
	write.HintFor, write.Fresh, write.Epoch, write.Sync = ring.NodeID{}, 0, pl.epoch.Number, true
	failed := &QuorumError{Op: "restore", Kind: ErrUnknown}
	answers := make(chan writeDone, pl.owners)
	sent := 0
	for place, id := range pl.places[:pl.owners] {
		if pl.health[place] == Down {
			failed.Causes = append(failed.Causes, Cause{id.String(), errDownOwner})
			continue
		}
		sent++
		c.Replicas.Write(ctx, id, write, func(err error) { answers <- writeDone{place, err} })
	}
	acked := make([]bool, pl.owners)
	for ; sent > 0; sent-- {
		select {
		case a := <-answers:
			if acked[a.place] = a.err == nil; a.err != nil {
				failed.Causes = append(failed.Causes, Cause{pl.places[a.place].String(), a.err})
			}
		case <-ctx.Done():
			sent = 1 // nobody answers any more
		case <-c.closing.Done():
			return ErrClosed
		}
	}
	if short := pl.shortOf(acked, req.W); len(short) > 0 {
		failed.Required, failed.Received, failed.Err = short[0][0], short[0][1], ctx.Err()
		return failed
	}
	return nil
}

// shortOf lists for each side on which fewer than w owners, or all of them, have acknowledged how many should and did.
func (pl *placement) shortOf(acked []bool, w int) (short [][2]int) {
	count := func(n int, of func(place int) bool) {
		got := 0
		for place, ok := range acked {
			if ok && of(place) {
				got++
			}
		}
		if need := max(1, min(w, n)); got < need {
			short = append(short, [2]int{need, got})
		}
	}
	if pl.sides == nil {
		count(pl.owners, func(int) bool { return true })
	}
	for _, side := range pl.sides {
		count(side.N, side.Places.Has)
	}
	return short
}
