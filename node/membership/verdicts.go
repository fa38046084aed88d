package membership

import (
	"context"
	"sync"
	"time"

	"github.com/starling-db/starling/ring"
)

// Run ticks the detector and tries its suspects until ctx ends, and returns when the last trial has. ping
// asks a node whether it lives, and returns what came of it and how long that took, which is Reported then; it
// must respect its context.
func (d *Detector) Run(ctx context.Context, ping func(context.Context, ring.NodeID) (Outcome, time.Duration)) {
	const tick, trialTimeout = 100 * time.Millisecond, time.Second
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var trials sync.WaitGroup // at most one a node, see Trials
	defer trials.Wait()
	d.Tick()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		d.Tick()
		for _, id := range d.Trials() {
			trials.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, trialTimeout)
				defer cancel()
				outcome, latency := ping(ctx, id)
				d.Report(id, outcome, latency)
			})
		}
	}
}

// Tick notices a stall of this process, and applies the verdicts that one held back when they are due. It
// should be called several times a second.
func (d *Detector) Tick() {
	now := d.o.Now()
	stalled := d.stalled(now)
	d.ticked.Store(int64(now.Sub(d.start)))
	if stalled {
		return
	}
	d.change(func() {
		for id, h := range *d.nodes.Load() {
			if h.lost {
				h.lost = false
				d.bury(id, h, Dead, now, "gossip lost it")
			}
		}
	})
}

// Stalls counts how often this process was found to have stood still.
func (d *Detector) Stalls() uint64 { return d.stalls.Load() }

// stalled says that verdicts against others are held: this process was stopped (SIGSTOP, a long collection,
// a starved machine), so it was it that fell silent, not they. It looks at the clock itself, as after a
// pause any overdue timer may fire before the tick that would notice.
func (d *Detector) stalled(now time.Time) bool {
	at := int64(now.Sub(d.start))
	ticked := d.ticked.Load()
	if ticked != 0 && at-ticked > int64(d.o.StallAfter) && d.ticked.CompareAndSwap(ticked, at) {
		d.stalls.Add(1)
		d.held.Store(at + int64(d.o.Grace))
		return true
	}
	return at < d.held.Load()
}

// GossipAlive is gossip's word that a node lives. It ends a death and a goodbye, not a suspicion of requests:
// that a third node hears it says nothing of our own link to it.
func (d *Detector) GossipAlive(id ring.NodeID) {
	if id == d.o.Self {
		return
	}
	now := d.o.Now()
	d.change(func() {
		h := d.ensure(id)
		h.lost = false
		if h.swim == Alive {
			return
		}
		h.swim, h.trying = Alive, false
		h.timeouts.Store(0)
		d.set(id, h, Alive, now, "gossip found it")
	})
}

// GossipDead is gossip's verdict that a node died. After a stall of this process it is held for the grace
// period, and dropped if the node is heard of meanwhile.
func (d *Detector) GossipDead(id ring.NodeID) {
	now := d.o.Now()
	held := d.stalled(now)
	d.change(func() {
		h := (*d.nodes.Load())[id]
		if h == nil {
			return
		}
		if held {
			h.lost = true
			return
		}
		d.bury(id, h, Dead, now, "gossip lost it")
	})
}

// GossipLeft is a node's own word that it goes.
func (d *Detector) GossipLeft(id ring.NodeID) {
	now := d.o.Now()
	d.change(func() {
		if h := (*d.nodes.Load())[id]; h != nil {
			d.bury(id, h, Left, now, "it left")
		}
	})
}

// bury ends a node's life in the eyes of gossip. The caller holds mu.
func (d *Detector) bury(id ring.NodeID, h *health, to State, now time.Time, why string) {
	h.swim, h.lost, h.trying = to, false, false
	h.recovered = time.Time{}
	h.timeouts.Store(0)
	h.answered.Store(never)
	d.set(id, h, to, now, why)
}
