package storage

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ballastFile holds room on the disk that is let go when nothing else is left: the write that found the disk full then
// goes on, and a node that is started on a full disk can open its database. It holds no data; losing it, or keeping it
// when it should be gone, costs room and nothing else.
const ballastFile = "ballast"

// ballast is the file. Only release may be called while another method runs.
type ballast struct {
	fs    vfs.FS
	dir   string
	size  uint64 // 0: none is wanted
	fresh bool   // the file is this run's, if it is there

	kept atomic.Bool // the file is there
}

func newBallast(fs vfs.FS, dir string) *ballast { return &ballast{fs: fs, dir: dir} }

func (b *ballast) path() string { return b.fs.PathJoin(b.dir, ballastFile) }

// find sees whether an earlier run has left a ballast. It may be of another size, unfinished, or a copy that holds no
// room: so it is good for a start on a full disk, and made anew once there is room.
func (b *ballast) find(size uint64) {
	b.size = size
	_, err := b.fs.Stat(b.path())
	b.kept.Store(err == nil)
}

// spent reports whether a ballast is wanted and not there.
func (b *ballast) spent() bool { return b.size > 0 && !b.kept.Load() }

// release removes the file, and reports whether there was one. It is safe for concurrent use; the file system calls it
// from within a write, so it must be quick.
func (b *ballast) release() bool {
	if !b.kept.CompareAndSwap(true, false) {
		return false
	}
	return b.fs.Remove(b.path()) == nil
}

// refill makes the file if it is wanted and this run has not made it, in the place of what an earlier one has left. On a
// file system that can't set room aside none is wanted any more.
func (b *ballast) refill() error {
	if b.size == 0 || b.fresh && b.kept.Load() {
		return nil
	}
	b.release()
	err := b.fill()
	if err == nil {
		b.fresh = true
		b.kept.Store(true)
		return nil
	}
	err = fmt.Errorf("make %s of %d bytes: %w", b.path(), b.size, err)
	_ = b.fs.Remove(b.path()) // it may not be there
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EINVAL) {
		b.size = 0
	}
	return err
}

func (b *ballast) fill() error {
	f, err := b.fs.Create(b.path(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = f.Preallocate(0, int64(b.size))
	if err == nil {
		_, err = fmt.Fprintf(f, "starling keeps %d bytes of room in this file and removes it when the disk is full\n", b.size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = syncDir(b.fs, b.dir)
	}
	return err
}
