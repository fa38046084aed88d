package storage

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// Defaults of Options.
const (
	DefaultCacheBytes         = 128 << 20
	DefaultMemTableBytes      = 32 << 20
	DefaultItemCacheBytes     = 32 << 20
	DefaultHintBytesPerTarget = 1 << 30
	DefaultHintBytesTotal     = 4 << 30
	DefaultMaxSiblings        = 100
	DefaultQuarantineBytes    = 64 << 20
	DefaultMaxStateBytes      = 64 << 20
)

// Options say where a store is and how much it may hold. Only Dir must be set.
type Options struct {
	// Dir is the data directory; it is made if it isn't there.
	Dir string
	// FS is the file system. Nil: the operating system's.
	FS vfs.FS
	// Name is the node's name, noted in the identity file. Empty: whatever is noted already.
	Name string
	// Rand gives node id, boot id and actors. Nil: crypto/rand. The store never reads it from two goroutines
	// at a time.
	Rand io.Reader
	// Logger takes Pebble's messages and the store's. Nil: discarded.
	Logger *slog.Logger

	// CacheBytes is the size of the block cache.
	CacheBytes int64
	// ItemCacheBytes is about how much memory records take that were read or written lately. Below 0: none are kept.
	ItemCacheBytes int64
	// MemTableBytes is the size of one memtable; up to four wait to be flushed.
	MemTableBytes int64

	// HintBytesPerTarget and HintBytesTotal bound the bytes of records kept for one target and for all.
	// Beyond them a fallback's copy is refused with *HintBudgetError.
	HintBytesPerTarget, HintBytesTotal int64
	// MaxSiblings and MaxStateBytes bound what a Put may make of an item: *LimitError. Merges are never
	// refused by them, so that no replica refuses what its coordinator took.
	MaxSiblings   int
	MaxStateBytes int64

	// QuarantineBytes bounds the bytes of damaged records that are kept for whoever looks into it; the oldest go first.
	QuarantineBytes int64

	// DiskReserve is how many bytes of the disk stay free: when there are fewer, what grows is refused with
	// *DiskFullError. 0: a twentieth of the disk, within bounds (space.go). 1 keeps next to nothing.
	DiskReserve int64
}

// EnsureDefaults fills in what is unset.
func (o *Options) EnsureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.FS == vfs.Default && o.Dir != "" {
		// The lock is per path: two spellings of one directory must not look like two.
		if abs, err := filepath.Abs(o.Dir); err == nil {
			o.Dir = abs
		}
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	orDefault(&o.CacheBytes, DefaultCacheBytes)
	orDefault(&o.MemTableBytes, DefaultMemTableBytes)
	orDefault(&o.ItemCacheBytes, DefaultItemCacheBytes)
	orDefault(&o.HintBytesPerTarget, DefaultHintBytesPerTarget)
	orDefault(&o.HintBytesTotal, DefaultHintBytesTotal)
	orDefault(&o.MaxStateBytes, DefaultMaxStateBytes)
	orDefault(&o.QuarantineBytes, DefaultQuarantineBytes)
	if o.MaxSiblings == 0 {
		o.MaxSiblings = DefaultMaxSiblings
	}
}

func orDefault(v *int64, d int64) {
	if *v == 0 {
		*v = d
	}
}

// Validate says what is wrong with o, after EnsureDefaults.
func (o *Options) Validate() error {
	if o.Dir == "" {
		return errors.New("storage: no data directory given")
	}
	if len(o.Name) > 255 {
		return &KeyError{Part: "node name", Size: len(o.Name), Max: 255}
	}
	for _, b := range []struct {
		name             string
		value, low, high int64
	}{
		{"cache bytes", o.CacheBytes, 1 << 20, 1 << 40},
		{"memtable bytes", o.MemTableBytes, 1 << 20, 1 << 31},
		{"item cache bytes", o.ItemCacheBytes, -1, 1 << 40},
		{"hint bytes per target", o.HintBytesPerTarget, 1, 1 << 50},
		{"hint bytes in all", o.HintBytesTotal, 1, 1 << 50},
		{"siblings of an item", int64(o.MaxSiblings), 1, causal.MaxVersions / 4},
		{"bytes of an item", o.MaxStateBytes, 1 << 10, 1 << 30},
		{"quarantine bytes", o.QuarantineBytes, 1, 1 << 50},
		{"disk reserve", o.DiskReserve, 0, 1 << 50},
	} {
		if b.value < b.low || b.value > b.high {
			return fmt.Errorf("storage: %s is %d; %d to %d are allowed", b.name, b.value, b.low, b.high)
		}
	}
	return nil
}
