package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faults makes operations of a file system fail once it is switched on.
type faults struct {
	on     atomic.Bool
	choose func(op errorfs.Op) bool
}

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	if f.on.Load() && f.choose(op) {
		return errorfs.ErrInjected
	}
	return nil
}

// A failed fsync of the log: the write is not acknowledged, and the store refuses everything after, says
// why, and closes. After a restart on a sound disk all is there that was acknowledged before.
func TestFailedFsync(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f := &faults{choose: func(op errorfs.Op) bool {
		return strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
	}}
	s := open(t, errorfs.Wrap(mem, f))
	s.put(t, key("before", ""), s.write("x"))
	f.on.Store(true)
	_, c, err := s.Put(context.Background(), Put{Key: key("after", ""), Write: s.write("y"), Sync: true})
	if err == nil {
		err = c.Wait(context.Background())
	}
	var failed *FailedError
	if !errors.Is(err, ErrFailed) || !errors.As(err, &failed) || !errors.Is(err, errorfs.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	select {
	case <-s.Failed():
	default:
		t.Fatal("not announced")
	}
	f.on.Store(false) // a disk that recovers changes nothing
	for i, err := range s.refusals(context.Background()) {
		if !errors.Is(err, ErrFailed) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v", err)
	}
	afterCrash(t, mem, func(t *testing.T, s *testStore) { wantValues(t, s.get(t, key("before", "")), "x") })
	wantValues(t, open(t, mem).get(t, key("before", "")), "x")
}

// The disk fails at every one of its operations in turn, for good or just once, while writers write enough
// for log rotations, flushes and compactions. Wherever it is: the process lives, no operation hangs, Close
// returns, nothing leaks, and after a restart everything is there that was acknowledged.
func TestEveryFault(t *testing.T) {
	const most = 4000
	failedRuns := 0
	for nth := int64(1); nth < most; nth += 1 + nth/4 {
		if !faultRun(t, nth, failedRuns%2 == 0) {
			t.Logf("the load has fewer than %d operations; the store failed in %d runs", nth, failedRuns)
			if failedRuns < 12 {
				t.Error("too few runs failed to prove anything")
			}
			return
		}
		failedRuns++
	}
	t.Logf("the store failed in %d runs", failedRuns)
}

// faultRun makes the nth operation fail, and unless once all after it. It returns false if the load ended
// before.
func faultRun(t *testing.T, nth int64, once bool) bool {
	t.Helper()
	mem := vfs.NewCrashableMem()
	var count atomic.Int64
	f := &faults{choose: func(op errorfs.Op) bool {
		switch op.Kind {
		case errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpStat, errorfs.OpFileStat, errorfs.OpList,
			errorfs.OpOpen, errorfs.OpGetDiskUsage, errorfs.OpFileClose, errorfs.OpFilePreallocate, errorfs.OpLock:
			return false
		}
		n := count.Add(1)
		return n == nth || n > nth && !once
	}}
	s := open(t, errorfs.Wrap(mem, f))
	f.on.Store(true)
	acknowledged := loadUntilFailure(t, s)
	err := s.Close() // which writes, too
	failed := s.Err() != nil
	if (err != nil) != failed {
		t.Fatalf("operation %d: failed %t, close: %v", nth, failed, err)
	}
	afterCrash(t, mem, func(t *testing.T, s *testStore) {
		for k := range acknowledged {
			at, err := DecodeKey([]byte(k))
			must(t, err)
			if len(s.get(t, at).Versions) != 1 {
				t.Fatalf("operation %d: %q was acknowledged and is lost", nth, k)
			}
		}
		s.put(t, key("new", ""), s.write("x"))
	})
	return failed
}

// loadUntilFailure writes from several goroutines until the store fails, or enough is written, and returns
// the keys acknowledged.
func loadUntilFailure(t *testing.T, s *testStore) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	value := strings.Repeat("v", 30<<10)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 12 {
				k := key(fmt.Sprint(w), fmt.Sprint(i))
				err := s.Merge(context.Background(), []Merge{{Key: k, State: s.foreign(t, value), Sync: true}})[0]
				if err == nil {
					mu.Lock()
					acknowledged[string(AppendKey(nil, k))] = true
					mu.Unlock()
					continue
				}
				if !errors.Is(err, ErrFailed) {
					t.Errorf("got %v", err)
				}
				return
			}
		})
	}
	wg.Wait()
	return acknowledged
}

