package storage

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestOpenTwice(t *testing.T) {
	for name, o := range map[string]Options{
		"memory": {FS: vfs.NewMem(), Dir: "/data/node"},
		"disk":   {Dir: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			set := func(to *Options) { to.Dir, to.FS = o.Dir, o.FS }
			s := open(t, nil, set)
			_, err := tryOpen(nil, set)
			var locked *LockedError
			if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) {
				t.Fatalf("got %v", err)
			}
			s.put(t, key("a", ""), s.write("1"))
			mustClose(t, s)
			wantValues(t, open(t, nil, set).get(t, key("a", "")), "1")
		})
	}
}

// Another process finds the directory locked too: the test runs itself again and looks what it says.
func TestOpenInAnotherProcess(t *testing.T) {
	const variable = "STARLING_TEST_LOCKED_DIR"
	if dir := os.Getenv(variable); dir != "" {
		if _, err := tryOpen(nil, func(o *Options) { o.Dir = dir }); !errors.Is(err, ErrLocked) {
			t.Fatalf("got %v", err)
		}
		return
	}
	dir := t.TempDir()
	s := open(t, nil, func(o *Options) { o.Dir = dir })
	child := exec.Command(os.Args[0], "-test.run=^TestOpenInAnotherProcess$")
	child.Env = append(os.Environ(), variable+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.put(t, key("a", ""), s.write("1"))
}

func TestIdentityStays(t *testing.T) {
	fs := vfs.NewMem()
	named := func(o *Options) { o.Name = "one" }
	s := open(t, fs, named)
	id := s.Identity()
	if id.NodeID == (NodeID{}) || id.Name != "one" || id.Adopted() {
		t.Fatalf("got %+v", id)
	}
	must(t, s.Adopt(node(4), "birds"))
	must(t, s.Adopt(node(4), "birds"))
	var cluster *ClusterError
	if err := s.Adopt(node(5), "birds"); !errors.As(err, &cluster) || s.Err() != nil {
		t.Fatalf("got %v", err)
	}
	mustClose(t, s)

	s = open(t, fs)
	want := id
	want.ClusterID, want.Cluster = node(4), "birds"
	if got := s.Identity(); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	mustClose(t, s)
	if got := open(t, fs, func(o *Options) { o.Name = "two" }).Identity(); got.NodeID != id.NodeID || got.Name != "two" {
		t.Fatalf("got %+v", got)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "d", CacheBytes: 1}, {Dir: "d", MaxSiblings: -1}, {Dir: "d", HintBytesTotal: -1}} {
		if s, err := Open(o); err == nil {
			_ = s.Close()
			t.Errorf("%+v was opened", o)
		}
	}
}

func TestClosed(t *testing.T) {
	s := open(t, vfs.NewMem())
	_, c, err := s.Put(context.Background(), Put{Key: key("a", ""), Write: s.write("1"), Sync: true})
	must(t, err)
	mustClose(t, s)
	must(t, c.Wait(context.Background()))
	ctx := context.Background()
	for i, err := range s.refusals(ctx) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	if s.HintStats() != nil || s.Metrics().DiskBytes != 0 {
		t.Error("figures of a closed store")
	}
}

// refusals calls every operation and returns their errors.
func (s *testStore) refusals(ctx context.Context) []error {
	k := key("a", "")
	_, get := s.Get(ctx, k)
	_, _, put := s.Put(ctx, Put{Key: k, Write: s.write("1"), Sync: true})
	_, _, rng := s.Range(ctx, RangeRequest{Bucket: 7})
	_, hints := s.Hints(node(1), nil, 10)
	_, _, state := s.HintState(ctx, Hint{Key: k})
	_, settle := s.SettleHint(ctx, Hint{Key: k}, [16]byte{}, false)
	_, meta := s.Meta("a")
	_, aside := s.SetAside(ctx, AppendKey(nil, k))
	_, mend := s.Mend(ctx, Mend{Key: k})
	return []error{
		aside, mend,
		get, put, rng, hints, state, settle, meta, s.SetMeta("a", nil), s.SetHLCBound(1 << 60),
		s.Merge(ctx, []Merge{{Key: k}})[0], s.Owe(ctx, k, node(1), 1), s.DropBucket(ctx, 7), s.Adopt(node(4), "birds"),
	}
}

// Work whose time is over is not begun, and waiting for a latch ends with the context.
func TestContext(t *testing.T) {
	s := open(t, vfs.NewMem())
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for i, err := range s.refusals(over) {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if len(s.get(t, key("a", "")).Versions) > 0 {
		t.Error("written after the context ended")
	}
	stripe := stripeOf(key("a", "").Token)
	must(t, s.stripes.lock(context.Background(), stripe))
	soon, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	_, _, err := s.Put(soon, Put{Key: key("a", ""), Write: s.write("1")})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := s.DropBucket(soon, 7); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	s.stripes.unlock(stripe)
	s.put(t, key("a", ""), s.write("1"))
}

func TestMeta(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if b, err := s.Meta("doc"); b != nil || err != nil {
		t.Fatalf("got %v, %v", b, err)
	}
	must(t, s.SetMeta("doc", []byte("one")))
	must(t, s.SetMeta("empty", []byte{}))
	must(t, s.SetMeta("gone", []byte("x")))
	must(t, s.SetMeta("gone", nil))
	for _, name := range []string{"", string(make([]byte, 256))} {
		if err := s.SetMeta(name, nil); err == nil {
			t.Errorf("a name of %d bytes was taken", len(name))
		}
	}
	mustClose(t, s)
	s = open(t, fs)
	if b, err := s.Meta("doc"); string(b) != "one" || err != nil {
		t.Fatalf("got %q, %v", b, err)
	}
	if b, err := s.Meta("empty"); b == nil || len(b) != 0 || err != nil {
		t.Fatalf("got %v, %v", b, err)
	}
	if b, err := s.Meta("gone"); b != nil || err != nil {
		t.Fatalf("got %v, %v", b, err)
	}
	s.raw(t, metaKey("doc"), []byte("damaged"))
	var corrupt *CorruptError
	if _, err := s.Meta("doc"); !errors.As(err, &corrupt) {
		t.Fatalf("got %v", err)
	}
}

func TestHLCBound(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if s.HLCBound() != 0 {
		t.Fatal("a new store has a bound")
	}
	must(t, s.SetHLCBound(1000))
	must(t, s.SetHLCBound(500))
	if s.HLCBound() != 1000 {
		t.Fatalf("got %d", s.HLCBound())
	}
	mustClose(t, s)
	if got := open(t, fs).HLCBound(); got != 1000 {
		t.Fatalf("got %d", got)
	}
}

func TestMetrics(t *testing.T) {
	s := open(t, vfs.NewMem())
	for range 5 {
		s.put(t, key("a", ""), s.write("1"))
	}
	m := s.Metrics()
	if m.Fsync.Count == 0 || m.DiskBytes == 0 || m.LogWritten == 0 || m.MemTables == 0 || len(m.Fsync.Buckets) == 0 {
		t.Fatalf("got %+v", m)
	}
}
