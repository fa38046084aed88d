package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/starling-db/starling/causal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the time at which every test begins.
const start = int64(1_700_000_000_000)

// fakeTime is a clock that moves only when told to.
type fakeTime struct{ ms atomic.Int64 }

func newFakeTime() *fakeTime {
	f := &fakeTime{}
	f.ms.Store(start)
	return f
}

func (f *fakeTime) now() time.Time          { return time.UnixMilli(f.ms.Load()) }
func (f *fakeTime) advance(d time.Duration) { f.ms.Add(d.Milliseconds()) }

// seeded is a reader of reproducible random bytes. Not safe for concurrent use: nor need it be.
func seeded(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// testSeeds makes each store of a test run draw other ids, actors and boot ids.
var testSeeds atomic.Uint64

type testStore struct {
	*Store
	clock *causal.Clock
	time  *fakeTime
}

// open opens a store on fs with a fake clock; it is closed when the test ends, if the test didn't.
func open(t testing.TB, fs vfs.FS, change ...func(*Options)) *testStore {
	t.Helper()
	ts, err := tryOpen(fs, change...)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := ts.Close(); err != nil && err != ErrClosed && ts.Err() == nil {
			t.Errorf("close: %v", err)
		}
	})
	return ts
}

func tryOpen(fs vfs.FS, change ...func(*Options)) (*testStore, error) {
	o := Options{
		Dir: "/data/node", FS: fs, Rand: seeded(testSeeds.Add(1)), Logger: slog.New(slog.DiscardHandler),
		CacheBytes: 1 << 20, MemTableBytes: 1 << 20,
	}
	for _, c := range change {
		c(&o)
	}
	s, err := Open(o)
	if err != nil {
		return nil, err
	}
	ts := &testStore{Store: s, time: newFakeTime()}
	ts.clock = causal.NewClock(ts.time.now, 500*time.Millisecond, s.HLCBound())
	ts.clock.Raise(causal.MaxHLC)
	s.UseClock(ts.clock)
	return ts, nil
}

func mustClose(t testing.TB, s *testStore) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// key returns an item's key; its token is a hash of the partition, as the ring's would be.
func key(partition, sort string) Key { return bucketKey(7, partition, sort) }

func bucketKey(bucket uint64, partition, sort string) Key {
	token := uint64(14695981039346656037)
	for _, c := range []byte(partition) {
		token = (token ^ uint64(c)) * 1099511628211
	}
	token = (token ^ token>>32) * 0xff51afd7ed558ccd // so that the high bits, which name leaf and latch, differ too
	return Key{Bucket: bucket, Token: token, Partition: []byte(partition), Sort: []byte(sort)}
}

// write returns a write of value with a fresh request id.
func (s *testStore) write(value string) causal.Write {
	id, err := causal.NewRequestID(s.time.ms.Load(), seeded(testSeeds.Add(1)))
	if err != nil {
		panic(err)
	}
	return causal.Write{RequestID: id, Value: []byte(value)}
}

// put writes a value durably and returns what came of it.
func (s *testStore) put(t testing.TB, k Key, w causal.Write, hintFor ...NodeID) PutResult {
	t.Helper()
	r, c, err := s.Put(context.Background(), Put{Key: k, Write: w, Sync: true, HintFor: hintFor, Epoch: 5})
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	if err := c.Wait(context.Background()); err != nil {
		t.Fatalf("wait: %v", err)
	}
	return r
}

// overwrite puts a value that replaces all that is there.
func (s *testStore) overwrite(t testing.TB, k Key, value string) PutResult {
	t.Helper()
	w := s.write(value)
	w.Context = s.get(t, k).Context()
	return s.put(t, k, w)
}

func (s *testStore) get(t testing.TB, k Key) causal.State {
	t.Helper()
	state, err := s.Get(context.Background(), k)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return state
}

func (s *testStore) merge(t testing.TB, m Merge) {
	t.Helper()
	if err := s.Merge(context.Background(), []Merge{m})[0]; err != nil {
		t.Fatalf("merge: %v", err)
	}
}

// foreign makes a state as another node would: one version with an actor of its own.
func (s *testStore) foreign(t testing.TB, value string) causal.State {
	t.Helper()
	h, err := s.clock.Now()
	if err != nil {
		t.Fatal(err)
	}
	state, _ := causal.Mint(causal.Siblings, causal.State{}, causal.Actor(testSeeds.Add(1)), h, s.write(value))
	return state
}

// values returns the values of a state in the order of their dots, joined.
func values(s causal.State) string {
	var parts [][]byte
	for _, v := range s.Versions {
		parts = append(parts, v.Value)
	}
	return string(bytes.Join(parts, []byte(",")))
}

func wantValues(t testing.TB, s causal.State, want string) {
	t.Helper()
	if got := values(s); got != want {
		t.Fatalf("values %q, want %q", got, want)
	}
}

func node(b byte) NodeID { return NodeID{0: b, 15: b} }

// raw overwrites what is stored under a key, behind the store's back.
func (s *testStore) raw(t testing.TB, key, value []byte) {
	t.Helper()
	b := s.newBatch()
	b.all = true
	if err := b.Set(key, value, nil); err != nil {
		t.Fatal(err)
	}
	c, err := s.apply(b, true, metaStripe)
	if err == nil {
		err = s.await(context.Background(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
}
