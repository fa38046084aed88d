package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// freezeFS stands between Pebble and the disk and turns the first change that fails into the failure of the
// store. Pebble itself can't be asked to: an error of the log reaches the writers that wait, but when the
// log is rotated, or its next file created, Pebble panics with a mutex unlocked twice, which nothing can
// recover; it panics too when a marker file can't be moved; a failed MANIFEST goes to Logger.Fatalf and
// counts on not coming back; and a flush that failed is tried again at once, for ever.
//
// So once the store has failed the files stay as they are, as if the machine had stopped then, and Pebble is
// told that its changes went well. Nobody is misled: the store's own verdict is set before Pebble hears
// anything, and every operation looks at it before it answers. What the directory holds is what a crash
// leaves, and that is what the next Open is made for.
//
// Tables are the exception: Pebble reads them back, so their errors are passed on, which it takes well, and
// tries again. The table of a flush is then made in memory, as a writer may be held up until the flush is
// done, and with it the store's Close; there are no more of them than memtables. Compactions
// fail, and the scheduler begins no more.
type freezeFS struct {
	vfs.FS
	h *health
	// space is told of what is written to tables.
	space *spaceWatch
	// memory holds, by base name, the tables made after the failure.
	memory *vfs.MemFS
}

func newFreezeFS(fs vfs.FS, h *health, space *spaceWatch) *freezeFS {
	return &freezeFS{FS: fs, h: h, space: space, memory: vfs.NewMem()}
}

// flushCategory is what Pebble calls the writing of a flush.
const flushCategory = "pebble-memtable-flush"

var errFrozen = errors.New("storage: the files are frozen after a failure")

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// change does one change of a file or directory, unless frozen.
func (f *freezeFS) change(op, name string, do func() error) error {
	if f.h.frozen() {
		return f.verdict(name, errFrozen)
	}
	err := do()
	if err == nil {
		return nil
	}
	_ = f.h.fail(fmt.Errorf("%s %s: %w", op, name, err))
	return f.verdict(name, err)
}

// verdict is what Pebble is told of a change that was not made.
func (f *freezeFS) verdict(name string, err error) error {
	if isTable(name) {
		return err
	}
	return nil
}

// open is change for what returns a file. Where Pebble is told of a success there must be a file: an empty
// one in memory, which freezeFile never writes to.
func (f *freezeFS) open(op, name string, do func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.change(op, name, func() (err error) {
		file, err = do()
		return err
	})
	if err != nil {
		return nil, err
	}
	if file == nil || f.h.frozen() {
		if file != nil {
			_ = file.Close()
		}
		file = vfs.NewMemFile(nil)
	}
	return &freezeFile{File: file, fs: f, name: name}, nil
}

func (f *freezeFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if isTable(name) && f.h.frozen() {
		if c == flushCategory {
			return f.memory.Create(f.PathBase(name), c)
		}
		return nil, errFrozen
	}
	return f.open("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

// Open opens a file for reading.
func (f *freezeFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if isTable(name) && f.h.frozen() {
		if file, err := f.memory.Open(f.PathBase(name), o...); err == nil {
			return file, nil
		}
	}
	return f.FS.Open(name, o...)
}

func (f *freezeFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.open("open", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *freezeFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("reuse", newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *freezeFS) OpenDir(name string) (vfs.File, error) {
	return f.open("open", name, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *freezeFS) Link(oldname, newname string) error {
	return f.change("link", newname, func() error { return f.FS.Link(oldname, newname) })
}

func (f *freezeFS) Rename(oldname, newname string) error {
	return f.change("rename", newname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f *freezeFS) MkdirAll(dir string, perm os.FileMode) error {
	return f.change("make", dir, func() error { return f.FS.MkdirAll(dir, perm) })
}

// Remove and RemoveAll pass errors on: a file that stays costs room, not data.
func (f *freezeFS) Remove(name string) error {
	if f.h.frozen() {
		return nil
	}
	return f.FS.Remove(name)
}

func (f *freezeFS) RemoveAll(name string) error {
	if f.h.frozen() {
		return nil
	}
	return f.FS.RemoveAll(name)
}

// GetDiskUsage hides its errors, which Pebble would report as failures of its background work.
func (f *freezeFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	u, err := f.FS.GetDiskUsage(path)
	if err != nil {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	return u, nil
}

// Unwrap returns the file system below.
func (f *freezeFS) Unwrap() vfs.FS { return f.FS }

// freezeFile is a file, or directory, opened for changes.
type freezeFile struct {
	vfs.File
	fs   *freezeFS
	name string
}

// Write counts what goes into tables. What goes into the log is counted when it is let in.
func (f *freezeFile) Write(p []byte) (int, error) {
	if isTable(f.name) {
		f.fs.space.wrote(len(p))
	}
	return len(p), f.fs.change("write", f.name, func() error {
		_, err := f.File.Write(p)
		return err
	})
}

func (f *freezeFile) WriteAt(p []byte, off int64) (int, error) {
	return len(p), f.fs.change("write", f.name, func() error {
		_, err := f.File.WriteAt(p, off)
		return err
	})
}

func (f *freezeFile) Sync() error     { return f.fs.change("sync", f.name, f.File.Sync) }
func (f *freezeFile) SyncData() error { return f.fs.change("sync", f.name, f.File.SyncData) }

func (f *freezeFile) SyncTo(length int64) (full bool, err error) {
	err = f.fs.change("sync", f.name, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f *freezeFile) Preallocate(offset, length int64) error {
	if f.fs.h.frozen() {
		return nil
	}
	return f.File.Preallocate(offset, length)
}

// Close closes the file even when frozen: the descriptor must go.
func (f *freezeFile) Close() error {
	err := f.File.Close()
	if err == nil || errors.Is(err, fs.ErrClosed) {
		return err
	}
	return f.fs.change("close", f.name, func() error { return err })
}
