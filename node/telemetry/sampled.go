package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources are asked at every scrape. Each must be quick and safe for concurrent use; nil ones show nothing.
type Sources struct {
	Ready   func() bool
	Peers   func() Peers
	Hints   func() []Hints
	Replay  func() Replay
	Repairs func() Repairs
	Lag     func() Lag
	// Watermarks are those of all partitions that this node owns.
	Watermarks func() []Watermark
	Scrubs     func() Scrubs
	Gossip     func() Gossip
	Storage    func() Storage
	// Transport are the figures of requests between nodes.
	Transport func() Transport
	// Sessions are the figures of clients' sessions.
	Sessions func() Sessions
	// Epoch is the number of the ring's epoch. InFlight is what admission has let in: requests and bytes.
	Epoch    func() uint64
	InFlight func() (requests, bytes int64)
	// Pace is how many requests about one item are let in at once, as things are.
	Pace func() int
	// ClockAhead is how far the hybrid clock is ahead of the physical one.
	ClockAhead func() time.Duration
}

// Peers counts the other nodes by state.
type Peers struct{ Alive, Suspect, Dead, Left int }

// Hints are those that this node keeps for one other.
type Hints struct {
	// Target is the node's name.
	Target       string
	Items, Bytes uint64
	// Oldest is the age of the oldest.
	Oldest time.Duration
}

// Replay counts hints replayed since the start.
type Replay struct{ Settled, Bytes, Failed, Corrupt uint64 }

// Lag is what rounds and purging have done since the start.
type Lag struct {
	Rebuilding             int // partitions whose copy here has no vote
	Rounds, Raised, Failed uint64
	Purged, Removed        uint64 // items
	PurgeDue               uint64 // leaves
}

// Watermark is that of one partition, as the buckets with N replicas see it.
type Watermark struct {
	N, Partition string
	Age          time.Duration
}

// Repairs counts exchanges with other owners, and what they mended, since the start.
type Repairs struct {
	Exchanges, Failed                   uint64
	Partitions, Differed, Leaves, Items uint64
	Fetched, Pushed, Refused, Recounted uint64
	Bytes                               uint64
	// Held is how long exchanges waited for clients.
	Held time.Duration
	// Rate is how many bytes a second repair may move at present.
	Rate float64
	// Oldest is how long ago the exchange with some other owner ended that lies back farthest.
	Oldest time.Duration
}

// Scrubs counts records that were verified and mended since the start.
type Scrubs struct {
	Bytes, Records, Damaged, Mended uint64
	// Waiting is how many items are damaged now.
	Waiting                            uint64
	QuarantineBytes, QuarantineDropped uint64
	// Age is how long ago the last whole pass ended; of a node that has never ended one, how long ago the first began.
	Age time.Duration
}

// Gossip counts what gossip refused since the start, and how often this process was found to have stalled.
type Gossip struct{ ForeignCluster, Garbage, RefusedNodes, AddressConflicts, Rejoins, Stalls uint64 }

// Storage are the storage engine's own figures.
type Storage struct {
	DiskBytes, WALBytes, MemTableBytes, CacheBytes uint64
	CacheHits, CacheMisses                         uint64
	ItemCacheBytes, ItemCacheHits, ItemCacheMisses uint64
	Flushes, Compactions, WALWritten, Fsyncs       uint64
	FsyncTime                                      time.Duration
	// ReadAmplification is the number of sorted runs that a read looks into at most; L0Files says how far
	// compaction is behind, DebtBytes how much it has to do.
	ReadAmplification, L0Files, DebtBytes uint64
	// DiskFree is what the disk has left, 0 where that can't be told. DiskFull: writes are refused; DiskRefusals counts them.
	DiskFree     uint64
	DiskFull     bool
	DiskRefusals uint64
	// Failed says that a disk error has stopped it for good.
	Failed bool
}

// Transport are the figures of requests between nodes, this one's and, from Overloads on, the others' too.
type Transport struct {
	InFlight, Queued, Frames, Requests, Connects uint64
	Overloads, Expired, HellosRefused            uint64
	// Bytes of requests sent and of their replies, on the streams for small messages and on those for bulk.
	Sent, Received, BulkSent, BulkReceived uint64
}

// Sessions are the streams on which clients send many calls: those open, the bytes of the replies that wait to be sent, and
// the frames and calls that have come since the start.
type Sessions struct {
	Open, Waiting int64
	Frames, Calls uint64
}

// sampler turns the sources into metrics at every scrape.
type sampler struct {
	sources atomic.Pointer[Sources]
	all     []*family
}

// family is one metric: its description, and how to get its samples from the sources.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	emit func(s *Sources, add func(v float64, labels ...string))
}

// Observe sets what the metrics are sampled from; none are until it is called.
func (m *Metrics) Observe(s Sources) { m.sampled.sources.Store(&s) }

// Describe sends the descriptions of all families.
func (s *sampler) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range s.all {
		ch <- f.desc
	}
}

// Collect samples every family.
func (s *sampler) Collect(ch chan<- prometheus.Metric) {
	sources := s.sources.Load()
	if sources == nil {
		return
	}
	for _, f := range s.all {
		f.emit(sources, func(v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
		})
	}
}

func (s *sampler) gauge(name, help string, emit func(*Sources, func(float64, ...string)), labels ...string) {
	s.add(name, help, prometheus.GaugeValue, emit, labels)
}

func (s *sampler) counter(name, help string, emit func(*Sources, func(float64, ...string)), labels ...string) {
	s.add(name, help, prometheus.CounterValue, emit, labels)
}

func (s *sampler) add(name, help string, kind prometheus.ValueType, emit func(*Sources, func(float64, ...string)), labels []string) {
	desc := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
	s.all = append(s.all, &family{desc, kind, emit})
}

// one makes a family of one sample from a source, if there is that source.
func one[T any](source func(*Sources) func() T, value func(T) float64) func(*Sources, func(float64, ...string)) {
	return func(s *Sources, add func(float64, ...string)) {
		if ask := source(s); ask != nil {
			add(value(ask()))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
