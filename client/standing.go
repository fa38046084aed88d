package client

import (
	"slices"
	"sync"
	"time"
)

const (
	// slowFactor is how many times longer than is typical of all nodes an answer takes that is slow, beyond leastSlow.
	slowFactor = 4
	leastSlow  = 50 * time.Millisecond
	// slowInRow is how many slow answers one behind the other have a node set aside.
	slowInRow = 2
	// A node that is set aside is tried out after leastAside; each time it is found slow again the pause doubles, up to
	// mostAside. It starts anew when the node has been well for relapse.
	leastAside = time.Second
	mostAside  = 30 * time.Second
	relapse    = 30 * time.Second
)

// standing is what a Client makes of how quickly a node answers. It is the arithmetic alone; endpoint locks it.
type standing struct {
	usual time.Duration // smoothed time of an answer about one item; 0: none yet
	row   int           // slow answers since the last one that was not
	aside bool
	// Of a node that is aside: when it is due to be tried out, and the pause before that.
	due   time.Time
	pause time.Duration
	// back is when it was last taken back.
	back time.Time
}

// slowAt is from when on an answer is slow, where so much time is typical of all nodes; 0: that is not known.
func slowAt(typical time.Duration) time.Duration { return max(slowFactor*typical, leastSlow) }

// took notes an answer, or that there was none in this time.
func (s *standing) took(d, typical time.Duration, now time.Time) {
	if s.usual == 0 {
		s.usual = d
	}
	s.usual += (d - s.usual) / 8
	if typical == 0 || d <= slowAt(typical) {
		s.row = 0
		return
	}
	if s.row++; s.row >= slowInRow {
		s.setAside(now)
	}
}

// setAside has the node tried last until it has been tried out.
func (s *standing) setAside(now time.Time) {
	if s.aside {
		return
	}
	if s.pause == 0 || now.Sub(s.back) > relapse {
		s.pause = leastAside
	} else {
		s.pause = min(2*s.pause, mostAside)
	}
	s.aside, s.row, s.due = true, 0, now.Add(s.pause)
}

// tried notes how a node that was aside did when it was tried out.
func (s *standing) tried(well bool, now time.Time) {
	if !s.aside {
		return
	}
	if !well {
		s.pause = min(2*s.pause, mostAside)
		s.due = now.Add(s.pause)
		return
	}
	s.aside, s.back, s.usual, s.row = false, now, 0, 0
}

// typicalTime keeps the median of what all nodes usually take, which is found anew now and then.
type typicalTime struct {
	mu    sync.Mutex
	value time.Duration
	at    time.Time
}

// typicalFor is how long a median is used.
const typicalFor = 50 * time.Millisecond

// typical is the median of what the nodes usually take; 0 as long as fewer than three have answered, of which none
// could be told to be the slow one.
func (p *pool) typical(now time.Time) time.Duration {
	t := &p.usual
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.at.IsZero() && now.Sub(t.at) < typicalFor {
		return t.value
	}
	t.value, t.at = medianTime(p.usualTimes()), now
	return t.value
}

func medianTime(times []time.Duration) time.Duration {
	if len(times) < 3 {
		return 0
	}
	slices.Sort(times)
	return times[(len(times)-1)/2]
}
