package storage

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Metrics are the storage engine's figures that operators watch. Counters grow from Open on.
type Metrics struct {
	// DiskBytes is all that the database takes on disk, LogBytes the part of the write-ahead log.
	DiskBytes, LogBytes uint64
	// TableCount and TableBytes are live tables, over all levels.
	TableCount, TableBytes int64
	MemTableBytes          uint64
	MemTables              int64
	// CacheBytes are in the block cache; CacheHits and CacheMisses count its look-ups.
	CacheBytes             int64
	CacheHits, CacheMisses int64
	// ItemCacheBytes are of records that were read or written lately; ItemCacheHits and ItemCacheMisses count their look-ups.
	ItemCacheBytes                 int64
	ItemCacheHits, ItemCacheMisses int64
	// FilterHits counts table reads that a Bloom filter saved, FilterMisses those that it let through.
	FilterHits, FilterMisses int64
	Flushes, Compactions     int64
	// CompactionDebtBytes is what compactions still have to do, CompactionsRunning how many do it.
	CompactionDebtBytes uint64
	CompactionsRunning  int64
	// ReadAmplification is how many tables a read may have to look into.
	ReadAmplification int
	// LevelZeroTables is what flushes left for compactions: it grows when they don't keep up.
	LevelZeroTables int64
	// Tombstones of the engine (not of items), in the database.
	Tombstones uint64
	// LogWritten counts bytes written to the log, LogLogical what was in them.
	LogWritten, LogLogical uint64
	// Fsync is the latency of the log's fsyncs.
	Fsync Latency
}

// Latency is a histogram of durations.
type Latency struct {
	Count uint64
	Sum   time.Duration
	// Buckets holds, by upper bound in seconds, how many were at most that long.
	Buckets map[float64]uint64
}

// Metrics returns the present figures; none for a closed store.
func (s *Store) Metrics() Metrics {
	if s.gate.enter() != nil {
		return Metrics{}
	}
	defer s.gate.leave()
	m := s.db.Metrics()
	total := m.Total()
	return Metrics{
		DiskBytes: m.DiskSpaceUsage(), LogBytes: m.WAL.PhysicalSize,
		TableCount: total.TablesCount, TableBytes: total.TablesSize,
		MemTableBytes: m.MemTable.Size, MemTables: m.MemTable.Count,
		CacheBytes: m.BlockCache.Size, CacheHits: m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
		ItemCacheBytes: s.cache.bytes.Load(), ItemCacheHits: s.cache.hits.Load(), ItemCacheMisses: s.cache.misses.Load(),
		FilterHits: m.Filter.Hits, FilterMisses: m.Filter.Misses,
		Flushes: m.Flush.Count, Compactions: m.Compact.Count,
		CompactionDebtBytes: m.Compact.EstimatedDebt, CompactionsRunning: m.Compact.NumInProgress,
		ReadAmplification: m.ReadAmp(), LevelZeroTables: m.Levels[0].TablesCount,
		Tombstones: m.Keys.TombstoneCount,
		LogWritten: m.WAL.BytesWritten, LogLogical: m.WAL.BytesIn,
		Fsync: latencyOf(m.LogWriter.FsyncLatency),
	}
}

// latencyOf reads Pebble's histogram, which counts in nanoseconds.
func latencyOf(h prometheus.Histogram) Latency {
	var m dto.Metric
	if h == nil || h.Write(&m) != nil {
		return Latency{}
	}
	l := Latency{
		Count:   m.GetHistogram().GetSampleCount(),
		Sum:     time.Duration(m.GetHistogram().GetSampleSum()),
		Buckets: make(map[float64]uint64, len(m.GetHistogram().GetBucket())),
	}
	for _, b := range m.GetHistogram().GetBucket() {
		l.Buckets[b.GetUpperBound()/float64(time.Second)] = b.GetCumulativeCount()
	}
	return l
}
