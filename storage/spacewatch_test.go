package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

const testReserve = 80 << 20

func setFree(mem *vfs.MemFS, free uint64) {
	const total = 4 << 30
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: total, UsedBytes: total - free})
}

func reserved(o *Options) { o.DiskReserve = testReserve }

// openOnDisk opens a store on a disk with room.
func openOnDisk(t *testing.T, mem *vfs.MemFS) *testStore {
	t.Helper()
	setFree(mem, 1<<30)
	return open(t, mem, reserved)
}

func (s *testStore) tryPut(k Key, value string) error {
	_, c, err := s.Put(context.Background(), Put{Key: k, Write: s.write(value), Sync: true})
	if err != nil {
		return err
	}
	return c.Wait(context.Background())
}

func wantFull(t *testing.T, err error) {
	t.Helper()
	var full *DiskFullError
	if !errors.Is(err, ErrDiskFull) || !errors.As(err, &full) {
		t.Fatalf("got %v", err)
	}
	if full.Dir != "/data/node" || full.Reserve != testReserve || full.Free >= full.Reserve*2 {
		t.Errorf("got %+v", full)
	}
}

// Below its reserve a store refuses what grows and nothing else, and goes on by itself.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	s := openOnDisk(t, mem)
	s.space.tick() // makes the ballast
	a := key("a", "")
	first := s.write("x")
	s.put(t, a, first, node(9))
	hints, err := s.Hints(node(9), nil, 10)
	must(t, err)
	state := s.get(t, a)

	setFree(mem, testReserve-1)
	s.space.tick()
	wantFull(t, s.tryPut(a, "y"))
	wantFull(t, s.tryPut(key("new", ""), "y"))
	news := Merge{Key: key("b", ""), State: s.foreign(t, "z"), Sync: true}
	known := Merge{Key: a, State: state, Sync: true}
	errs := s.Merge(ctx, []Merge{news, known})
	wantFull(t, errs[0])
	must(t, errs[1]) // is here already
	hinted := known
	hinted.HintFor = node(8)
	wantFull(t, s.Merge(ctx, []Merge{hinted})[0])
	if r := s.put(t, a, first, node(9)); !r.Repeated { // a retry learns that it is done
		t.Error("not recognized")
	}
	if got := s.Space(); got != (Space{Free: testReserve - 1, Reserve: testReserve, Full: true, Refused: 4}) {
		t.Errorf("got %+v", got)
	}
	wantValues(t, s.get(t, a), "x")
	if len(s.get(t, key("b", "")).Versions)+len(s.get(t, key("new", "")).Versions) > 0 {
		t.Error("refused and written")
	}
	if stats := s.HintStats(); len(stats) != 1 || stats[0].Items != 1 {
		t.Errorf("hints %+v", stats)
	}
	// Small things, and those that give room back.
	must(t, s.SetHLCBound(1<<60))
	must(t, s.SetMeta("doc", []byte("text")))
	must(t, s.Owe(ctx, a, node(7), 5))
	settled, err := s.SettleHint(ctx, hints[0], state.Digest(), false)
	if err != nil || !settled {
		t.Errorf("settled %t, %v", settled, err)
	}
	must(t, s.DropBucket(ctx, 99))

	setFree(mem, testReserve+testReserve/8-1)
	s.space.tick()
	wantFull(t, s.tryPut(a, "y")) // not yet
	setFree(mem, testReserve+testReserve/8)
	s.space.tick()
	must(t, s.tryPut(key("new", ""), "y"))
	mustClose(t, s)
	wantValues(t, open(t, mem, reserved).get(t, key("new", "")), "y")
}

// When most of the reserve is gone records aren't rewritten for hints any more, but those that go may go.
func TestScarceDisk(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	s := openOnDisk(t, mem)
	a, b := key("a", ""), key("b", "")
	s.put(t, a, s.write("x"), node(9))
	s.put(t, b, s.write("x"), node(9))
	hints, err := s.Hints(node(9), nil, 10)
	must(t, err)
	setFree(mem, testReserve/4-1)
	s.space.tick()
	wantFull(t, s.Owe(ctx, a, node(7), 5))
	digest := func(h Hint) [16]byte { return s.get(t, h.Key).Digest() }
	settled, errs := s.SettleHints(ctx, []Settlement{
		{Hint: hints[0], Sent: digest(hints[0])}, {Hint: hints[1], Sent: digest(hints[1]), Drop: true},
	})
	wantFull(t, errs[0])
	if settled[0] || !settled[1] || errs[1] != nil {
		t.Errorf("settled %t, errors %v", settled, errs)
	}
	if left, err := s.Hints(node(9), nil, 10); err != nil || len(left) != 1 || left[0].Key.Token != hints[0].Key.Token {
		t.Errorf("hints %+v, %v", left, err)
	}
	must(t, s.SetHLCBound(1<<60))
	must(t, s.DropBucket(ctx, 7))
}

