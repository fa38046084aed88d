package antientropy

import (
	"errors"
	"time"
)

// ThrottleOptions tune a Throttle. Defaults stand behind the fields.
type ThrottleOptions struct {
	// MaxSlowdown is how many times slower than in quiet times requests of clients may be before repair holds; below zero: it
	// never does. 2.
	MaxSlowdown float64
	// Least is what is never slow: of so little nobody takes notice. 1 ms.
	Least time.Duration
	// Enough is how many requests tell anything. 20.
	Enough int
	// MaxHold is after how much waiting one step is taken all the same, so that repair comes to an end where requests are slow
	// for another reason. 5 s.
	MaxHold time.Duration
}

// EnsureDefaults fills the fields that have a default.
func (o *ThrottleOptions) EnsureDefaults() {
	if o.MaxSlowdown == 0 {
		o.MaxSlowdown = 2
	}
	if o.Enough == 0 {
		o.Enough = 20
	}
	setDefault(&o.Least, time.Millisecond)
	setDefault(&o.MaxHold, 5*time.Second)
}

// Validate reports the first field that can't be.
func (o *ThrottleOptions) Validate() error {
	if o.MaxSlowdown > 0 && o.MaxSlowdown < 1 || o.Least < 0 || o.Enough < 0 || o.MaxHold < 0 {
		return errors.New("antientropy: a slowdown below 1, or a bound that is negative")
	}
	return nil
}

// Throttle decides whether repair stands aside for clients, by how long these wait. It learns what is usual from times at
// which nothing was repaired: also while it holds, so that where requests have become slow by themselves that is soon the new
// measure. It is not safe for concurrent use.
type Throttle struct {
	o ThrottleOptions
	// quiet is what is usual; 0: not known yet.
	quiet time.Duration
	slow  bool
	// since is when the present hold began; zero: there is none.
	since time.Time
}

// NewThrottle checks the options. The Throttle does not hold before it has seen anything.
func NewThrottle(o ThrottleOptions) (*Throttle, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Throttle{o: o}, nil
}

// What is usual follows what is quicker at once and what is slower hesitantly: a few slow requests must not become the measure
// of what is quick.
const (
	quickerShare = 4
	slowerShare  = 16
)

// Observe takes in what most requests took at most, lately, and of how many that is said. quiet: nothing was repaired meanwhile.
func (t *Throttle) Observe(most time.Duration, requests int, quiet bool) {
	if requests < t.o.Enough {
		t.slow = false // hardly anybody is there to be slowed down
		return
	}
	switch {
	case !quiet:
	case t.quiet == 0:
		t.quiet = most
	case most < t.quiet:
		t.quiet -= (t.quiet - most) / quickerShare
	default:
		t.quiet += (most - t.quiet) / slowerShare
	}
	t.slow = t.o.MaxSlowdown > 0 && t.quiet > 0 && most > t.o.Least && float64(most) > t.o.MaxSlowdown*float64(t.quiet)
}

// Quiet is what is usual when nothing is repaired; 0: not known.
func (t *Throttle) Quiet() time.Duration { return t.quiet }

// Hold reports whether the next step of repair must wait; whoever asks asks again after a while. Times come from one clock.
func (t *Throttle) Hold(now time.Time) bool {
	switch {
	case !t.slow:
		t.since = time.Time{}
		return false
	case t.since.IsZero() || now.Before(t.since):
		t.since = now
		return true
	case now.Sub(t.since) >= t.o.MaxHold:
		t.since = time.Time{}
		return false
	}
	return true
}
