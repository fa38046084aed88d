package storage

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFormat is pinned: a newer Pebble must not make a directory unreadable to the binary before this one
// by itself. Raising it is a change of Format.
const pebbleFormat = pebble.FormatValueSeparation

// bloomBits per key give about 1 % of false positives: most first writes of an item find without a disk read
// that it isn't there.
const bloomBits = 10

func pebbleOptions(o Options, fs *freezeFS, h *health, cache *pebble.Cache) *pebble.Options {
	po := &pebble.Options{
		Cache:                       cache,
		FS:                          fs,
		FormatMajorVersion:          pebbleFormat,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                1000,
		BytesPerSync:                512 << 10,
		WALBytesPerSync:             512 << 10,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(2, runtime.GOMAXPROCS(0)/2) },
		Logger:                      pebbleLogger{h},
		EventListener:               pebbleEvents(h),
	}
	po.Experimental.CompactionScheduler = newSpaceScheduler(fs.space, h)
	// Items are read one by one, and popular ones are anywhere: of a large block nearly all is read, and kept in the cache,
	// for nothing.
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
		po.Levels[i].BlockSize = 4 << 10
	}
	return po
}

// slowDisk is how long a write or fsync may take before somebody should know.
const slowDisk = 5 * time.Second

// watchDisk returns fs with a watch over slow operations, and what ends the watch. Only a real disk is
// watched: others stand still under fake time.
func watchDisk(fs vfs.FS, h *health) (vfs.FS, io.Closer) {
	if fs != vfs.Default {
		return fs, nil
	}
	return vfs.WithDiskHealthChecks(fs, slowDisk, nil, func(i vfs.DiskSlowInfo) {
		h.logger.Warn("the disk is slow", "operation", i.OpType.String(), "file", i.Path, "duration", i.Duration)
	})
}

// pebbleEvents are those of Pebble's events that somebody must hear of.
func pebbleEvents(h *health) *pebble.EventListener {
	l := &pebble.EventListener{
		// What fails in the background is tried again by Pebble at once and without end. Nothing that it
		// does there may fail on a sound disk, so we stop.
		BackgroundError: func(err error) { _ = h.fail(fmt.Errorf("in the background: %w", err)) },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			_ = h.fail(fmt.Errorf("corrupt file %s: %w", i.Path, i.Details))
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			h.logger.Warn("writes are held up until the storage engine catches up", "reason", i.Reason)
		},
		WriteStallEnd: func() { h.logger.Info("writes go on") },
	}
	l.EnsureDefaults(pebbleLogger{h})
	return l
}

// pebbleLogger hands Pebble's messages to slog.
type pebbleLogger struct{ h *health }

func (l pebbleLogger) Infof(format string, args ...any) {
	// Pebble speaks of every flush and log file: not worth formatting unless somebody listens.
	if l.h.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.h.logger.Debug(fmt.Sprintf(format, args...), "source", "pebble")
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.h.logger.Error(fmt.Sprintf(format, args...), "source", "pebble")
}

// Fatalf marks the store failed and returns. Pebble expects that it doesn't; but what it does afterwards
// does not reach the disk (freezeFS), and the process has others to tell before it ends.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	_ = l.h.fail(fmt.Errorf("pebble: "+format, args...))
}
