// Package pace finds how much work to have under way at once. More than what can be done makes everything late and
// nothing faster, and how much that is nobody can say beforehand: it is found by how long things take, as TCP finds what
// a network carries. Nodes use it to shed what they could not do in time, clients to hold back what nodes would shed.
package pace

import "time"

// Options tune a Control.
type Options struct {
	// Min and Max bound the limit; it begins at Start.
	Min, Start, Max int
	// Target is how long half of the work may take before the limit falls. Default 100 ms.
	Target time.Duration
}

// DefaultTarget is the default of Options.Target.
const DefaultTarget = 100 * time.Millisecond

// EnsureDefaults fills in what is zero, and keeps the bounds in order.
func (o *Options) EnsureDefaults() {
	if o.Target == 0 {
		o.Target = DefaultTarget
	}
	o.Max = max(o.Max, 1)
	o.Min = max(1, min(o.Min, o.Max))
	o.Start = max(o.Min, min(o.Start, o.Max))
}

const (
	// A window is judged when it has lasted this long and has seen some work end, or when it has lasted longest.
	window        = 100 * time.Millisecond
	windowSamples = 10
	longestWindow = time.Second
	// calmFactor is how many times longer than in calm times work may take, where that is more than the target:
	// where nodes are far apart it takes long though nothing waits.
	calmFactor = 3
	// quickShare: while one piece in so many is quick, those that expire say nothing.
	quickShare = 4
	// ceiling is what is slow in any case. Whatever has become of calm, work that takes most of its hold is.
	ceiling = 4 * hold / 5
)

// Control is the arithmetic of a limit on short pieces of work of which each is like the other: window by window it
// grows by an eighth while work is quick, and falls by a quarter when half of the work is slow; it does either only where
// the limit is in the way, or the other side sheds. It is not safe for concurrent use. Times come from one clock and do not go back.
type Control struct {
	o        Options
	limit    int
	inFlight int
	// calm is what work takes when at most Min pieces are under way and more might be; 0: unknown.
	calm time.Duration

	// Of the present window.
	since   time.Time
	peak    int // most at once
	refused bool
	done    int
	slow    int
	shed    int
	expired int
	// Of the work that had not more than Min beside it when it began, nor when it ended.
	alone     int
	aloneTook time.Duration
}

// NewControl returns a Control without work.
func NewControl(o Options, now time.Time) *Control {
	o.EnsureDefaults()
	return &Control{o: o, limit: o.Start, since: now}
}

// Limit is how much may be under way at once, for now. InFlight is how much is.
func (c *Control) Limit() int    { return c.limit }
func (c *Control) InFlight() int { return c.inFlight }

// Outcome is what came of a piece of work.
type Outcome uint8

const (
	// Done: what it took counts.
	Done Outcome = iota
	// Failed: it counts only if it took long. What is refused at once tells nothing of how busy the other side is.
	Failed
	// Shed: the other side had too much to do; as bad as slow.
	Shed
	// Expired: it has held its place for as long as it may, and nobody knows whether it is slow or waits for something that
	// has stopped. It counts only when little else has ended in time.
	Expired
)

// Acquire begins a piece of work, if there is room. Its place, for Release, is 0 if there is none.
func (c *Control) Acquire(now time.Time) (place int) {
	c.roll(now)
	if c.inFlight >= c.limit {
		c.refused = true
		return 0
	}
	c.inFlight++
	c.peak = max(c.peak, c.inFlight)
	return c.inFlight
}

// Release ends a piece of work that Acquire gave that place.
func (c *Control) Release(now time.Time, took time.Duration, place int, outcome Outcome) {
	slow := took > max(c.o.Target, min(calmFactor*c.calm, ceiling))
	switch {
	case outcome == Expired:
		c.expired++
	case outcome == Shed:
		c.done++
		c.slow++
		c.shed++
	case outcome == Done || slow:
		c.done++
		if slow {
			c.slow++
		}
	}
	if outcome == Done && place <= c.o.Min && c.inFlight <= c.o.Min && c.limit > c.o.Min {
		c.alone++
		c.aloneTook += took
	}
	c.inFlight--
	c.roll(now)
}

// roll judges the window if it is over.
func (c *Control) roll(now time.Time) {
	age := now.Sub(c.since)
	if age < window || c.done+c.expired < windowSamples && age < longestWindow {
		return
	}
	c.judge()
	c.since, c.peak, c.refused, c.done, c.slow, c.shed, c.expired, c.alone, c.aloneTook = now, c.inFlight, false, 0, 0, 0, 0, 0, 0
}

func (c *Control) judge() {
	if c.alone > 0 {
		// Times may have been bad when they were first taken, and a bad time must not become the measure of what is good.
		if mean := c.aloneTook / time.Duration(c.alone); c.calm == 0 || mean < c.calm {
			c.calm = mean
		} else {
			c.calm += (mean - c.calm) / 64
		}
	}
	inTheWay := c.refused || 2*c.peak > c.limit
	switch {
	case c.done == 0 && c.expired == 0: // nothing is known of what is under way, if anything is
	case 2*c.slow > c.done || quickShare*(c.done-c.slow) < c.done+c.expired:
		if inTheWay || 2*c.shed > c.done { // who sheds says so, however little it was
			c.limit = max(c.o.Min, min(c.limit, c.peak)*3/4)
		}
	case inTheWay || c.limit < c.o.Start:
		c.limit = min(c.o.Max, c.limit+c.limit/8+1)
	}
}
