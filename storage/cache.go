package storage

import (
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
type cache struct {
	shards []shard // by stripe; none: nothing is kept
	limit  int64   // of each shard, in bytes
	bytes  atomic.Int64

	hits, misses atomic.Int64
}

// shard keeps what was used last.
type shard struct {
	mu      sync.Mutex
	version uint64
	entries map[string]*cached
	bytes   int64
	recent  cached // the head of a ring, the entry used last behind it, and the one used longest ago before it
}

// cached is a record's encoding, which nobody changes, and, once somebody asked for it, what it says.
type cached struct {
	key   []byte
	value []byte

	once   sync.Once
	record record // shares value's memory
	digest causal.Digest
	err    error

	prev, next *cached // in the shard's ring
}

const (
	// cachedOverhead is about what an entry takes beside its key and value.
	cachedOverhead = 448
	// cachedShare is the part of a shard that one entry may take, as a divisor.
	cachedShare = 4
)

// newCache returns a cache that keeps up to limit bytes; below 1 it keeps nothing.
func newCache(limit int64) *cache {
	c := &cache{limit: limit / stripeCount}
	if limit > 0 {
		c.shards = make([]shard, stripeCount)
		for i := range c.shards {
			c.shards[i].clear()
		}
	}
	return c
}

// get returns the entry for key, or nil and the version that put wants.
func (c *cache) get(stripe int, key []byte) (*cached, uint64) {
	if len(c.shards) == 0 {
		return nil, 0
	}
	sh := &c.shards[stripe]
	sh.mu.Lock()
	e, version := sh.entries[string(key)], sh.version
	if e != nil {
		e.unlink()
		sh.link(e)
	}
	sh.mu.Unlock()
	if e == nil {
		c.misses.Add(1)
		return nil, version
	}
	c.hits.Add(1)
	return e, version
}

// put brings in what was found in the database since get returned version, unless a writer was there meanwhile.
func (c *cache) put(stripe int, version uint64, e *cached) {
	if len(c.shards) == 0 {
		return
	}
	sh := &c.shards[stripe]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if version%2 == 0 && version == sh.version {
		c.replace(sh, e.key, e)
	}
}

// replace takes out what there is for key and puts e in, nil for nothing. The caller has locked the shard.
func (c *cache) replace(sh *shard, key []byte, e *cached) {
	before := sh.bytes
	if old := sh.entries[string(key)]; old != nil {
		sh.remove(old)
	}
	if e != nil && e.size() <= c.limit/cachedShare {
		sh.entries[string(key)] = e
		sh.link(e)
		sh.bytes += e.size()
		for sh.bytes > c.limit {
			sh.remove(sh.recent.prev)
		}
	}
	c.bytes.Add(sh.bytes - before)
}

func (sh *shard) remove(e *cached) {
	delete(sh.entries, string(e.key))
	e.unlink()
	sh.bytes -= e.size()
}

func (sh *shard) clear() {
	sh.entries, sh.bytes = make(map[string]*cached), 0
	sh.recent.prev, sh.recent.next = &sh.recent, &sh.recent
}

func (sh *shard) link(e *cached) {
	e.prev, e.next = &sh.recent, sh.recent.next
	e.prev.next, e.next.prev = e, e
}

func (e *cached) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

func (e *cached) size() int64 { return int64(len(e.key)) + int64(len(e.value)) + cachedOverhead }

// decoded returns what the entry says.
func (e *cached) decoded() (*cached, error) {
	e.once.Do(func() {
		if e.record, e.err = decodeRecord(e.key, e.value); e.err != nil {
			e.err = &CorruptError{Key: e.key, What: "item", Err: e.err}
			return
		}
		e.digest = e.record.state.Digest()
	})
	return e, e.err
}

// load returns the entry for key, from the database by read if need be; nil if it isn't there either.
func (c *cache) load(stripe int, key []byte, read func([]byte) ([]byte, error)) (*cached, error) {
	e, version := c.get(stripe, key)
	if e != nil {
		return e.decoded()
	}
	value, err := read(key)
	if err != nil || value == nil {
		return nil, err
	}
	e = &cached{key: key, value: value}
	c.put(stripe, version, e)
	return e.decoded()
}

// begin, under the latches, takes out what changes are about to make old.
func (c *cache) begin(changes []change) {
	for i := range changes {
		sh := &c.shards[changes[i].stripe]
		sh.mu.Lock()
		sh.version += (sh.version + 1) % 2 // another change of this batch may have begun here
		c.replace(sh, changes[i].key, nil)
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
		if ch.value != nil && !failed {
			c.replace(sh, ch.key, &cached{key: ch.key, value: ch.value})
		} else {
			c.replace(sh, ch.key, nil)
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
	all     bool // every item may change
}

// change is a record that a batch writes, or, without a value, removes.
type change struct {
	stripe     int
	key, value []byte
}

func (s *Store) newBatch() *batch { return &batch{Batch: s.db.NewBatch()} }

// changed notes what the batch makes of an item.
func (b *batch) changed(k Key, key, value []byte) {
	b.changes = append(b.changes, change{stripeOf(k.Token), key, value})
}

// visibly hands the batch to Pebble by do, under the latches of all that it changes.
func (s *Store) visibly(b *batch, do func() error) error {
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

// cachedRecord returns the entry of an item; nil if there is no such item.
func (s *Store) cachedRecord(stripe int, key []byte) (*cached, error) {
	return s.cache.load(stripe, key, s.read)
}
