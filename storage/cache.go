package storage

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/starling-db/starling/causal"
)

// cache keeps records that were read or written lately, as Cassandra's row cache does: most operations ask for few of all
// items, and a look-up in Pebble is a walk through its memtables and tables, a cache miss of the processor at every step.
//
// It never shows a record older than what Pebble would. The holder of the latch takes an item's record out before a change
// of it can be seen in Pebble, and puts the new one in when it is. In between, and since, nobody who looked the item up
// before may bring in what he found: each shard has a version, odd while a writer is at it, and a record comes in only if
// that is even and still what it was when the look-up began. A shard is a stripe's, so that one latch orders its writers.
//
// A record is kept as its encoding, next to its key in one block, and decoded for whoever asks: to keep what it decodes to
// would be ten times as many objects for the garbage collector to follow, again and again, as there are items.
type cache struct {
	shards []shard // by stripe; none: nothing is kept
	limit  int64   // of each shard, in bytes
	seed   maphash.Seed
	bytes  atomic.Int64

	hits, misses atomic.Int64
}

// shard keeps what was used last.
type shard struct {
	mu      sync.Mutex
	version uint64
	index   map[uint64]int32 // by the key's hash, where in slots; of two keys with one hash the last is kept
	slots   []slot           // the first is the head of a ring: the slot used last is behind it, the one used longest ago before it
	free    []int32
	bytes   int64
}

// slot holds what is kept of one item.
type slot struct {
	hash       uint64
	prev, next int32
	kept
}

// kept is an item's key and, behind it, its record's encoding. Nobody changes the block.
type kept struct {
	block   []byte
	keySize int
	digest  causal.Digest
}

func (k *kept) key() []byte   { return k.block[:k.keySize] }
func (k *kept) value() []byte { return k.block[k.keySize:] }
func (k *kept) size() int64   { return int64(len(k.block)) + keptOverhead }

const (
	// keptOverhead is about what an entry takes beside its block.
	keptOverhead = 128
	// keptShare is the part of a shard that one entry may take, as a divisor.
	keptShare = 4
)

// newCache returns a cache that keeps up to limit bytes; below 1 it keeps nothing.
func newCache(limit int64) *cache {
	c := &cache{limit: limit / stripeCount, seed: maphash.MakeSeed()}
	if limit > 0 {
		c.shards = make([]shard, stripeCount)
		for i := range c.shards {
			c.shards[i].clear()
		}
	}
	return c
}

// get returns what is kept for key, whether there is any, and if not the version that put wants.
func (c *cache) get(stripe int, key []byte) (kept, uint64, bool) {
	if len(c.shards) == 0 {
		return kept{}, 0, false
	}
	hash := maphash.Bytes(c.seed, key)
	sh := &c.shards[stripe]
	sh.mu.Lock()
	at, found := sh.find(hash, key)
	if !found {
		version := sh.version
		sh.mu.Unlock()
		c.misses.Add(1)
		return kept{}, version, false
	}
	sh.unlink(at)
	sh.link(at)
	k := sh.slots[at].kept
	sh.mu.Unlock()
	c.hits.Add(1)
	return k, 0, true
}

// put brings in what was found in the database since get returned version, unless a writer was there meanwhile.
func (c *cache) put(stripe int, version uint64, k kept) {
	if len(c.shards) == 0 {
		return
	}
	sh := &c.shards[stripe]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if version%2 == 0 && version == sh.version {
		c.remove(sh, k.key())
		c.add(sh, k)
	}
}

// add brings in what is not there. The caller has locked the shard.
func (c *cache) add(sh *shard, k kept) {
	if k.size() > c.limit/keptShare {
		return
	}
	before := sh.bytes
	hash := maphash.Bytes(c.seed, k.key())
	if at, collides := sh.index[hash]; collides {
		sh.drop(at)
	}
	at := int32(len(sh.slots))
	if n := len(sh.free); n > 0 {
		at, sh.free = sh.free[n-1], sh.free[:n-1]
	} else {
		sh.slots = append(sh.slots, slot{})
	}
	sh.slots[at] = slot{hash: hash, kept: k}
	sh.index[hash] = at
	sh.link(at)
	sh.bytes += k.size()
	for sh.bytes > c.limit {
		sh.drop(sh.slots[0].prev)
	}
	c.bytes.Add(sh.bytes - before)
}

// remove takes out what there is for key. The caller has locked the shard.
func (c *cache) remove(sh *shard, key []byte) {
	if at, found := sh.find(maphash.Bytes(c.seed, key), key); found {
		before := sh.bytes
		sh.drop(at)
		c.bytes.Add(sh.bytes - before)
	}
}

func (sh *shard) find(hash uint64, key []byte) (int32, bool) {
	at, found := sh.index[hash]
	return at, found && bytes.Equal(sh.slots[at].key(), key)
}

func (sh *shard) drop(at int32) {
	s := &sh.slots[at]
	sh.bytes -= s.size()
	delete(sh.index, s.hash)
	sh.unlink(at)
	*s = slot{}
	sh.free = append(sh.free, at)
}

