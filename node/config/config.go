// Package config holds every setting of a node, and reads them from flags, STARLING_* environment
// variables and a YAML file, which say the same things under the same names.
//
// Precedence, highest first: flags given on the command line, environment, file, defaults. A key
// that no setting has is an error in each of the three: a misspelt setting that is silently ignored
// is worse than a node that refuses to start.
package config

import (
	"log/slog"
	"time"
)

// Config is what a node is told. The zero value is not usable: start from Default.
type Config struct {
	// Name is the node's name in the cluster, unique there. Empty: Load takes the host's name.
	Name string
	// Dir is the data directory. The node's identity lives in it.
	Dir string
	// Zone is the failure domain (rack, availability zone) that the planner spreads replicas over.
	Zone string

	// ClientAddr, PeerAddr, GossipAddr and HTTPAddr are the listen addresses, host:port. An empty host
	// listens on all interfaces, port 0 takes a free one.
	ClientAddr, PeerAddr, GossipAddr, HTTPAddr string
	// ClientAdvertise, PeerAdvertise and GossipAdvertise are what others are told to dial, host or
	// host:port. Empty: derived from the bound address (see Advertise).
	ClientAdvertise, PeerAdvertise, GossipAdvertise string

	// Pprof serves profiles of the process on the HTTP port. They tell what is in memory, keys included.
	Pprof bool

	// Join lists gossip addresses of nodes to meet first. When a cluster is founded the first of them
	// designates the founder.
	Join []string
	// BootstrapExpect is how many nodes found a new cluster together; 0 founds none.
	BootstrapExpect int
	// Cluster is the cluster's name; nodes of other names are refused.
	Cluster string
	// Partitions is the number of arcs of the ring, a power of two. It counts for the founder alone.
	Partitions int

	// MaxValueBytes bounds one value; MaxSiblings and MaxStateBytes bound one item.
	MaxValueBytes Bytes
	MaxSiblings   int
	MaxStateBytes Bytes
	// MaxClockOffset is how far in the future a message's clock may be before it is refused.
	MaxClockOffset time.Duration

	// RequestTimeout is the deadline of a client request that brings none.
	RequestTimeout time.Duration
	// SlowReplica is how long a write waits for a replica before a fallback stands in for it.
	SlowReplica time.Duration
	// Hedge is how long a read waits before it asks one more replica.
	Hedge Hedge
	// MaxInFlight and MaxInFlightBytes bound the client requests that run at once; more are refused.
	MaxInFlight      int
	MaxInFlightBytes Bytes

	// CacheBytes and MemTableBytes size the storage's block cache and each memtable.
	CacheBytes, MemTableBytes Bytes
	// ItemCacheBytes is the memory for single items that were read or written lately; 0: none are kept.
	ItemCacheBytes Bytes
	// DiskReserve is how much of the disk stays free: below it the node refuses writes. 0: a part of the disk.
	DiskReserve Bytes
	// HintBytesPerTarget and HintBytes bound the hints kept for one node, and for all.
	HintBytesPerTarget, HintBytes Bytes
	// HintRate throttles hint replay, in bytes a second over all targets.
	HintRate Bytes
	// RepairInterval is how often this node compares what it holds with each other owner of it; 0: never.
	RepairInterval time.Duration
	// RepairRate bounds the states that are sent and fetched then, in bytes a second.
	RepairRate Bytes
	// RepairWindow is the time of the day, by this machine's clock and zone, at which it does that by itself.
	RepairWindow Window
	// RepairMaxSlowdown is how many times slower than usual clients' requests may get before it waits for them; 0: it never does.
	RepairMaxSlowdown float64
	// ScrubRate bounds the reading of records to verify them, in bytes a second; 0: they are not read for that.
	ScrubRate Bytes
	// ScrubInterval is how often all of them are verified at most.
	ScrubInterval time.Duration
	// LagWarn and LagAlarm are how old a watermark or a hint gets before the node calls itself yellow, and red. LagWarn 0: three
	// repair intervals. LagLimits tells what they come to.
	LagWarn, LagAlarm time.Duration

	// LogLevel and LogFormat ("text" or "json") shape the log on stderr.
	LogLevel  slog.Level
	LogFormat string
	// DrainTimeout is how long a stopping node waits for the requests that it runs.
	DrainTimeout time.Duration
}

// Log formats.
const (
	LogText = "text"
	LogJSON = "json"
)

// Default returns the settings of a node that is told nothing. Name is empty.
func Default() Config {
	const mib = 1 << 20
	return Config{
		Dir:  "starling-data",
		Zone: "default",

		ClientAddr: "127.0.0.1:7400",
		PeerAddr:   "127.0.0.1:7401",
		GossipAddr: "127.0.0.1:7402",
		HTTPAddr:   "127.0.0.1:7403",

		Cluster:    "starling",
		Partitions: 256,

		MaxValueBytes:  16 * mib,
		MaxSiblings:    100,
		MaxStateBytes:  32 * mib,
		MaxClockOffset: 500 * time.Millisecond,

		RequestTimeout:   10 * time.Second,
		SlowReplica:      100 * time.Millisecond,
		Hedge:            Hedge{Auto: true},
		MaxInFlight:      2048,
		MaxInFlightBytes: 256 * mib,

		CacheBytes:         32 * mib,
		MemTableBytes:      24 * mib,
		ItemCacheBytes:     96 * mib,
		HintBytesPerTarget: 4096 * mib,
		HintBytes:          16384 * mib,
		HintRate:           32 * mib,
		RepairInterval:     10 * time.Minute,
		RepairRate:         16 * mib,
		RepairMaxSlowdown:  2,
		ScrubRate:          4 * mib,
		ScrubInterval:      7 * 24 * time.Hour,
		LagAlarm:           24 * time.Hour,

		LogLevel:     slog.LevelInfo,
		LogFormat:    LogText,
		DrainTimeout: 15 * time.Second,
	}
}

// HeapTarget is about what a node's heap comes to with caches and memtables that are full: the one that takes writes, one
// that is being flushed, and one kept to be used again.
func (c Config) HeapTarget() Bytes {
	const rest = 16 << 20
	return c.CacheBytes + c.ItemCacheBytes + 3*c.MemTableBytes + rest
}

// Without a lag-warn. Even a floor that has just been raised lies behind, by the time that a write may be on its way: below
// leastWarn a node that is well would be yellow.
const (
	warnIntervals    = 3
	leastWarn        = time.Minute
	warnWithoutRound = 30 * time.Minute
)

// LagLimits are the ages above which a node is yellow, and red.
func (c Config) LagLimits() (warn, alarm time.Duration) {
	switch warn = c.LagWarn; {
	case warn > 0:
	case c.RepairInterval > 0:
		warn = max(warnIntervals*c.RepairInterval, leastWarn)
	default:
		warn = warnWithoutRound
	}
	return warn, max(warn, c.LagAlarm)
}
