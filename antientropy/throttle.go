package antientropy

import (
	"errors"
	"time"
)

// ThrottleOptions tune a Throttle. Defaults stand behind the fields; MaxRate is required.
type ThrottleOptions struct {
	// MaxRate is how many bytes a second repair moves at most.
	MaxRate float64
	// MaxSlowdown is how many times slower than in quiet times requests of clients may become by repair; below zero: as slow as may
	// be. 2.
	MaxSlowdown float64
	// Least is what is never slow: of so little nobody takes notice. 1 ms.
	Least time.Duration
	// Enough is how many requests tell anything. 20.
	Enough int
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
}

// Validate reports the first field that can't be.
func (o *ThrottleOptions) Validate() error {
	if o.MaxRate <= 0 || o.MaxSlowdown > 0 && o.MaxSlowdown < 1 || o.Least < 0 || o.Enough < 0 {
		return errors.New("antientropy: no rate, a slowdown below 1, or a bound that is negative")
	}
	return nil
}

// Throttle decides how fast repair goes, by how long clients wait: faster by a quarter with each sample as long as they wait no
// longer than they may, half as fast when they do (additive increase would take too long over the three orders of magnitude between a
// busy node's rate and an idle one's). It learns what is usual from times at which nothing was repaired; so where requests have
// become slow by themselves that is soon the new measure. It is not safe for concurrent use.
type Throttle struct {
	o ThrottleOptions
	// quiet is what is usual, 0 at first; known: there was a quiet sample.
	quiet time.Duration
	known bool
	rate  float64
	// crowd: the last sample was of enough requests.
	crowd bool
}

// Sample is what was seen of clients lately.
type Sample struct {
	// Most is what 99 of 100 requests took at most.
	Most     time.Duration
	Requests int
	// Quiet: nothing was repaired meanwhile.
	Quiet bool
	// Slowed: another node's clients wait too long for what is repaired from here.
	Slowed bool
}

// NewThrottle checks the options. A Throttle that has seen nothing lets repair go as fast as it may.
func NewThrottle(o ThrottleOptions) (*Throttle, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Throttle{o: o, rate: o.MaxRate}, nil
}

const (
	// What is usual is an average over about so many samples, of which none counts for more than twice what it was: a slow moment must
	// not become the measure of what is quick.
	usualSamples = 8
	// Where there are clients repair begins with a 16th of the largest rate. It never goes below a 256th, so that it comes to an end
	// where requests are slow for another reason.
	startShare = 16
	leastShare = 256
	faster     = 1.25
	slower     = 0.5
)

// Observe takes in a sample.
func (t *Throttle) Observe(s Sample) {
	if t.o.MaxSlowdown < 0 {
		return
	}
	enough := s.Requests >= t.o.Enough
	if enough {
		t.learn(s)
	}
	switch start := t.o.MaxRate / startShare; {
	case enough && s.Quiet && !s.Slowed:
		t.rate = start
	case enough && !t.crowd: // clients have come
		t.rate = min(t.rate, start)
	case s.Slowed, enough && t.slow(s.Most):
		t.rate = max(t.rate*slower, t.o.MaxRate/leastShare)
	case !enough:
		t.rate = t.o.MaxRate // hardly anybody is there to be slowed down
	default:
		t.rate = min(t.rate*faster, t.o.MaxRate)
	}
	t.crowd = enough
}

// learn takes a sample into what is usual. As long as there was none of a quiet time, those in which repair was as gentle as it
// begins must do: of a node that never is without it.
func (t *Throttle) learn(s Sample) {
	switch {
	case !s.Quiet && (t.known || t.rate > t.o.MaxRate/startShare):
	case t.quiet == 0, s.Quiet && !t.known:
		t.quiet = s.Most
	default:
		t.quiet += (min(s.Most, 2*t.quiet) - t.quiet) / usualSamples
	}
	t.known = t.known || s.Quiet
}

// slow draws the line half way to what is allowed, as half of the samples come to lie beyond the line where a rate settles.
func (t *Throttle) slow(most time.Duration) bool {
	return t.quiet > 0 && most > t.o.Least && float64(most) > (1+t.o.MaxSlowdown)/2*float64(t.quiet)
}

// Slow reports whether a sample of what clients wait for is more than they may.
func (t *Throttle) Slow(s Sample) bool {
	return t.o.MaxSlowdown > 0 && s.Requests >= t.o.Enough && t.slow(s.Most)
}

// Quiet is what is usual when nothing is repaired; 0: not known.
func (t *Throttle) Quiet() time.Duration { return t.quiet }

// Rate is how many bytes a second repair may move.
func (t *Throttle) Rate() float64 { return t.rate }