func (sh *shard) clear() {
	sh.index, sh.slots, sh.free, sh.bytes = make(map[uint64]int32), make([]slot, 1), nil, 0
}

func (sh *shard) link(at int32) {
	head, s := &sh.slots[0], &sh.slots[at]
	s.prev, s.next = 0, head.next
	sh.slots[s.next].prev = at
	head.next = at
}

func (sh *shard) unlink(at int32) {
	s := &sh.slots[at]
	sh.slots[s.prev].next, sh.slots[s.next].prev = s.next, s.prev
}

// reader looks a value up in the database; nil if there is none.
type reader func(key []byte) ([]byte, error)

// load returns the record under key and its digest, from the database by read if need be, and whether there is any.
func (c *cache) load(stripe int, key []byte, read reader) (record, causal.Digest, bool, error) {
	k, version, found := c.get(stripe, key)
	if !found {
		return c.fetch(stripe, version, key, read)
	}
	r, err := decodeItem(key, k.value())
	return r, k.digest, err == nil, err
}

// loadDigest is load for those who want the digest alone.
func (c *cache) loadDigest(stripe int, key []byte, read reader) (causal.Digest, error) {
	k, version, found := c.get(stripe, key)
	if found {
		return k.digest, nil
	}
	_, digest, _, err := c.fetch(stripe, version, key, read)
	return digest, err
}

// fetch loads what get did not have when the shard had that version.
func (c *cache) fetch(stripe int, version uint64, key []byte, read reader) (record, causal.Digest, bool, error) {
	value, err := read(key)
	if err != nil || value == nil {
		return record{}, causal.Digest{}, false, err
	}
	r, err := decodeItem(key, value)
	if err != nil {
		return record{}, causal.Digest{}, false, err
	}
	digest := r.state.Digest()
	if len(c.shards) > 0 {
		c.put(stripe, version, keep(key, value, digest))
	}
	return r, digest, true, nil
}

// keep copies key and value into a block of their exact size, which append would round up.
func keep(key, value []byte, digest causal.Digest) kept {
	block := make([]byte, len(key)+len(value))
	copy(block[copy(block, key):], value)
	return kept{block, len(key), digest}
}

func decodeItem(key, value []byte) (record, error) {
	r, err := decodeRecord(key, value)
	if err == nil && r.damaged {
		err = errSetAside
	}
	if err != nil {
		return record{}, &CorruptError{Key: key, What: "item", Err: err}
	}
	return r, nil
}

// begin, under the latches, takes out what changes are about to make old.
func (c *cache) begin(changes []change) {
	for i := range changes {
		sh := &c.shards[changes[i].stripe]
		sh.mu.Lock()
		sh.version += (sh.version + 1) % 2 // another change of this batch may have begun here
		c.remove(sh, changes[i].key())
		sh.mu.Unlock()
	}
}

// end, under the same latches, brings in the changes; if they failed, nothing.
func (c *cache) end(changes []change, failed bool) {
	for i := range changes {
		ch := &changes[i]
		sh := &c.shards[ch.stripe]
		sh.mu.Lock()
		sh.version += sh.version % 2
		c.remove(sh, ch.key())
		if !ch.uncached && !failed {
			c.add(sh, ch.kept)
		}
		sh.mu.Unlock()
	}
}

// beginAll and endAll are begin and end of a change of every item, under all latches.
func (c *cache) beginAll() {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		sh.version++
		c.bytes.Add(-sh.bytes)
		sh.clear()
		sh.mu.Unlock()
	}
}

func (c *cache) endAll() {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		sh.version++
		sh.mu.Unlock()
	}
}

// batch is one of Pebble's, and what it changes of what the cache keeps.
type batch struct {
	*pebble.Batch
	changes []change
	leaves  []leafChange
	oneLeaf [1]leafChange // of most batches
	all     bool          // every item may change
	dropped *uint64       // a bucket whose items all go
}

// change is a record that a batch writes, or removes.
type change struct {
	stripe   int
	uncached bool // it is gone, or damaged
	kept
}

func (s *Store) newBatch() *batch { return &batch{Batch: s.db.NewBatch()} }

// visibly hands the batch to Pebble by do, under the latches of all that it changes.
func (s *Store) visibly(b *batch, do func() error) error {
	if err := s.stageLeaves(b); err != nil {
		return err
	}
	err := s.visiblyCached(b, do)
	if err == nil {
		s.showLeaves(b)
	}
	return err
}

func (s *Store) visiblyCached(b *batch, do func() error) error {
	if len(s.cache.shards) == 0 {
		return do()
	}
	if b.all {
		s.cache.beginAll()
		defer s.cache.endAll()
		return do()
	}
	s.cache.begin(b.changes)
	err := do()
	s.cache.end(b.changes, err != nil)
	return err
}

// loadRecord returns the record under an item's key, its digest, and whether there is any.
func (s *Store) loadRecord(stripe int, key []byte) (record, causal.Digest, bool, error) {
	r, digest, found, err := s.cache.load(stripe, key, s.read)
	return r, digest, found, s.noticed(err)
}
