package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// boundKeeper persists an upper bound of the hybrid clock ahead of its use, so that the clock never runs
// backwards over a crash. The bound stays within the clock offset that peers accept: a restarted node begins at it.
//
// Nothing is minted above the bound, so this is also where a wall clock that jumps is caught before it does harm: one dot
// from the future would set this node's hybrid clock ahead for as long as the jump was wide.
type boundKeeper struct {
	clock   *causal.Clock
	store   *storage.Store
	raising chan struct{} // held by whoever raises, across the fsync
	// elapsed is a clock that can't be set. confirm asks other nodes whether the wall clock is right.
	elapsed func() time.Duration
	confirm func(context.Context) bool

	// What both clocks showed when the wall clock was last trusted; wallMs is 0 before that. Guarded by raising.
	wallMs int64
	at     time.Duration
}

// errClockJumped says that the wall clock moved otherwise than time passed, and that no other node bears it out.
var errClockJumped = errors.New("this node's clock has jumped, and most other nodes do not agree with it")

// trust checks the wall clock against time that has passed and, where they differ, against other nodes.
func (k *boundKeeper) trust(ctx context.Context) error {
	now, at := k.clock.Physical().UnixMilli(), k.elapsed()
	jump := time.Duration(now-k.wallMs)*time.Millisecond - (at - k.at)
	if k.wallMs != 0 && jump.Abs() > k.clock.MaxOffset() && !k.confirm(ctx) {
		return fmt.Errorf("%w (by %v)", errClockJumped, jump.Round(time.Millisecond))
	}
	k.wallMs, k.at = now, at
	return nil
}

const boundTick = 50 * time.Millisecond

// ahead is how far the bound runs ahead of the clock.
func (k *boundKeeper) ahead() time.Duration { return k.clock.MaxOffset() * 4 / 5 }

// raise makes a bound durable that lets the clock go on, at least to wanted. Callers that come while one is at it share
// its result.
func (k *boundKeeper) raise(ctx context.Context, wanted causal.HLC) error {
	before := k.clock.Bound()
	select {
	case k.raising <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-k.raising }()
	if now := k.clock.Bound(); now > before && now >= wanted {
		return nil
	}
	if err := k.trust(ctx); err != nil {
		return err
	}
	ms := max(k.clock.Physical().UnixMilli(), k.clock.Latest().Millis()) + k.ahead().Milliseconds()
	ms = max(ms, wanted.Millis()+1)
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
			// It is tried again: a write that needs it tells its client why it can't be had.
			_ = k.raise(ctx, 0)
		}
	}
}

// clockOffsets remembers how far the clocks of members are ahead of this node's. A node whose clock is off against
// most of the others is the one that is wrong: it must not mint, for its dots would be from the future.
type clockOffsets struct {
	mu      sync.Mutex
	members map[ring.NodeID]time.Duration
}

func (c *clockOffsets) note(id ring.NodeID, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members == nil {
		c.members = make(map[ring.NodeID]time.Duration)
	}
	c.members[id] = ahead
}

// verdict says how far this node is ahead of (or, negative, behind) the members that counts lets vote and that
// disagree with it; off is true when those are more than half of all votes, this node's own included.
func (c *clockOffsets) verdict(limit time.Duration, counts func(ring.NodeID) bool) (ahead time.Duration, disagree, votes int, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, d := range c.members {
		if !counts(id) {
			continue
		}
		votes++
		if d > limit || d < -limit {
			disagree++
			ahead = -d
		}
	}
	return ahead, disagree, votes, 2*disagree > votes+1
}

// noteOffset takes the clock of a member; what strangers say is of no matter.
func (n *Node) noteOffset(id ring.NodeID, ahead time.Duration) {
	if n.state.Snapshot().IsMember(id) {
		n.offsets.note(id, ahead)
	}
}

// forget drops what is known, so that only what is heard from now on counts.
func (c *clockOffsets) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.members)
}

// confirmClock asks all members that are alive for their clocks, now, and reports whether most of those that answer
// agree with this node's. With nobody to ask it does.
func (n *Node) confirmClock(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	n.offsets.forget()
	var asking sync.WaitGroup // bounded by the members
	for _, m := range n.state.Snapshot().Members() {
		if m.ID != n.id && n.detector.State(m.ID) == membership.Alive {
			asking.Go(func() { n.ping(ctx, m.ID) })
		}
	}
	asking.Wait()
	return n.clockReason() == ""
}

// clockReason says why this node's clock can't be trusted; empty when it can.
func (n *Node) clockReason() string {
	alive := func(id ring.NodeID) bool { return n.detector.State(id) == membership.Alive }
	ahead, disagree, votes, off := n.offsets.verdict(n.cfg.MaxClockOffset, alive)
	if !off {
		if ahead := n.clock.Ahead(); ahead > 2*n.cfg.MaxClockOffset {
			return fmt.Sprintf("its clock is %v behind what it said before: it waits until the time is reached", ahead.Round(time.Millisecond))
		}
		return ""
	}
	return fmt.Sprintf("its clock is off by %v against %d of %d nodes (at most %v is allowed): set it right",
		ahead.Round(time.Millisecond), disagree, votes, n.cfg.MaxClockOffset)
}
