package storage

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lookInterval is how often the free space is looked at. Between looks what is written is counted, and whoever comes to
// the edge by that count looks anew, so that no writer outruns it; others that fill the disk may, for that long.
const lookInterval = time.Second

// spaceWatch applies a spaceRule to the disk that a store lives on. Where a file system doesn't tell how much room there
// is, or as long as it can't be asked, everything is let through: what happens then on a full disk is the business of
// health.
type spaceWatch struct {
	fs       vfs.FS
	dir      string
	logger   *slog.Logger
	reserve  uint64 // as configured; 0: automatic
	memTable uint64

	ballast *ballast
	level   atomic.Int32
	free    atomic.Uint64 // at the last look
	limit   atomic.Uint64 // below it an open store looks again; 0: not known
	kept    atomic.Uint64 // the reserve at the last look
	written atomic.Uint64 // since the last look
	refused atomic.Uint64
	filled  atomic.Bool // the disk became full, and nobody has made room for a restart yet

	mu    sync.Mutex // held while it is looked
	blind bool       // the last look failed
}

func newSpaceWatch(o Options) *spaceWatch {
	return &spaceWatch{
		fs: o.FS, dir: o.Dir, logger: o.Logger, reserve: uint64(o.DiskReserve), memTable: uint64(o.MemTableBytes),
		ballast: newBallast(o.FS, o.Dir),
	}
}

// begin takes the first look and finds the ballast of an earlier run. It returns false on a file system that can't be
// watched.
func (w *spaceWatch) begin() bool {
	u, err := w.fs.GetDiskUsage(w.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return false
	}
	if err == nil {
		w.ballast.find(ballastSize(w.reserveOf(u), w.memTable))
	}
	w.look(0)
	return true
}

func (w *spaceWatch) reserveOf(u vfs.DiskUsage) uint64 {
	if w.reserve > 0 {
		return w.reserve
	}
	return automaticReserve(u.TotalBytes, w.memTable)
}

// look finds out how much is free and decides what follows, as if that many bytes more were written already.
func (w *spaceWatch) look(more uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written.Store(0) // first, so that what is written meanwhile is counted twice rather than not at all
	u, err := w.fs.GetDiskUsage(w.dir)
	if err != nil {
		if !w.blind {
			w.logger.Warn("the free space of the disk can't be told; writes go on without a reserve", "dir", w.dir, "error", err)
		}
		w.blind = true
		w.limit.Store(0)
		w.enter(spaceOpen)
		return
	}
	w.blind = false
	rule := spaceRule{reserve: w.reserveOf(u), ballast: w.ballast.size}
	w.free.Store(u.AvailBytes)
	w.kept.Store(rule.reserve)
	spent := w.ballast.spent()
	w.limit.Store(rule.least(spent))
	w.enter(rule.next(spaceLevel(w.level.Load()), remains(u.AvailBytes, more), spent))
}

// enter makes level the present one. The caller holds mu.
func (w *spaceWatch) enter(level spaceLevel) {
	before := spaceLevel(w.level.Load())
	w.level.Store(int32(level))
	switch {
	case before == spaceOpen && level != spaceOpen:
		w.filled.Store(true)
		w.logger.Warn("the disk is nearly full: writes are refused until there is room, reads go on",
			"dir", w.dir, "free_bytes", w.free.Load(), "reserve_bytes", w.kept.Load())
	case before != spaceOpen && level == spaceOpen:
		w.logger.Info("the disk has room again: writes go on", "dir", w.dir, "free_bytes", w.free.Load())
	}
}

// tick looks and sees to the ballast. It returns true once after the disk has become full.
func (w *spaceWatch) tick() (filled bool) {
	w.look(0)
	switch spaceLevel(w.level.Load()) {
	case spaceOpen:
		w.filled.Store(false)
		w.refill()
	case spaceFull:
		return w.filled.Swap(false)
	}
	return false
}

// spill lets the ballast go, when a write has found no room at all: no earlier, or whoever fills the disk would have it.
// Whoever writes next looks how much is free.
func (w *spaceWatch) spill() {
	if w.ballast.release() {
		w.free.Store(0)
		w.logger.Warn("the disk is full: the ballast is removed to make room", "dir", w.dir)
	}
}

// refill makes the ballast if it is wanted: an open store has room for it.
func (w *spaceWatch) refill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blind {
		return
	}
	if err := w.ballast.refill(); err != nil {
		w.logger.Debug("no ballast is kept for now", "error", err)
	}
}

// wrote counts bytes that were written, or are about to be.
func (w *spaceWatch) wrote(n int) { w.written.Add(uint64(n)) }

// admit lets n bytes of growth in, or refuses them with *DiskFullError. It is called before anything is done.
func (w *spaceWatch) admit(n int) error {
	if err := w.check(spaceOpen, uint64(n)); err != nil {
		w.refused.Add(1)
		return err
	}
	w.wrote(n)
	return nil
}

// admitSmall is admit for what is done on a full disk too, as long as some of its reserve is left.
func (w *spaceWatch) admitSmall(n int) error {
	if err := w.check(spaceFull, uint64(n)); err != nil {
		return err
	}
	w.wrote(n)
	return nil
}

func (w *spaceWatch) check(most spaceLevel, n uint64) error {
	if spaceLevel(w.level.Load()) == spaceOpen && w.free.Load() < w.written.Load()+n+w.limit.Load() && w.limit.Load() > 0 {
		w.look(n)
	}
	if spaceLevel(w.level.Load()) <= most {
		return nil
	}
	return &DiskFullError{Dir: w.dir, Free: w.free.Load(), Reserve: w.kept.Load()}
}

// scarce reports whether most of the reserve is gone.
func (w *spaceWatch) scarce() bool { return spaceLevel(w.level.Load()) == spaceScarce }

// Space is how a store's disk stands.
type Space struct {
	// Free and Reserve are bytes, as last looked at; 0 where it can't be told.
	Free, Reserve uint64
	// Full: writes are refused.
	Full bool
	// Refused counts the writes that were.
	Refused uint64
}

// Space returns how the disk stood when it was last looked at.
func (s *Store) Space() Space {
	w := s.space
	return Space{
		Free: w.free.Load(), Reserve: w.kept.Load(), Full: spaceLevel(w.level.Load()) != spaceOpen, Refused: w.refused.Load(),
	}
}

// watchSpace looks at the disk until the store closes.
func (s *Store) watchSpace() {
	defer close(s.watched)
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.tickSpace()
		case <-s.released:
			return
		}
	}
}

// tickSpace looks at the disk. When it has become full the memtable is flushed, off the reserve, so that there is little
// in the log that a start on a full disk would have to make tables of.
func (s *Store) tickSpace() {
	if s.Err() != nil || !s.space.tick() {
		return
	}
	if _, err := s.db.AsyncFlush(); err != nil {
		s.logger.Warn("the memtable of a full disk can't be flushed", "error", err)
	}
}
