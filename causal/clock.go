package causal

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrBound says that the clock has reached its durable bound. The error is a *BoundError.
var ErrBound = errors.New("causal: clock has reached its durable bound")

// BoundError carries what a clock wanted to return and the bound that kept it from doing so. The owner
// makes a higher bound durable, calls Raise and tries again.
type BoundError struct {
	Wanted, Bound HLC
}

// Error says how far the clock wanted to go.
func (e *BoundError) Error() string {
	return fmt.Sprintf("%v: wants %v, bound is %v", ErrBound, e.Wanted, e.Bound)
}

// Is matches ErrBound.
func (e *BoundError) Is(target error) bool { return target == ErrBound }

// ErrClockOffset says that a reading is too far in the future. The error is an *OffsetError.
var ErrClockOffset = errors.New("causal: clock offset too large")

// OffsetError carries a reading that was refused, and how far ahead of this node's clock it was.
type OffsetError struct {
	HLC         HLC
	Offset, Max time.Duration
}

// Error says how far ahead the reading was and how far it may be.
func (e *OffsetError) Error() string {
	return fmt.Sprintf("%v: %v is %v ahead of this node's clock, %v allowed", ErrClockOffset, e.HLC, e.Offset, e.Max)
}

// Is matches ErrClockOffset.
func (e *OffsetError) Is(target error) bool { return target == ErrClockOffset }

// Clock is a hybrid logical clock: it follows the physical one, never repeats a reading, never runs
// backwards, and rises above all readings it has observed. It is safe for concurrent use.
//
// To keep its promise over a crash it hands out nothing above a bound that its owner has made durable
// before. A restarted clock begins at the bound of the last run, above all that run handed out.
type Clock struct {
	now       func() time.Time
	maxOffset time.Duration

	mu    sync.Mutex // held for a few instructions, never across a call or a wait
	last  HLC
	bound HLC
}

// NewClock returns a clock on the physical time of now (safe for concurrent use) that refuses readings
// more than maxOffset ahead of it. bound is the durable bound of the last run, zero for a new node: Now
// fails until Raise has been called with a higher one.
func NewClock(now func() time.Time, maxOffset time.Duration, bound HLC) *Clock {
	return &Clock{now: now, maxOffset: maxOffset, last: bound, bound: bound}
}

// Now returns a new reading, higher than all before it, or a *BoundError, and then nothing changes.
func (c *Clock) Now() (HLC, error) { return c.next(c.now(), 0) }

// NowAfter returns a new reading as Now does that is also higher than h. An h that would lift the clock
// more than the maximal offset above physical time is refused with an *OffsetError, as in Observe:
// contexts come from clients.
func (c *Clock) NowAfter(h HLC) (HLC, error) {
	phys := c.now()
	if err := c.check(h, phys); err != nil {
		return 0, err
	}
	return c.next(phys, h)
}

func (c *Clock) next(phys time.Time, after HLC) (HLC, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	floor := max(c.last, after)
	h := max(floor.Next(), NewHLC(phys.UnixMilli(), 0))
	if h > c.bound || h == floor {
		return 0, &BoundError{Wanted: h, Bound: c.bound}
	}
	c.last = h
	return h, nil
}

// Observe lifts the clock to a reading of another node. A reading above the clock and more than the
// maximal offset ahead of physical time is refused with an *OffsetError and changes nothing: one bad
// clock must not poison the rest. One that the clock has already passed does no harm, however far
// ahead; without that a cluster whose clocks were all set back could not talk.
//
// The bound doesn't limit Observe: it guards what is handed out, and what others handed out is theirs
// to remember.
func (c *Clock) Observe(h HLC) error {
	if err := c.check(h, c.now()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, h)
	return nil
}

func (c *Clock) check(h HLC, phys time.Time) error {
	if offset := h.Time().Sub(phys); offset > c.maxOffset && h > c.Latest() {
		return &OffsetError{HLC: h, Offset: offset, Max: c.maxOffset}
	}
	return nil
}

// Latest returns the highest reading handed out or observed.
func (c *Clock) Latest() HLC {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Current returns the time without taking a reading of its own: the higher of Latest and the physical time. It is for
// those who only look at the clock, as reads do: it needs no bound and changes nothing. Unlike Now it falls back, as far as
// Latest, when the physical clock does.
func (c *Clock) Current() HLC {
	return max(NewHLC(c.now().UnixMilli(), 0), c.Latest())
}

// Physical returns the physical time that the clock follows.
func (c *Clock) Physical() time.Time { return c.now() }

// MaxOffset returns how far ahead of physical time an observed reading may be.
func (c *Clock) MaxOffset() time.Duration { return c.maxOffset }

// Bound returns the highest reading that Now may return.
func (c *Clock) Bound() HLC {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bound
}

// Raise sets a higher bound; a lower one is ignored. The bound must be durable already. To be of use it
// lies above both the physical time and Latest, but by less than the maximal offset: a node
// that restarts begins there, and its peers refuse what is further ahead.
func (c *Clock) Raise(bound HLC) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound = max(c.bound, bound)
}

// Ahead returns how far Latest is ahead of physical time, zero when it is not. It is a figure to
// watch: a clock that stays ahead has a neighbour whose clock is fast.
func (c *Clock) Ahead() time.Duration {
	return max(0, c.Latest().Time().Sub(c.now()))
}