// A writer can't get past the reserve between two looks, and what only looks like it is looked at again.
func TestWriterCannotOutrunTheLook(t *testing.T) {
	mem := vfs.NewMem()
	s := openOnDisk(t, mem)
	s.space.tick() // makes the ballast
	const value = 1 << 20
	setFree(mem, testReserve+10*value+value/2)
	s.space.look(0)
	write := func(i int) error {
		m := Merge{Key: key(fmt.Sprint(i), ""), State: s.foreign(t, strings.Repeat("v", value))}
		return s.Merge(context.Background(), []Merge{m})[0]
	}
	for i := range 5 {
		must(t, write(i))
	}
	// Nobody ticks. The disk is as full as it must be now; the last value would not fit beside the reserve.
	setFree(mem, testReserve+value/2)
	taken := 0
	for i := range 20 {
		err := write(100 + i)
		if err != nil {
			wantFull(t, err)
			break
		}
		taken++
	}
	if taken > 5 {
		t.Fatalf("%d values were taken between two looks", taken)
	}
	// With room, the count alone refuses nothing.
	s2 := openOnDisk(t, vfs.NewMem())
	for i := range 100 {
		s2.space.wrote(100 << 20)
		s2.put(t, key(fmt.Sprint(i), ""), s2.write("x"))
	}
}

// Where nobody tells how much room there is, or no longer, writes go on.
func TestUnknownSpace(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem, reserved)
	s.put(t, key("a", ""), s.write("x"))
	if got := s.Space(); got != (Space{}) {
		t.Errorf("got %+v", got)
	}
	mustClose(t, s)

	setFree(mem, 0)
	f := &faults{choose: func(op errorfs.Op) bool { return op.Kind == errorfs.OpGetDiskUsage }}
	s = open(t, errorfs.Wrap(mem, f), reserved)
	wantFull(t, s.tryPut(key("b", ""), "x"))
	f.on.Store(true)
	s.space.tick()
	must(t, s.tryPut(key("b", ""), "x"))
	f.on.Store(false)
	s.space.tick()
	wantFull(t, s.tryPut(key("b", ""), "x"))
	must(t, s.Err())
}

// quota is a disk that fills: once it is on, what takes room fails unless the ballast is gone.
type quota struct {
	vfs.FS
	mem *vfs.MemFS
	on  atomic.Bool
	// after is how much room the ballast gives back, in operations.
	after atomic.Int64
}

func newQuota(after int64) *quota {
	q := &quota{mem: vfs.NewCrashableMem()}
	setFree(q.mem, 1<<30)
	q.after.Store(after)
	q.FS = errorfs.Wrap(q.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !q.on.Load() || op.Kind != errorfs.OpFileWrite && op.Kind != errorfs.OpCreate {
			return nil
		}
		if q.keeps() || q.after.Add(-1) < 0 {
			return syscall.ENOSPC
		}
		return nil
	}))
	return q
}

func (q *quota) keeps() bool {
	_, err := q.mem.Stat("/data/node/" + ballastFile)
	return err == nil
}

// A disk that somebody else fills between two looks: the write under way lets the ballast go and takes place, the next is
// refused. The store lives.
func TestBallastSavesAWrite(t *testing.T) {
	q := newQuota(1000)
	s := open(t, q, reserved)
	s.space.tick()
	if !q.keeps() {
		t.Fatal("no ballast")
	}
	s.put(t, key("before", ""), s.write("x"))
	q.on.Store(true)
	setFree(q.mem, 0)
	must(t, s.tryPut(key("during", ""), "x"))
	if q.keeps() {
		t.Error("the ballast is there")
	}
	wantFull(t, s.tryPut(key("after", ""), "x"))
	wantValues(t, s.get(t, key("during", "")), "x")
	must(t, s.Err())
	q.on.Store(false)
	setFree(q.mem, testReserve+testReserve/8) // not enough to make the ballast again and keep the reserve
	s.space.tick()
	wantFull(t, s.tryPut(key("after", ""), "x"))
	setFree(q.mem, 1<<30)
	s.space.tick()
	must(t, s.tryPut(key("after", ""), "x"))
	if !q.keeps() {
		t.Error("the ballast is not made again")
	}
	mustClose(t, s)
	afterCrash(t, q.mem, func(t *testing.T, s *testStore) {
		for _, k := range []string{"before", "during", "after"} {
			wantValues(t, s.get(t, key(k, "")), "x")
		}
	})
}

