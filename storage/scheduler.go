package storage

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// grantInterval is how often it is looked whether more compactions may run: their number depends on the backlog, and on
// the room that the disk has.
const grantInterval = 100 * time.Millisecond

// spaceScheduler lets Pebble run as many compactions at once as it wants to, but begin none while the disk is scarce, or
// once the store has failed: one that fails Pebble begins again at once. To hold one up that has begun would be no good: Pebble's Open, for one, waits until all have ended.
type spaceScheduler struct {
	space *spaceWatch
	h     *health
	db    pebble.DBForCompaction // set by Register, before all else

	mu      sync.Mutex // never held across a call of db that takes locks
	running int
	closed  bool

	poked chan struct{} // has room for one
	stop  chan struct{}
	ended chan struct{} // closed when run has ended
}

func newSpaceScheduler(w *spaceWatch, h *health) *spaceScheduler {
	return &spaceScheduler{space: w, h: h, poked: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
}

// Register starts the scheduler. Pebble calls it once, when it opens, and Unregister when it closes.
func (s *spaceScheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	go s.run()
}

// Unregister returns when nothing is granted any more.
func (s *spaceScheduler) Unregister() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.ended
}

// TrySchedule grants one compaction, or none. Pebble holds its mutex.
func (s *spaceScheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.take() {
		return false, nil
	}
	return true, s
}

// take takes one of the places for compactions, if one is free.
func (s *spaceScheduler) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.h.frozen() || s.space.scarce() || s.running >= s.db.GetAllowedWithoutPermission() {
		return false
	}
	s.running++
	return true
}

func (s *spaceScheduler) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// Done is called when a compaction that was granted has ended.
func (s *spaceScheduler) Done() {
	s.giveBack()
	s.UpdateGetAllowedWithoutPermission()
}

// UpdateGetAllowedWithoutPermission has run look at once.
func (s *spaceScheduler) UpdateGetAllowedWithoutPermission() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// run grants compactions that were refused when they were wanted.
func (s *spaceScheduler) run() {
	defer close(s.ended)
	ticker := time.NewTicker(grantInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.poked:
		case <-s.stop:
			return
		}
		s.grant()
	}
}

func (s *spaceScheduler) grant() {
	for s.take() {
		if waiting, _ := s.db.GetWaitingCompaction(); !waiting || !s.db.Schedule(s) {
			s.giveBack()
			return
		}
	}
}

// Started, MeasureCPU and CumulativeStats are of no interest here.
func (*spaceScheduler) Started() {}

// MeasureCPU does nothing.
func (*spaceScheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats does nothing.
func (*spaceScheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}
