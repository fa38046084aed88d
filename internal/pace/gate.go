package pace

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// hold is how long a piece of work keeps its place. One that takes longer waits for something that has stopped,
	// most often: it goes on, and stands in nobody's way.
	hold = 500 * time.Millisecond
	// maxWaiting is how many may wait for a place.
	maxWaiting = 4096
	// fresh is how long who waits is served in turn; who has waited longer goes behind all who have not, but that one
	// turn in staleTurns is theirs.
	fresh      = 100 * time.Millisecond
	staleTurns = 4
)

// FullError says that work was refused: nothing was done, trying again later may succeed.
type FullError struct {
	// Limit is how much may be under way at once, as things are.
	Limit int
}

func (e *FullError) Error() string {
	return fmt.Sprintf("overloaded: %d requests in flight, no more are answered in good time now", e.Limit)
}

// Gate is a Control by the clock, safe for concurrent use.
type Gate struct {
	now func() time.Time

	mu sync.Mutex
	c  *Control
	// waiting are those who wait for a place, in the order in which they came.
	waiting []*waiter
	turns   uint64

	// oldest and newest are the ends of the pieces under way, in the order in which they began, which is that in which
	// they expire. One timer does for all: most end long before it runs.
	oldest, newest *Piece
	expiry         *time.Timer // nil while it doesn't run
}

// waiter is told its piece of work, nil when there is none for it.
type waiter struct {
	since time.Time
	turn  chan *Piece
}

// Piece is a piece of work under way.
type Piece struct {
	g     *Gate
	place int
	begun time.Time
	// until is when it expires, by the passage of time: the gate's clock may be wrong.
	until time.Time

	// Guarded by the gate's mu.
	ended      bool
	prev, next *Piece
}

// NewGate returns a Gate by a clock.
func NewGate(o Options, now func() time.Time) *Gate {
	return &Gate{now: now, c: NewControl(o, now())}
}

// Limit is how much may be under way at once, for now.
func (g *Gate) Limit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.c.Limit()
}

// TryAcquire begins a piece of work or refuses it with a *FullError, at once.
func (g *Gate) TryAcquire() (*Piece, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.begin(); p != nil {
		return p, nil
	}
	return nil, &FullError{Limit: g.c.Limit()}
}

// Acquire begins a piece of work as soon as there is room, or fails with a *FullError when ctx ends before that, or when
// too many wait. Who has waited for long goes behind those who have not: when more comes than can be done some must fail
// anyway, and served in turn all would be served too late.
func (g *Gate) Acquire(ctx context.Context) (*Piece, error) {
	g.mu.Lock()
	if p := g.begin(); p != nil {
		g.mu.Unlock()
		return p, nil
	}
	if len(g.waiting) >= maxWaiting {
		g.waiting[0].turn <- nil
		g.waiting = slices.Delete(g.waiting, 0, 1)
	}
	w := &waiter{since: g.now(), turn: make(chan *Piece, 1)}
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	select {
	case p := <-w.turn:
		if p != nil {
			return p, nil
		}
	case <-ctx.Done():
		g.leave(w)
	}
	return nil, &FullError{Limit: g.Limit()}
}

// leave takes back who waits no more, and the piece of work that it may have got meanwhile.
func (g *Gate) leave(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Those who came first are the first to give up.
	if i := slices.Index(g.waiting, w); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		return
	}
	if p := <-w.turn; p != nil {
		p.end(Failed)
	}
}

// begin returns nil if there is no room. The caller holds mu, here and below.
func (g *Gate) begin() *Piece {
	now := g.now()
	place := g.c.Acquire(now)
	if place == 0 {
		return nil
	}
	p := &Piece{g: g, place: place, begun: now, until: time.Now().Add(hold), prev: g.newest}
	if g.newest == nil {
		g.oldest = p
	} else {
		g.newest.next = p
	}
	g.newest = p
	if g.expiry == nil {
		g.expiry = time.AfterFunc(hold, g.expire)
	}
	return p
}

// expire ends what has held its place for too long.
func (g *Gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for g.oldest != nil && !now.Before(g.oldest.until) {
		g.oldest.end(Expired)
	}
	g.expiry = nil
	if g.oldest != nil {
		g.expiry = time.AfterFunc(g.oldest.until.Sub(now), g.expire)
	}
}

// remove takes a piece from those under way.
func (g *Gate) remove(p *Piece) {
	if p.prev == nil {
		g.oldest = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		g.newest = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
}

// End ends a piece of work. Further calls do nothing, nor does one of nil.
func (p *Piece) End(outcome Outcome) {
	if p == nil {
		return
	}
	p.g.mu.Lock()
	defer p.g.mu.Unlock()
	p.end(outcome)
}

func (p *Piece) end(outcome Outcome) {
	if p.ended {
		return
	}
	p.ended = true
	g := p.g
	g.remove(p)
	now := g.now()
	g.c.Release(now, now.Sub(p.begun), p.place, outcome)
	for len(g.waiting) > 0 {
		next := g.begin()
		if next == nil {
			return
		}
		i := g.next(now)
		g.waiting[i].turn <- next // has room for it
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
}

// next is the place of the one whose turn it is: the first of those who have not waited for long. Where there are none,
// and now and then, so that a few who had bad luck are served while there is almost room for all, it is the last of those
// who have: when there is far too little room, that one still has the most time left.
func (g *Gate) next(now time.Time) int {
	g.turns++
	i, _ := slices.BinarySearchFunc(g.waiting, now.Add(-fresh), func(w *waiter, at time.Time) int { return w.since.Compare(at) })
	if i == len(g.waiting) || i > 0 && g.turns%staleTurns == 0 {
		return i - 1
	}
	return i
}
