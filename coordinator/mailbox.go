package coordinator

import (
	"sync"
	"time"

	"github.com/starling-db/starling/coordinator/quorum"
)

// mailbox hands the answers that come to a request to whoever runs it, one at a time: until the reply that is the
// request's own goroutine, and after it whichever goroutine brings an answer. A request that has replied thus costs
// nothing until its stragglers come.
type mailbox struct {
	c *Coordinator
	// take does what an answer calls for. It reports whether no more answers are due; then end is called, once.
	take func(event) (over bool)
	end  func()
	// lost are answers, with an error, in the place of all that are still due when they are given up: at until, when too
	// many requests wait, and when the Coordinator closes.
	lost func() []event

	// until is when what is still due is given up: whoever carries messages keeps their deadline, but the own disk may
	// stand still.
	until time.Time

	// ready has a token when there is mail for the request's own goroutine.
	ready chan struct{}

	mu     sync.Mutex
	mail   []event
	owned  bool // somebody is busy with it
	closed bool // nothing that comes is of interest any more
}

// event is an answer of a replica.
type event struct {
	place  int
	handle int
	kind   quorum.Kind // of a read: what was asked
	reply  ReadReply
	err    error
	// gaveUp stands for all answers that are still due.
	gaveUp bool
}

// newMailbox returns one that belongs to the request's own goroutine.
func newMailbox(c *Coordinator) mailbox {
	return mailbox{c: c, owned: true, ready: make(chan struct{}, 1)}
}

// put delivers an answer, from any goroutine.
func (m *mailbox) put(ev event) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.mail = append(m.mail, ev)
	if m.owned {
		m.mu.Unlock()
		select {
		case m.ready <- struct{}{}:
		default:
		}
		return
	}
	m.owned = true
	m.mu.Unlock()
	m.work()
}

// next returns the oldest answer, if there is any, to the request's own goroutine.
func (m *mailbox) next() (event, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mail) == 0 {
		return event{}, false
	}
	ev := m.mail[0]
	m.mail = m.mail[1:]
	return ev, true
}

// leave is the last thing that the request's own goroutine does, when answers are still due.
func (m *mailbox) leave() {
	m.c.running.Add(1)
	m.c.mu.Lock()
	room := m.c.late != nil && len(m.c.late) < maxLate
	if room {
		m.c.late[m] = struct{}{}
		if m.c.sweeper == nil {
			m.c.sweeper = time.AfterFunc(sweepEvery, m.c.sweep)
		}
	}
	m.c.mu.Unlock()
	if !room {
		m.giveUp()
	}
	m.work()
}

const (
	// maxLate bounds the requests that have replied and still wait for answers. Beyond it they wait no longer.
	maxLate = 1 << 16
	// sweepEvery is how much later than their time is over they may end.
	sweepEvery = time.Second
)

// sweep gives up what is still due to requests whose time is over.
func (c *Coordinator) sweep() {
	var over []*mailbox
	c.mu.Lock()
	now := time.Now()
	for m := range c.late {
		if !now.Before(m.until) {
			over = append(over, m)
		}
	}
	c.sweeper = nil
	if len(c.late) > 0 {
		c.sweeper = time.AfterFunc(sweepEvery, c.sweep)
	}
	c.mu.Unlock()
	for _, m := range over {
		m.giveUp()
	}
}

// giveUp puts an error in the place of each answer that is still due.
func (m *mailbox) giveUp() {
	m.mu.Lock()
	m.mail = append(m.mail, event{gaveUp: true})
	if m.owned {
		m.mu.Unlock() // whoever has it comes to it
		return
	}
	m.owned = true
	m.mu.Unlock()
	m.work()
}

// work takes what there is until there is nothing more. The caller owns the mailbox.
func (m *mailbox) work() {
	for {
		m.mu.Lock()
		if len(m.mail) == 0 {
			m.owned = false
			m.mu.Unlock()
			return
		}
		ev := m.mail[0]
		m.mail = m.mail[1:]
		m.mu.Unlock()
		if ev.gaveUp {
			for _, lost := range m.lost() {
				m.take(lost)
			}
		} else if !m.take(ev) {
			continue
		}
		m.mu.Lock()
		m.closed, m.mail = true, nil
		m.mu.Unlock()
		m.c.mu.Lock()
		delete(m.c.late, m)
		m.c.mu.Unlock()
		m.end()
		m.c.running.Done()
		return
	}
}
