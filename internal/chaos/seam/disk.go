package seam

import (
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// capacity is how large the disk says that it is, in bytes. It is half full when it isn't full.
const capacity = 8 << 30

// FS is a file system with the faults of the seams. What an fsync that fails should have written is still there when the
// process is killed, as with a page cache that nobody has emptied.
func (s *Seams) FS(inner vfs.FS) vfs.FS { return &diskFS{FS: inner, seams: s} }

type diskFS struct {
	vfs.FS
	seams *Seams
}

// Unwrap is for Pebble.
func (d *diskFS) Unwrap() vfs.FS { return d.FS }

func (d *diskFS) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, name: name, seams: d.seams}, nil
}

func (d *diskFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.wrap(f, name, err)
}

func (d *diskFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, opts...)
	return d.wrap(f, name, err)
}

func (d *diskFS) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	return d.wrap(f, name, err)
}

func (d *diskFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(oldname, newname, c)
	return d.wrap(f, newname, err)
}

// Remove gives the file's room back.
func (d *diskFS) Remove(name string) error {
	size := int64(0)
	if info, err := d.Stat(name); err == nil && !info.IsDir() {
		size = info.Size()
	}
	err := d.FS.Remove(name)
	if err == nil {
		d.seams.free(size)
	}
	return err
}

func (d *diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	avail := uint64(d.seams.available())
	return vfs.DiskUsage{AvailBytes: avail, TotalBytes: capacity, UsedBytes: capacity - avail}, nil
}

func (s *Seams) available() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Disk.Full {
		return s.room
	}
	return capacity / 2
}

func (s *Seams) free(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = min(s.room+n, capacity/2)
}

// use takes room for n bytes, if there is that much.
func (s *Seams) use(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.Disk.Full {
		return true
	}
	if s.room < int64(n) {
		return false
	}
	s.room -= int64(n)
	return true
}

// diskFile is a file that is written, or a directory.
type diskFile struct {
	vfs.File
	name  string
	seams *Seams
}

func (f *diskFile) fault(op string, errno syscall.Errno) error {
	return &os.PathError{Op: op, Path: f.name, Err: errno}
}

func (f *diskFile) Write(b []byte) (int, error) {
	if !f.seams.use(len(b)) {
		return 0, f.fault("write", syscall.ENOSPC)
	}
	return f.File.Write(b)
}

func (f *diskFile) WriteAt(b []byte, at int64) (int, error) {
	if !f.seams.use(len(b)) {
		return 0, f.fault("write", syscall.ENOSPC)
	}
	return f.File.WriteAt(b, at)
}

func (f *diskFile) Sync() error {
	if err := f.beforeSync(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *diskFile) SyncData() error {
	if err := f.beforeSync(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *diskFile) SyncTo(length int64) (bool, error) {
	if err := f.beforeSync(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

// beforeSync takes the time that an fsync takes and decides whether it fails. A delay ends when the fault does.
func (f *diskFile) beforeSync() error {
	start := time.Now()
	for {
		d, changed := f.seams.disk()
		left := d.SlowSync - time.Since(start)
		if left <= 0 {
			if d.FailSync {
				return f.fault("fsync", syscall.EIO)
			}
			return nil
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		}
		timer.Stop()
	}
}
