package bench

import (
	"encoding/hex"
	"fmt"
	"sync"
)

// groupSize is about how many items share a partition key where keys are grouped.
const groupSize = 1000

// Items numbers the items of a run, from 0, and gives them keys. It is safe for concurrent use.
type Items struct {
	loaded  uint64
	grouped bool
	run     []byte

	mu sync.Mutex
	// next is the item that is inserted next. Those below stored are all there; done are those above it.
	next, stored uint64
	done         map[uint64]bool
}

// NewItems describes items of which loaded, at least 1, are there before the run. With grouped, about a thousand share
// a partition key and have sort keys. run marks the keys of items that are inserted during the run: another run
// that is marked otherwise inserts others.
func NewItems(loaded uint64, grouped bool, run uint64) (*Items, error) {
	if loaded == 0 {
		return nil, fmt.Errorf("a benchmark needs at least one item")
	}
	return &Items{
		loaded: loaded, grouped: grouped, run: fmt.Appendf(nil, "-%016x", run),
		next: loaded, stored: loaded, done: make(map[uint64]bool),
	}, nil
}

// Loaded is the number of items that are there before the run.
func (s *Items) Loaded() uint64 { return s.loaded }

// Stored is the number of items of which all are known to be stored.
func (s *Items) Stored() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored
}

// insert returns the number of a new item. It must be settled once it is stored, or can't be.
func (s *Items) insert() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.next - 1
}

// settle says that an item is there. One whose insert failed is settled as well: it leaves a gap that is read in
// vain now and then, while holding all later ones back would change what the workload is.
func (s *Items) settle(item uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[item] = true
	for s.done[s.stored] {
		delete(s.done, s.stored)
		s.stored++
	}
}

// Key is where an item lives.
type Key struct {
	// Partition and Sort are what they are in a database with both; Sort is empty unless keys are grouped.
	Partition, Sort []byte
}

// Key returns the key of an item. The bytes are the caller's.
func (s *Items) Key(item uint64) Key {
	name := make([]byte, 0, 40)
	name = append(name, "item"...)
	name = appendHex(name, scatter(item))
	if item >= s.loaded {
		name = append(name, s.run...)
	}
	if !s.grouped {
		return Key{Partition: name}
	}
	groups := (s.loaded + groupSize - 1) / groupSize
	// Not by the hash that orders the sort keys: then a group would hold a range of them.
	return Key{Partition: appendHex([]byte("group"), scatter(item%groups)), Sort: name}
}

// appendHex appends 16 hex digits.
func appendHex(b []byte, v uint64) []byte {
	return hex.AppendEncode(b, []byte{
		byte(v >> 56), byte(v >> 48), byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v),
	})
}