// When flushes fail, Pebble holds writers up until one succeeds. They must not wait for ever, and Close with
// them.
func TestFailedFlushLetsWritersGo(t *testing.T) {
	mem := vfs.NewMem()
	f := &faults{choose: func(op errorfs.Op) bool { return isTable(op.Path) && op.Kind.ReadOrWrite() == errorfs.OpIsWrite }}
	s := open(t, errorfs.Wrap(mem, f))
	f.on.Store(true)
	value := strings.Repeat("v", 300<<10)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			m := Merge{Key: key(fmt.Sprint(i), ""), State: s.foreign(t, value), Sync: true}
			if err := s.Merge(context.Background(), []Merge{m})[0]; err != nil && !errors.Is(err, ErrFailed) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	<-s.Failed()
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v", err)
	}
}

// A disk that fails when the directory is opened is an error of Open, at every one of its operations.
func TestFaultsDuringOpen(t *testing.T) {
	for nth := int64(1); ; nth++ {
		var count atomic.Int64
		f := &faults{choose: func(op errorfs.Op) bool {
			return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose &&
				op.Kind != errorfs.OpFilePreallocate && op.Kind != errorfs.OpRemove && count.Add(1) == nth
		}}
		f.on.Store(true)
		mem := vfs.NewMem()
		s, err := tryOpen(errorfs.Wrap(mem, f))
		f.on.Store(false)
		if err == nil {
			done := count.Load() < nth
			_ = s.Close()
			if done {
				return
			}
			continue // a failure that doesn't matter, or that came after the start
		}
		// It leaves a directory that opens once the disk is sound again.
		mustClose(t, open(t, mem))
	}
}

// A table that lost a bit on disk fails the store: it never answers from it, nor as if the item weren't
// there.
func TestCorruptTable(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	k := key("a", "")
	s.put(t, k, s.write(strings.Repeat("x", 1000)))
	must(t, s.db.Flush())
	mustClose(t, s)
	damageTables(t, mem)
	s, err := tryOpen(mem)
	if err != nil {
		return // noticed even earlier
	}
	defer s.Close()
	if state, err := s.Get(context.Background(), k); err == nil {
		t.Fatalf("got %+v", state)
	}
	if s.Err() == nil {
		t.Error("the store goes on")
	}
}

func damageTables(t *testing.T, mem *vfs.MemFS) {
	t.Helper()
	names, err := mem.List("/data/node/" + databaseIn)
	must(t, err)
	for _, name := range names {
		if isTable(name) {
			f, err := mem.OpenReadWrite("/data/node/"+databaseIn+"/"+name, vfs.WriteCategoryUnspecified)
			must(t, err)
			_, err = f.WriteAt([]byte{0xA5, 0x5A}, 40)
			must(t, errors.Join(err, f.Close()))
		}
	}
}

// A disk that fails while the store is being opened, whichever operation it is that fails first: Open returns, in time, and
// what it returns can be closed. There is enough to compact that Pebble begins at once.
func TestDiskFailsInOpen(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := open(t, mem)
	for i := range 4 {
		for k := range 20 {
			s.put(t, key(fmt.Sprint(k), ""), s.write(fmt.Sprint(i)))
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for nth := range 60 {
		var count atomic.Int64
		f := &faults{choose: func(op errorfs.Op) bool {
			switch op.Kind.ReadOrWrite() {
			case errorfs.OpIsWrite:
				return count.Add(1) > int64(nth)
			default:
				return false
			}
		}}
		f.on.Store(true)
		disk := after.CrashClone(vfs.CrashCloneCfg{})
		done := make(chan error, 1)
		go func() {
			s, err := tryOpen(errorfs.Wrap(disk, f))
			if err == nil {
				err = s.Close()
			}
			done <- err
		}()
		select {
		case <-done: // with an error or without: it depends on what failed
		case <-time.After(time.Minute):
			t.Fatalf("Open hangs when the disk fails at write %d", nth)
		}
	}
}
