package seam

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// create makes a file on a disk with seams.
func create(t *testing.T, fs vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestSyncFails(t *testing.T) {
	s := New()
	fs := s.FS(vfs.NewMem())
	f := create(t, fs, "a")
	dir, err := fs.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	syncs := map[string]func() error{
		"Sync": f.Sync, "SyncData": f.SyncData, "directory": dir.Sync,
		"SyncTo": func() error { _, err := f.SyncTo(0); return err },
	}
	for _, broken := range []bool{false, true, false} {
		s.Set(Settings{Disk: Disk{FailSync: broken}})
		for name, sync := range syncs {
			if err := sync(); errors.Is(err, syscall.EIO) != broken || !broken && err != nil {
				t.Errorf("broken: %t: %s: %v", broken, name, err)
			}
		}
	}
}

func TestSyncIsSlow(t *testing.T) {
	s := New()
	f := create(t, s.FS(vfs.NewMem()), "a")
	s.Set(Settings{Disk: Disk{SlowSync: 50 * time.Millisecond}})
	start := time.Now()
	if err := f.Sync(); err != nil || time.Since(start) < 50*time.Millisecond {
		t.Errorf("a slow sync took %v: %v", time.Since(start), err)
	}
	s.Set(Settings{Disk: Disk{SlowSync: time.Hour}})
	done := make(chan error)
	go func() { done <- f.Sync() }()
	select {
	case <-done:
		t.Error("a sync that takes an hour is over")
	case <-time.After(20 * time.Millisecond):
	}
	s.Set(Settings{})
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a sync does not notice that the disk is well")
	}
}

func TestDiskIsFull(t *testing.T) {
	s := New()
	fs := s.FS(vfs.NewMem())
	available := func() uint64 {
		u, err := fs.GetDiskUsage("")
		if err != nil {
			t.Fatal(err)
		}
		return u.AvailBytes
	}
	f := create(t, fs, "a")
	write := func(n int) error { _, err := f.Write(make([]byte, n)); return err }
	if err := write(100); err != nil || available() != capacity/2 {
		t.Fatalf("a sound disk: %v, %d bytes available", err, available())
	}
	s.Set(Settings{Disk: Disk{Full: true, Room: 50}})
	if err := write(40); err != nil || available() != 10 {
		t.Errorf("within the room: %v, %d bytes available", err, available())
	}
	if err := write(11); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("beyond the room: %v", err)
	}
	s.Set(Settings{Disk: Disk{Full: true, Room: 50}, Out: []string{"x"}})
	if available() != 10 {
		t.Errorf("settings of something else give the disk room: %d bytes", available())
	}
	if err := fs.Remove("a"); err != nil || available() != 150 {
		t.Errorf("after a file of 140 bytes was removed: %v, %d bytes available", err, available())
	}
	s.Set(Settings{})
	if err := write(1000); err != nil {
		t.Errorf("a disk that is well again: %v", err)
	}
}