// Without a ballast, and when it is not enough, a write that finds no room fails the store, as any failed write does.
func TestNoRoomAtAll(t *testing.T) {
	for _, after := range []int64{0, 3} {
		q := newQuota(after)
		s := open(t, q, reserved)
		s.space.tick()
		s.put(t, key("before", ""), s.write("x"))
		q.on.Store(true)
		for i := range 100 {
			if err := s.tryPut(key(fmt.Sprint(i), ""), "x"); err != nil {
				if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("got %v", err)
				}
				break
			}
		}
		if s.Err() == nil {
			t.Error("the store goes on")
		}
		_ = s.Close()
		q.on.Store(false)
		afterCrash(t, q.mem, func(t *testing.T, s *testStore) { wantValues(t, s.get(t, key("before", "")), "x") })
	}
}

// A crash on a full disk: the next start finds no room either, and opens all the same, off the ballast.
func TestOpenOnFullDisk(t *testing.T) {
	q := newQuota(1000)
	s := open(t, q, reserved)
	s.space.tick()
	s.put(t, key("a", ""), s.write(strings.Repeat("x", 100<<10)))
	crashed := q.mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)

	full := newQuota(1000)
	full.mem = crashed
	full.FS = errorfs.Wrap(crashed, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate) && full.keeps() {
			return syscall.ENOSPC
		}
		return nil
	}))
	setFree(crashed, 0)
	if !full.keeps() {
		t.Fatal("the ballast did not survive the crash")
	}
	s = open(t, full, reserved)
	wantFull(t, s.tryPut(key("b", ""), "x"))
	if got := len(values(s.get(t, key("a", "")))); got != 100<<10 {
		t.Errorf("%d bytes", got)
	}
	if full.keeps() {
		t.Error("opened without the ballast's room")
	}
	setFree(crashed, 1<<30)
	s.space.tick()
	must(t, s.tryPut(key("b", ""), "x"))
}

// What an earlier run has left counts as ballast, and is made anew when there is room: it may be a copy without room.
func TestBallastOfAnotherRun(t *testing.T) {
	mem := vfs.NewMem()
	s := openOnDisk(t, mem)
	s.space.tick()
	mustClose(t, s)
	path := "/data/node/" + ballastFile
	f, err := mem.Create(path, vfs.WriteCategoryUnspecified)
	must(t, errors.Join(err, f.Close()))
	size := func() int64 {
		info, err := mem.Stat(path)
		must(t, err)
		return info.Size()
	}
	setFree(mem, testReserve-1)
	s = open(t, mem, reserved)
	if s.space.tick(); s.space.ballast.spent() || size() > 0 {
		t.Errorf("without room: spent %t, %d bytes", s.space.ballast.spent(), size())
	}
	setFree(mem, 1<<30)
	if s.space.tick(); s.space.ballast.spent() || size() == 0 {
		t.Errorf("with room: spent %t, %d bytes", s.space.ballast.spent(), size())
	}
}

// noPreallocate is a file system that can't set room aside.
type noPreallocate struct{ vfs.FS }

type noPreallocateFile struct{ vfs.File }

func (noPreallocateFile) Preallocate(int64, int64) error { return syscall.EOPNOTSUPP }

func (n noPreallocate) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := n.FS.Create(name, c)
	return noPreallocateFile{f}, err
}

// Without a ballast its room isn't held back.
func TestNoBallastWhereRoomCannotBeSetAside(t *testing.T) {
	mem := vfs.NewMem()
	setFree(mem, 1<<30)
	s := open(t, noPreallocate{mem}, reserved)
	s.space.tick()
	if s.space.ballast.spent() || s.space.ballast.kept.Load() {
		t.Error("a ballast is kept or missed")
	}
	setFree(mem, testReserve+1<<10)
	s.space.tick()
	must(t, s.tryPut(key("a", ""), "x"))
}

// While the disk is scarce compactions wait, and don't hold up the close of the store.
func TestCompactionsWaitForRoom(t *testing.T) {
	for _, eased := range []bool{true, false} {
		mem := vfs.NewMem()
		s := openOnDisk(t, mem)
		s.space.tick()
		s.put(t, key("a", ""), s.write("x"))
		must(t, s.db.Flush())
		s.overwrite(t, key("a", ""), "y")
		setFree(mem, 0)
		s.space.tick()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.db.Compact(ctx, []byte{0}, []byte{0xFF}, false) }()
		select {
		case err := <-done:
			t.Fatalf("compacted: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		if eased {
			setFree(mem, 1<<30)
			s.space.tick()
			must(t, <-done)
		}
		must(t, s.Err())
		mustClose(t, s)
		cancel()
		if !eased {
			<-done
		}
	}
}
