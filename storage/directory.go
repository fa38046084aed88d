package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
)

const (
	lockFile   = "LOCK"
	databaseIn = "db"
)

// directory is the data directory, locked, with its identity file.
type directory struct {
	fs   vfs.FS
	path string
	lock io.Closer

	identity atomic.Pointer[identityRecord]
	mu       sync.Mutex // held while the file is written, by writers alone
}

// openDirectory makes the directory if need be, locks it, and reads its identity or draws one.
func openDirectory(o Options) (*directory, error) {
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("storage: make data directory %s: %w", o.Dir, err)
	}
	lock, err := o.FS.Lock(o.FS.PathJoin(o.Dir, lockFile))
	if err != nil {
		if isLocked(err) {
			return nil, &LockedError{Dir: o.Dir, Err: err}
		}
		return nil, fmt.Errorf("storage: lock data directory %s: %w", o.Dir, err)
	}
	d := &directory{fs: o.FS, path: o.Dir, lock: lock}
	if err := d.identify(o); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// isLocked tells a held lock from an unusable file: fcntl reports the first as a bare errno, and vfs has no
// type for a lock held by this process.
func isLocked(err error) bool {
	var path *fs.PathError
	if errors.As(err, &path) {
		return false
	}
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held")
}

// identify reads the identity, or draws one for a directory that holds no database.
func (d *directory) identify(o Options) error {
	r, err := d.read()
	switch {
	case err == nil && (o.Name == "" || o.Name == r.Name):
		d.identity.Store(&r)
		return nil
	case err == nil:
		r.Name = o.Name
		return d.write(r)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := d.fs.Stat(d.fs.PathJoin(d.path, databaseIn)); err == nil {
		return &IdentityError{Path: d.file(), Detail: "the file is missing, but there is a database beside it"}
	}
	id, err := uuid.NewRandomFromReader(o.Rand)
	if err != nil {
		return fmt.Errorf("storage: draw a node id: %w", err)
	}
	return d.write(identityRecord{Identity: Identity{Format: Format, NodeID: NodeID(id), Name: o.Name}})
}

func (d *directory) file() string { return d.fs.PathJoin(d.path, identityFile) }

func (d *directory) read() (identityRecord, error) {
	f, err := d.fs.Open(d.file())
	if err != nil {
		return identityRecord{}, fmt.Errorf("storage: open %s: %w", d.file(), err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, identityLimit+1))
	if err != nil {
		return identityRecord{}, fmt.Errorf("storage: read %s: %w", d.file(), err)
	}
	if len(b) > identityLimit {
		return identityRecord{}, &IdentityError{Path: d.file(), Detail: "the file is too long"}
	}
	return decodeIdentity(d.file(), b)
}

// write replaces the file: whole, by a rename, durable when it returns.
func (d *directory) write(r identityRecord) error {
	if err := d.replace(r.encode()); err != nil {
		return fmt.Errorf("storage: write %s: %w", d.file(), err)
	}
	d.identity.Store(&r)
	return nil
}

func (d *directory) replace(b []byte) error {
	temporary := d.file() + ".new"
	f, err := d.fs.Create(temporary, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(temporary, d.file()); err != nil {
		return err
	}
	return syncDir(d.fs, d.path)
}

// update changes the identity durably, unless change refuses.
func (d *directory) update(change func(*identityRecord) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := *d.identity.Load()
	if err := change(&r); err != nil || r == *d.identity.Load() {
		return err
	}
	return d.write(r)
}

// makeDir makes path and what is missing above it, each durable in the directory it is in.
func makeDir(fs vfs.FS, path string) error {
	var missing []string
	for p := path; ; p = fs.PathDir(p) {
		if _, err := fs.Stat(p); err == nil || p == fs.PathDir(p) {
			break
		}
		missing = append(missing, p)
	}
	if err := fs.MkdirAll(path, 0o750); err != nil {
		return err
	}
	for _, p := range missing {
		if err := syncDir(fs, fs.PathDir(p)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, path string) error {
	d, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
