package transfer

import (
	"time"

	"github.com/starling-db/starling/ring"
)

// job is a Work and how far it has come. It is pure: the Puller's one goroutine changes it.
type job struct {
	Work
	// read are the sources that were read whole, done that it is complete.
	read    map[ring.NodeID]bool
	running bool
	done    bool
	// after is when it may be tried again, and failed how often it failed in a row for a reason of its own.
	after  time.Time
	failed int
	// avoid are sources that can't be read for this range, and until when.
	avoid map[ring.NodeID]time.Time
	// more are sources that are needed beyond Need, because those that were read do not do.
	more int
}

// enough reports whether as many sources as are needed were read, self included if it counts.
func (j *job) enough(selfCounts bool) bool {
	have := len(j.read)
	if selfCounts {
		have++
	}
	return have >= j.Need && (have >= j.Need+j.more || !j.left())
}

// left is whether some source was not read yet.
func (j *job) left() bool { return len(j.read) < len(j.Sources) }

// outage is since when, and how often in a row, a source failed.
type outage struct {
	until time.Time
	times int
}

// pick finds the next range to read, and from whom: ranges in their order, each from the first of its sources that is up, has not
// failed lately and is not being read. If there is none, wait is how long until that may change by time alone; zero: it does not.
func pick(
	jobs []*job, busy map[ring.NodeID]bool, out map[ring.NodeID]outage, up func(ring.NodeID) bool, now time.Time,
) (j *job, from ring.NodeID, wait time.Duration) {
	later := func(t time.Time) {
		if d := t.Sub(now); d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
	}
	for _, j := range jobs {
		if j.done || j.running {
			continue
		}
		if j.after.After(now) {
			later(j.after)
			continue
		}
		for _, id := range j.Sources {
			switch {
			case j.read[id] || busy[id]:
			case out[id].until.After(now):
				later(out[id].until)
			case j.avoid[id].After(now):
				later(j.avoid[id])
			case up(id):
				return j, id, 0
			}
		}
	}
	return nil, ring.NodeID{}, wait
}

// backoff is how long to wait after so many failures in a row.
func backoff(first, most time.Duration, times int) time.Duration {
	d := first
	for range times - 1 {
		if d >= most/2 {
			return most
		}
		d *= 2
	}
	return min(d, most)
}
