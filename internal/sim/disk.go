package sim

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// errDisk is what a disk that fails says.
var errDisk = errors.New("simulated disk: input/output error")

// ailment is what is wrong with a disk.
type ailment struct {
	// failSync fails each sync with this probability.
	failSync float64
	// failWrite fails each write, likewise.
	failWrite float64
	// slowSync is how long each sync of the log takes.
	slowSync time.Duration
	// stalled holds every sync of the log until it is over.
	stalled bool
	// full: somebody else has filled the disk, but for this much room. Writes fail when it is used up.
	full bool
	room int64
}

// disk is a node's disk, over all the node's runs. What was not synced may be lost in a crash.
type disk struct {
	mu   sync.Mutex
	rng  *rand.Rand
	fs   *vfs.MemFS // of the present run
	ails ailment
	news chan struct{} // closed, and replaced, when the ailments change
	grip *grip         // of the present run
	// syncing is called before each sync of a log, and may crash the node. Nil: nobody looks; set before the first run.
	syncing func()
}

// capacity is how large a disk says that it is.
const capacity = 8 << 30

func newDisk(rng *rand.Rand) *disk {
	return &disk{rng: rng, fs: vfs.NewCrashableMem(), news: make(chan struct{})}
}

// open hands the disk to a new run of its node. Runs before it can't reach the disk any more.
func (d *disk) open() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.grip = &grip{disk: d, gone: make(chan struct{}), logs: map[string]int64{}}
	return &sized{FS: errorfs.Wrap(d.fs, errorfs.InjectorFunc(d.grip.inject)), grip: d.grip}
}

// bare is the disk without its ailments, for a look at it when no node runs.
func (d *disk) bare() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs
}

// crash takes the disk away from its run. Of what was not synced, this part in a hundred is kept.
func (d *disk) crash(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fs = d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: d.rng})
	d.letGo()
}

// image copies the disk as a crash now would leave it, with this part in a hundred of what was not synced.
func (d *disk) image(keep int) *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: d.rng})
}

// replace puts another disk, or an older image of this one, in its place; nil: an empty one.
func (d *disk) replace(fs *vfs.MemFS) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if fs == nil {
		fs = vfs.NewCrashableMem()
	}
	d.fs = fs
	d.letGo()
}

func (d *disk) letGo() {
	if d.grip != nil {
		d.grip.lost = true
		close(d.grip.gone)
		d.grip = nil
	}
}

// ail makes the disk ill, or well with the zero ailment.
func (d *disk) ail(a ailment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ails = a
	close(d.news)
	d.news = make(chan struct{})
}

// change makes the disk ill in one way more, or less.
func (d *disk) change(f func(a *ailment)) {
	d.mu.Lock()
	a := d.ails
	d.mu.Unlock()
	f(&a)
	d.ail(a)
}

// grip is one run's hold on a disk. A run that has crashed goes on for a while on a disk of its own, where nobody
// looks and nothing is slow.
type grip struct {
	disk *disk
	lost bool
	gone chan struct{}    // closed when lost
	logs map[string]int64 // bytes written to each log
}

// youngLog is how long a log is certainly not about to be replaced by the next: the smallest memtable has 256 KiB.
const youngLog = 96 << 10

// young says whether a sync of a log may take time. When a memtable is full Pebble closes the log, and waits for its
// last sync, under a mutex that every writer wants.
func (g *grip) young(log string) bool {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	return g.logs[log] < youngLog
}

func (g *grip) holds() bool {
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	return !g.lost
}

// wrote counts what is written to a log.
func (g *grip) wrote(name string, n int) {
	if !strings.HasSuffix(name, ".log") {
		return
	}
	g.disk.mu.Lock()
	defer g.disk.mu.Unlock()
	g.logs[name] += int64(n)
}

func (g *grip) ailment() (a ailment, failSync, failWrite bool) {
	d := g.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.lost {
		return a, false, false
	}
	a = d.ails
	return a, a.failSync > 0 && d.rng.Float64() < a.failSync, a.failWrite > 0 && d.rng.Float64() < a.failWrite
}

// inject is called before every operation of the file system. Only syncs of the log may take time: whatever else
// Pebble does, it may do while it holds a mutex, and a goroutine that waits for a mutex stops the time of the bubble.
func (g *grip) inject(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		a, fail, _ := g.ailment()
		if strings.HasSuffix(op.Path, ".log") {
			if g.disk.syncing != nil && g.holds() {
				g.disk.syncing()
			}
			if g.young(op.Path) {
				g.wait(a)
			}
		}
		if fail {
			return errDisk
		}
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate:
		if _, _, fail := g.ailment(); fail {
			return errDisk
		}
		if !g.use(writeSize) {
			return syscall.ENOSPC
		}
	}
	return nil
}

// wait lets the time of a sync pass. It ends at once when the disk is well again or the run is over: a store that is
// being closed must not wait.
func (g *grip) wait(a ailment) {
	d := g.disk
	d.mu.Lock()
	news := d.news
	same := d.ails == a && !g.lost
	d.mu.Unlock()
	if !same || !a.stalled && a.slowSync == 0 {
		return
	}
	var over <-chan time.Time
	if !a.stalled {
		timer := time.NewTimer(a.slowSync)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-news:
	case <-g.gone:
	}
}

// writeSize is what one write is taken to use of a full disk's room: what it really is can't be seen here.
const writeSize = 4 << 10

// use takes room on a full disk, if there is that much.
func (g *grip) use(n int64) bool {
	d := g.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.lost || !d.ails.full {
		return true
	}
	if d.ails.room < n {
		return false
	}
	d.ails.room -= n
	return true
}

// sized is a file system that says how much room it has.
type sized struct {
	vfs.FS
	grip *grip
}

func (s *sized) GetDiskUsage(string) (vfs.DiskUsage, error) {
	a, _, _ := s.grip.ailment()
	u := vfs.DiskUsage{TotalBytes: capacity, AvailBytes: capacity / 2, UsedBytes: capacity / 2}
	if a.full {
		u.AvailBytes, u.UsedBytes = uint64(a.room), capacity-uint64(a.room)
	}
	return u, nil
}

// Create is where every log begins.
func (s *sized) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return s.counted(f, name, err)
}

// ReuseForWrite is how an old log becomes a new one.
func (s *sized) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(oldname, newname, c)
	return s.counted(f, newname, err)
}

func (s *sized) counted(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &countedFile{File: f, name: name, grip: s.grip}, nil
}

// countedFile counts what is written.
type countedFile struct {
	vfs.File
	name string
	grip *grip
}

func (f *countedFile) Write(b []byte) (int, error) {
	f.grip.wrote(f.name, len(b))
	return f.File.Write(b)
}

func (s *sized) Unwrap() vfs.FS { return s.FS }
