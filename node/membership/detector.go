package membership

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starling-db/starling/ring"
)

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

	// answered is when it last answered, in nanoseconds since start; never when the connection failed since.
	answered atomic.Int64
	// A suspect is tried at trialAt, backoff after the last time; trying says that a trial runs. recovered is
	// when a request last ended a suspicion.
	trialAt, recovered time.Time
	backoff            time.Duration
	trying             bool

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

// never is when a node last answered of which none is known to work.
const never = math.MinInt64

// Answering says that gossip holds a node for alive, that it answered lately, and that no connection to it
// failed since: a Suspect of which this is true is slow, not gone.
func (d *Detector) Answering(id ring.NodeID) bool {
	h := (*d.nodes.Load())[id]
	if h == nil {
		return id == d.o.Self
	}
	if s := h.current(); s != Alive && s != Suspect {
		return false
	}
	at := h.answered.Load()
	return at != never && d.o.Now().Sub(d.start)-time.Duration(at) <= d.o.AnsweringFor
}

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
	h.answered.Store(never)
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
