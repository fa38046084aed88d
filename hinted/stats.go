package hinted

import "sync/atomic"

// Stats are counters since the start, and two figures of the present: Corrupt and Active.
type Stats struct {
	// Settled hints were acknowledged durably and removed; Bytes is the size of their states.
	Settled, Bytes uint64
	// Changed: acknowledged, but the item has a newer state by now, which will be sent too.
	Changed uint64
	// Failed sends: the hint stays.
	Failed uint64
	// Corrupt is how many hints can't be read, as far as the last pass over each target found: they are skipped and stay,
	// for anti-entropy to repair.
	Corrupt int64
	// Active is the number of targets that hints are being sent to now.
	Active int
}

type counters struct {
	settled, bytes, changed, failed atomic.Uint64
	corrupt, active                 atomic.Int64
}

// Stats returns the present counters.
func (r *Replayer) Stats() Stats {
	return Stats{
		Settled: r.count.settled.Load(),
		Bytes:   r.count.bytes.Load(),
		Changed: r.count.changed.Load(),
		Failed:  r.count.failed.Load(),
		Corrupt: r.count.corrupt.Load(),
		Active:  int(r.count.active.Load()),
	}
}
