package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

func cacheOf(n int64) func(*Options) { return func(o *Options) { o.ItemCacheBytes = n } }

// checkCache compares what the cache would show with what the database holds, while nobody writes.
func (s *testStore) checkCache(t testing.TB) (shown int) {
	t.Helper()
	var size int64
	for i := range s.cache.shards {
		sh := &s.cache.shards[i]
		if sh.version%2 != 0 {
			t.Errorf("shard %d: version %d, though nobody writes", i, sh.version)
		}
		shown += len(sh.index)
		size += sh.bytes
		inRing, linked := int64(0), 0
		for at := sh.slots[0].next; at != 0; at = sh.slots[at].next {
			k := sh.slots[at].kept
			inRing += k.size()
			linked++
			if there, found := sh.find(sh.slots[at].hash, k.key()); !found || there != at {
				t.Errorf("key %x is not in the index", k.key())
			}
			value, err := s.read(k.key())
			must(t, err)
			if !bytes.Equal(value, k.value()) {
				t.Errorf("key %x: the cache shows %d bytes that the database doesn't have", k.key(), len(k.value()))
			}
			if r, err := decodeRecord(k.key(), value); err != nil || r.state.Digest() != k.digest {
				t.Errorf("key %x: digest %v kept, record %+v, %v", k.key(), k.digest, r, err)
			}
		}
		if linked != len(sh.index) || linked+len(sh.free)+1 != len(sh.slots) {
			t.Errorf("shard %d: %d in the ring, %d in the index, %d free, of %d", i, linked, len(sh.index), len(sh.free), len(sh.slots))
		}
		if inRing != sh.bytes || inRing > s.cache.limit {
			t.Errorf("shard %d: %d bytes in the ring, %d counted, %d allowed", i, inRing, sh.bytes, s.cache.limit)
		}
	}
	if have := s.cache.bytes.Load(); have != size {
		t.Errorf("%d bytes counted, %d there", have, size)
	}
	return shown
}

// What was read or written is shown without asking the database, whichever way it came in, and only as long as it is so.
func TestCacheShowsWhatIsStored(t *testing.T) {
	s := open(t, vfs.NewMem(), cacheOf(8<<20))
	k := key("p", "a")
	s.put(t, k, s.write("one"))
	before := s.cache.hits.Load()
	wantValues(t, s.get(t, k), "one")
	if s.cache.hits.Load() == before {
		t.Error("what was written last was looked up in the database")
	}
	s.overwrite(t, k, "two")
	wantValues(t, s.get(t, k), "two")
	s.merge(t, Merge{Key: k, State: s.foreign(t, "three"), HintFor: node(1), Sync: true})
	wantValues(t, s.get(t, k), "two,three")
	if d, _, err := s.Digest(k); err != nil || d != s.get(t, k).Digest() {
		t.Errorf("digest %v, %v", d, err)
	}
	hints := s.hints(t, node(1))
	if settled, err := s.SettleHint(context.Background(), hints[0], s.get(t, k).Digest(), true); err != nil || !settled {
		t.Fatalf("settled %v: %v", settled, err)
	}
	wantValues(t, s.get(t, k), "")
	s.put(t, k, s.write("four"))
	s.checkCache(t)
	must(t, s.DropBucket(context.Background(), k.Bucket))
	wantValues(t, s.get(t, k), "")
	if shown := s.checkCache(t); shown != 0 {
		t.Errorf("%d items of a bucket that was dropped", shown)
	}
}

func TestCacheOff(t *testing.T) {
	s := open(t, vfs.NewMem(), cacheOf(-1))
	s.put(t, key("p", "a"), s.write("one"))
	wantValues(t, s.get(t, key("p", "a")), "one")
	s.overwrite(t, key("p", "a"), "two")
	wantValues(t, s.get(t, key("p", "a")), "two")
	must(t, s.DropBucket(context.Background(), 7))
	wantValues(t, s.get(t, key("p", "a")), "")
	if m := s.Metrics(); m.ItemCacheBytes != 0 {
		t.Errorf("%+v", m)
	}
}

// The cache keeps to its bytes, and leaves out what would take much of them.
func TestCacheBound(t *testing.T) {
	s := open(t, vfs.NewMem(), cacheOf(4<<20))
	for i := range 8000 {
		s.put(t, key(fmt.Sprint(i), ""), causal.Write{Value: make([]byte, i%1200)})
		if i%1000 == 0 {
			s.checkCache(t)
		}
	}
	if shown := s.checkCache(t); shown < 1000 {
		t.Errorf("%d items shown", shown)
	}
	big := key("big", "")
	s.put(t, big, causal.Write{Value: make([]byte, 4<<10)})
	s.get(t, big)
	if _, _, found := s.cache.get(stripeOf(big.Token), AppendKey(nil, big)); found {
		t.Error("an item as large as many others together is in it")
	}
}

