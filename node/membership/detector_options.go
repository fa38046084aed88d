package membership

import (
	"math/rand/v2"
	"time"

	"github.com/starling-db/starling/ring"
)

// DetectorOptions configure a Detector. Zero fields take the defaults named.
type DetectorOptions struct {
	// Self is always Alive.
	Self ring.NodeID
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Rand spreads the trials of suspects; nil: seeded at random.
	Rand *rand.Rand
	// TimeoutsToSuspect is how many requests in a row must time out; 2.
	TimeoutsToSuspect int
	// SlowAfter is the latency beyond which an answer counts for nothing against timeouts; 100 ms. It should
	// be the budget whose passing is Reported as a Timeout.
	SlowAfter time.Duration
	// AnsweringFor is how long ago the last answer of a node may be for it to be Answering; 2 s.
	AnsweringFor time.Duration
	// MinBackoff and MaxBackoff bound the pause between two trials of a suspect; 200 ms, doubling to 2 s. One
	// that fails again within Relapse (10 s) of its recovery goes on from where its pauses were: so a slow
	// node, which every ping finds well, is avoided most of the time.
	MinBackoff, MaxBackoff, Relapse time.Duration
	// StallAfter is the pause between two ticks beyond which this process itself was stopped; 2 s.
	StallAfter time.Duration
	// Grace is how long verdicts against others are held after a stall; 5 s. It should let gossip hear from
	// everybody once.
	Grace time.Duration
}

// EnsureDefaults fills what is zero.
func (o DetectorOptions) EnsureDefaults() DetectorOptions {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	setDefault(&o.TimeoutsToSuspect, 2)
	setDefault(&o.MinBackoff, 200*time.Millisecond)
	setDefault(&o.MaxBackoff, 2*time.Second)
	setDefault(&o.SlowAfter, 100*time.Millisecond)
	setDefault(&o.AnsweringFor, 2*time.Second)
	setDefault(&o.Relapse, 10*time.Second)
	setDefault(&o.StallAfter, 2*time.Second)
	setDefault(&o.Grace, 5*time.Second)
	return o
}

func setDefault[T int | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}
