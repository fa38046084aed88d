package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// boundKeeper persists an upper bound of the hybrid clock ahead of its use, so that the clock never runs
// backwards over a crash. The bound stays within the clock offset that peers accept: a restarted node begins at it.
type boundKeeper struct {
	clock   *causal.Clock
	store   *storage.Store
	raising chan struct{} // held by whoever raises, across the fsync
}

const boundTick = 50 * time.Millisecond

// ahead is how far the bound runs ahead of the clock.
func (k *boundKeeper) ahead() time.Duration { return k.clock.MaxOffset() * 4 / 5 }

// raise makes a bound durable that lets the clock go on. Callers that come while one is at it share its result.
func (k *boundKeeper) raise(ctx context.Context) error {
	before := k.clock.Bound()
	select {
	case k.raising <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-k.raising }()
	if k.clock.Bound() > before {
		return nil
	}
	ms := max(k.clock.Physical().UnixMilli(), k.clock.Latest().Millis()) + k.ahead().Milliseconds()
	bound := causal.NewHLC(ms, 0)
	if bound <= before {
		return nil
	}
	if err := k.store.SetHLCBound(bound); err != nil {
		return fmt.Errorf("persist the clock's bound: %w", err)
	}
	k.clock.Raise(bound)
	return nil
}

// run keeps the bound ahead while the clock moves. An idle node writes nothing.
func (k *boundKeeper) run(ctx context.Context) {
	ticker := time.NewTicker(boundTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		latest := k.clock.Latest().Millis()
		active := k.clock.Physical().UnixMilli()-latest < 10*boundTick.Milliseconds()
		if active && k.clock.Bound().Millis()-latest < k.ahead().Milliseconds()/2 {
			if k.raise(ctx) != nil {
				return // the store has failed, or the node stops
			}
		}
	}
}

// clockOffsets remembers how far the clocks of peers are ahead of this node's. A node whose clock is off against
// most of its peers is the one that is wrong: it must not mint, for its dots would be from the future.
type clockOffsets struct {
	mu    sync.Mutex
	peers map[ring.NodeID]time.Duration
}

func (c *clockOffsets) note(id ring.NodeID, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peers == nil {
		c.peers = make(map[ring.NodeID]time.Duration)
	}
	c.peers[id] = ahead
}

// verdict says how far this node is ahead of (or, negative, behind) the peers that disagree with it, if most do.
func (c *clockOffsets) verdict(limit time.Duration) (ahead time.Duration, disagree, known int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.peers {
		if d > limit || d < -limit {
			disagree++
			ahead = -d
		}
	}
	return ahead, disagree, len(c.peers)
}