// Readers never see less than what was written before they began, nor less than another reader saw before, while writers,
// readers that bring old records in, and evictions meet in few slots.
func TestCacheUnderWriters(t *testing.T) {
	const items, rounds = 12, 400
	// Room for some of them: items of one partition key meet in one shard.
	s := open(t, vfs.NewMem(), cacheOf(stripeCount*4096))
	var floor [items]atomic.Uint64
	keys := make([]Key, items)
	for i := range keys {
		keys[i] = key("p", fmt.Sprint(i))
	}
	newest := func(state causal.State) uint64 {
		if len(state.Versions) == 0 {
			return 0
		}
		return binary.BigEndian.Uint64(state.Versions[0].Value)
	}
	var writers, readers sync.WaitGroup
	var stop atomic.Bool
	for w := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for n := range rounds {
				i := r.IntN(items/2)*2 + w // its own items
				v := uint64(n + 1)
				value := binary.BigEndian.AppendUint64(nil, v)
				_, c, err := s.Put(context.Background(), Put{Key: keys[i], Policy: causal.LastWriteWins, Write: causal.Write{Value: value}, Sync: n%50 == 0})
				if err == nil {
					err = c.Wait(context.Background())
				}
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				floor[i].Store(v)
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				i := n % items
				before := floor[i].Load()
				state, _, err := s.Read(keys[i])
				if got := newest(state); err != nil || got < before {
					t.Errorf("item %d: read %d after %d was there: %v", i, got, before, err)
					return
				}
				for { // what one has seen all others must see
					now := floor[i].Load()
					if now >= newest(state) || floor[i].CompareAndSwap(now, newest(state)) {
						break
					}
				}
				if _, _, err := s.Digest(keys[i]); err != nil {
					t.Errorf("digest: %v", err)
					return
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	s.checkCache(t)
	if s.cache.hits.Load() == 0 || s.cache.misses.Load() == 0 {
		t.Errorf("%d hits, %d misses: not what this test is for", s.cache.hits.Load(), s.cache.misses.Load())
	}
}

// A reader that is overtaken by a writer doesn't bring what it read back.
func TestCacheOvertakenReader(t *testing.T) {
	s := open(t, vfs.NewMem(), cacheOf(8<<20))
	k := key("p", "a")
	s.put(t, k, s.write("old"))
	stripe, dbKey := stripeOf(k.Token), AppendKey(nil, k)
	s.cache.remove(&s.cache.shards[stripe], dbKey)
	_, _, _, err := s.cache.load(stripe, dbKey, func(key []byte) ([]byte, error) {
		old, err := s.read(key)
		s.put(t, k, s.write("new"))
		return old, err
	})
	must(t, err)
	if n := len(s.get(t, k).Versions); n != 2 {
		t.Errorf("%d versions, not both", n)
	}
	s.checkCache(t)
	if _, _, found, err := s.cache.load(stripe, dbKey, nil); err != nil || !found {
		t.Error(err)
	}
}

// Nor does one that reads while a writer is between the database and the cache.
func TestCacheReaderAmidWriter(t *testing.T) {
	s := open(t, vfs.NewMem(), cacheOf(8<<20))
	k := key("p", "a")
	stripe, dbKey := stripeOf(k.Token), AppendKey(nil, k)
	shown := func() bool {
		_, _, found := s.cache.get(stripe, dbKey)
		return found
	}
	s.put(t, k, s.write("old"))
	b := s.newBatch()
	b.changes = append(b.changes, change{stripe: stripe, kept: keep(dbKey, []byte("whatever"), causal.Digest{})})
	fails := errors.New("no")
	err := s.visibly(b, func() error {
		if shown() {
			t.Error("shown while it changes")
		}
		wantValues(t, s.get(t, k), "old")
		if shown() {
			t.Error("brought in while it changes")
		}
		return fails
	})
	if !errors.Is(err, fails) || shown() {
		t.Errorf("%v; shown after a failure: %v", err, shown())
	}
	must(t, b.Close())
	s.checkCache(t)
}

// What is used is kept, what isn't makes room.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := newCache(stripeCount * 8 * (keptOverhead + 1))
	for i := range 100 {
		c.put(0, 0, keep([]byte{byte(i)}, nil, causal.Digest{}))
		if _, _, found := c.get(0, []byte{0}); !found {
			t.Fatalf("the first is gone after %d others, though it was used each time", i)
		}
	}
	for i := range 100 {
		if _, _, found := c.get(0, []byte{byte(i)}); found != (i == 0 || i >= 93) {
			t.Errorf("entry %d is there: %v", i, found)
		}
	}
	if n := len(c.shards[0].slots); n > 10 {
		t.Errorf("%d slots for 8 entries: those that are free are not used again", n)
	}
}

// Of two keys with one hash the cache keeps one, and never shows the other's record.
func TestCacheCollision(t *testing.T) {
	c := newCache(8 << 20)
	sh := &c.shards[0]
	c.put(0, 0, keep([]byte("a"), []byte("of a"), causal.Digest{1}))
	hash := maphash.Bytes(c.seed, []byte("b"))
	at := sh.index[maphash.Bytes(c.seed, []byte("a"))]
	sh.index = map[uint64]int32{hash: at} // as if both had it
	sh.slots[at].hash = hash
	if k, _, found := c.get(0, []byte("b")); found {
		t.Fatalf("b is shown %q", k.value())
	}
	c.put(0, 0, keep([]byte("b"), []byte("of b"), causal.Digest{2}))
	k, _, found := c.get(0, []byte("b"))
	if !found || string(k.value()) != "of b" || len(sh.index) != 1 || sh.bytes != k.size() || c.bytes.Load() != k.size() {
		t.Errorf("b: %v %q, %d in the index, %d bytes", found, k.value(), len(sh.index), sh.bytes)
	}
}
