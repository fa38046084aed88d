package membership

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
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
	// MinBackoff and MaxBackoff bound the pause between two trials of a suspect; 200 ms, doubling to 2 s.
	MinBackoff, MaxBackoff time.Duration
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
	setDefault(&o.StallAfter, 2*time.Second)
	setDefault(&o.Grace, 5*time.Second)
	return o
}

func setDefault[T int | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}

// Detector tells which nodes can be used. It starts no goroutine of its own: Tick must be called several
// times a second (Run does). All methods are safe for concurrent use; State, Latency and LatencyP95 take
// no lock, since every request asks for several nodes.
type Detector struct {
	o DetectorOptions
	// nodes is replaced whole, under mu, when a node is added or forgotten.
	nodes atomic.Pointer[map[ring.NodeID]*health]
	// ticked is when Tick was last called, held until when verdicts are held; both in nanoseconds of the
	// clock since start, so that they stay monotonic.
	start        time.Time
	ticked, held atomic.Int64
	stalls       atomic.Uint64

	// mu guards everything below, and the slow fields of every health. It is never held while a
	// subscriber runs.
	mu          sync.Mutex
	subscribers []func(Change)
	queue       []Change
	delivering  bool
}

// health is what is known of one node.
type health struct {
	state atomic.Uint32 // State
	swim  State         // Alive, Dead or Left
	// lost is a verdict of gossip that is held because this process had stalled.
	lost bool
	// timeouts counts those in a row. It is written under mu alone.
	timeouts atomic.Int32

	// A suspect is tried at trialAt; trying says that a trial runs.
	trialAt time.Time
	backoff time.Duration
	trying  bool

	latency latencies
}

// NewDetector returns a detector to which every node but Self is Dead.
func NewDetector(o DetectorOptions) *Detector {
	o = o.EnsureDefaults()
	d := &Detector{o: o, start: o.Now()}
	d.nodes.Store(&map[ring.NodeID]*health{})
	return d
}

// Subscribe has f called with every change of state, in order, one at a time. f runs in the goroutine
// that brought the change about: it must be quick and must not wait.
func (d *Detector) Subscribe(f func(Change)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscribers = append(d.subscribers, f)
}

// State tells what to think of a node. One that gossip has never seen is Dead.
func (d *Detector) State(id ring.NodeID) State {
	if id == d.o.Self {
		return Alive
	}
	if h := (*d.nodes.Load())[id]; h != nil {
		return State(h.state.Load())
	}
	return Dead
}

// Up says that a node is Alive.
func (d *Detector) Up(id ring.NodeID) bool { return d.State(id) == Alive }

// Latency is the node's smoothed round trip, 0 when none was measured.
func (d *Detector) Latency(id ring.NodeID) time.Duration {
	if h := (*d.nodes.Load())[id]; h != nil {
		return h.latency.smoothed()
	}
	return 0
}

// LatencyP95 is the 95th percentile of the node's recent round trips, 0 when too few were measured.
func (d *Detector) LatencyP95(id ring.NodeID) time.Duration {
	if h := (*d.nodes.Load())[id]; h != nil {
		return h.latency.p95()
	}
	return 0
}

// Report tells what a request saw of a node; latency is the round trip of an OK, and of no matter otherwise.
// What it says of a node that gossip has never seen is not kept.
func (d *Detector) Report(id ring.NodeID, outcome Outcome, latency time.Duration) {
	h := (*d.nodes.Load())[id]
	if h == nil {
		return
	}
	if outcome == OK {
		h.latency.add(latency)
		if h.current() == Alive && h.timeouts.Load() == 0 {
			return // nothing to change: most requests end here, without the lock
		}
	}
	now := d.o.Now()
	if outcome != OK && d.stalled(now) {
		outcome = Ignored // requests that were under way while this process stood still say nothing
	}
	d.change(func() { d.report(id, h, outcome, now) })
}

