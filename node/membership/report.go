package membership

import (
	"slices"
	"time"

	"github.com/starling-db/starling/ring"
)

// Report tells what a request saw of a node; latency is the round trip of an OK, and of no matter otherwise.
// What it says of a node that gossip has never seen is not kept.
func (d *Detector) Report(id ring.NodeID, outcome Outcome, latency time.Duration) {
	h := (*d.nodes.Load())[id]
	if h == nil {
		return
	}
	now := d.o.Now()
	if outcome == OK {
		h.latency.add(latency)
		h.answered.Store(int64(now.Sub(d.start)))
		if h.current() == Alive && (h.timeouts.Load() == 0 || latency > d.o.SlowAfter) {
			return // nothing to change: most requests end here, without the lock
		}
	} else if d.stalled(now) {
		outcome = Ignored // requests that were under way while this process stood still say nothing
	}
	d.change(func() { d.report(id, h, outcome, latency, now) })
}

func (d *Detector) report(id ring.NodeID, h *health, outcome Outcome, latency time.Duration, now time.Time) {
	switch outcome {
	case OK:
		// A late answer ends no suspicion, or one slow node would be taken back with each. A trial's does,
		// or one far away would never be.
		if prompt := latency <= d.o.SlowAfter; prompt || h.trying {
			h.timeouts.Store(0)
			if h.current() == Suspect {
				h.trying, h.recovered = false, now
				d.set(id, h, Alive, now, "it answers again")
			}
		}
	case Timeout:
		if int(h.timeouts.Add(1)) >= d.o.TimeoutsToSuspect || h.current() == Suspect {
			d.suspect(id, h, now, "requests time out")
		}
	case Unreachable:
		h.answered.Store(never)
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
		if now.Sub(h.recovered) > d.o.Relapse {
			h.backoff = d.o.MinBackoff
		} else {
			h.backoff = min(2*h.backoff, d.o.MaxBackoff)
		}
		h.trying = true // the request that failed was a trial of its own
		d.rest(h, now)
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