func (d *Detector) report(id ring.NodeID, h *health, outcome Outcome, now time.Time) {
	switch outcome {
	case OK:
		h.timeouts.Store(0)
		h.trying = false
		if h.current() == Suspect {
			d.set(id, h, Alive, now, "a request succeeded")
		}
		return
	case Timeout:
		if int(h.timeouts.Add(1)) < d.o.TimeoutsToSuspect && h.current() != Suspect {
			return
		}
		d.suspect(id, h, now, "requests time out")
	case Unreachable:
		d.suspect(id, h, now, "the connection failed")
	case Ignored:
		d.rest(h, now)
	}
}

// suspect avoids a node that gossip calls alive, or, when it is avoided already, waits longer for the next
// trial if this was one.
func (d *Detector) suspect(id ring.NodeID, h *health, now time.Time, why string) {
	switch h.current() {
	case Alive:
		h.backoff, h.trying = d.o.MinBackoff, true
		d.rest(h, now) // the request that failed was the first trial
		d.set(id, h, Suspect, now, why)
	case Suspect:
		if h.trying {
			h.backoff = min(2*h.backoff, d.o.MaxBackoff)
			d.rest(h, now)
		}
	}
}

// rest ends a trial, if one is under way, and sets the time of the next.
func (d *Detector) rest(h *health, now time.Time) {
	if h.trying {
		h.trying = false
		h.trialAt = now.Add(d.jitter(h.backoff))
	}
}

// jitter spreads a pause over [3/4, 5/4] of it, so that nodes don't try a suspect in step.
func (d *Detector) jitter(pause time.Duration) time.Duration {
	return pause*3/4 + time.Duration(d.o.Rand.Int64N(int64(pause/2)+1))
}

// Trials returns the suspects that are due for a trial, and counts each as under way: the caller pings
// them and Reports the outcome of each. Until then, and for its backoff after a failure, none is due again.
func (d *Detector) Trials() []ring.NodeID {
	now := d.o.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	var due []ring.NodeID
	for id, h := range *d.nodes.Load() {
		if h.current() == Suspect && !h.trying && !now.Before(h.trialAt) {
			h.trying = true
			due = append(due, id)
		}
	}
	slices.SortFunc(due, ring.NodeID.Compare)
	return due
}

// Forget drops all that is known of a node, such as one that was removed for good.
func (d *Detector) Forget(id ring.NodeID) {
	now := d.o.Now()
	d.change(func() {
		h := (*d.nodes.Load())[id]
		if h == nil {
			return
		}
		d.bury(id, h, Dead, now, "it was removed")
		next := maps.Clone(*d.nodes.Load())
		delete(next, id)
		d.nodes.Store(&next)
	})
}

// ensure returns the node's record, new and Dead if there is none. The caller holds mu.
func (d *Detector) ensure(id ring.NodeID) *health {
	if h := (*d.nodes.Load())[id]; h != nil {
		return h
	}
	h := &health{}
	next := maps.Clone(*d.nodes.Load())
	next[id] = h
	d.nodes.Store(&next)
	return h
}

func (h *health) current() State { return State(h.state.Load()) }

// set records a change and queues it for the subscribers. The caller holds mu.
func (d *Detector) set(id ring.NodeID, h *health, to State, now time.Time, why string) {
	from := h.current()
	if from == to {
		return
	}
	h.state.Store(uint32(to))
	d.queue = append(d.queue, Change{Node: id, From: from, To: to, Why: why, At: now})
}

// change runs f under the lock, then delivers what it queued. Whoever finds the queue unattended delivers
// all of it, so that subscribers see changes in order though nobody holds the lock while they run.
func (d *Detector) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	if d.delivering {
		return
	}
	d.delivering = true
	for len(d.queue) > 0 {
		batch, to := d.queue, d.subscribers
		d.queue = nil
		d.mu.Unlock()
		for _, c := range batch {
			for _, notify := range to {
				notify(c)
			}
		}
		d.mu.Lock()
	}
	d.delivering = false
}
