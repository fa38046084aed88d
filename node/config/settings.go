package config

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// kind is the type of a setting, as flags name it and as YAML may spell it.
type kind string

const (
	kindText     kind = "string"
	kindList     kind = "list"
	kindCount    kind = "int"
	kindBytes    kind = "bytes"
	kindDuration kind = "duration"
	kindNumber   kind = "number"
)

// setting is one key: its name in flags, environment and file, and the field that it sets.
type setting struct {
	key, usage string
	kind       kind
	bind       func(*Config) value
}

// value reads and writes one field of a Config in its text form.
type value struct {
	set func(string) error
	get func() string
}

func field[T any](p *T, parse func(string) (T, error), format func(T) string) value {
	return value{
		set: func(text string) error {
			v, err := parse(text)
			if err == nil {
				*p = v
			}
			return err
		},
		get: func() string { return format(*p) },
	}
}

func text(key, usage string, at func(*Config) *string) setting {
	return setting{key, usage, kindText, func(c *Config) value {
		return field(at(c), parseText, func(s string) string { return s })
	}}
}

func count(key, usage string, at func(*Config) *int) setting {
	return setting{key, usage, kindCount, func(c *Config) value { return field(at(c), parseCount, strconv.Itoa) }}
}

func size(key, usage string, at func(*Config) *Bytes) setting {
	return setting{key, usage, kindBytes, func(c *Config) value { return field(at(c), ParseBytes, Bytes.String) }}
}

func duration(key, usage string, at func(*Config) *time.Duration) setting {
	return setting{key, usage, kindDuration, func(c *Config) value {
		return field(at(c), parseDuration, time.Duration.String)
	}}
}

// settings lists every key there is, in the order of the help text.
var settings = []setting{
	text("name", "name of this node, unique in the cluster (default: the host's name)", func(c *Config) *string { return &c.Name }),
	text("dir", "data directory", func(c *Config) *string { return &c.Dir }),
	text("zone", "failure domain that replicas are spread over, such as a rack", func(c *Config) *string { return &c.Zone }),

	text("client-addr", "listen address for clients", func(c *Config) *string { return &c.ClientAddr }),
	text("peer-addr", "listen address for other nodes", func(c *Config) *string { return &c.PeerAddr }),
	text("gossip-addr", "listen address for gossip, TCP and UDP", func(c *Config) *string { return &c.GossipAddr }),
	text("http-addr", "listen address for /healthz, /readyz and /metrics", func(c *Config) *string { return &c.HTTPAddr }),
	{"pprof", "profiles of the process at /debug/pprof/ on the HTTP port: on or off", kindText, func(c *Config) value {
		return field(&c.Pprof, parseSwitch, formatSwitch)
	}},
	text("client-advertise", "address that clients are told (default: from the bound one)", func(c *Config) *string { return &c.ClientAdvertise }),
	text("peer-advertise", "address that other nodes are told (default: from the bound one)", func(c *Config) *string { return &c.PeerAdvertise }),
	text("gossip-advertise", "gossip address that other nodes are told (default: from the bound one)", func(c *Config) *string { return &c.GossipAdvertise }),

	{"join", "gossip addresses of nodes to meet, comma separated; the first founds a new cluster", kindList, func(c *Config) value {
		return field(&c.Join, parseJoin, formatList)
	}},
	count("bootstrap-expect", "found a new cluster once this many nodes have met; 0: never", func(c *Config) *int { return &c.BootstrapExpect }),
	text("cluster", "name of the cluster", func(c *Config) *string { return &c.Cluster }),
	count("partitions", "partitions of a newly founded ring, a power of two", func(c *Config) *int { return &c.Partitions }),

	size("max-value-bytes", "largest value", func(c *Config) *Bytes { return &c.MaxValueBytes }),
	count("max-siblings", "most siblings of one item", func(c *Config) *int { return &c.MaxSiblings }),
	size("max-state-bytes", "most bytes of one item with all its siblings", func(c *Config) *Bytes { return &c.MaxStateBytes }),
	duration("max-clock-offset", "how far ahead a message's clock may be", func(c *Config) *time.Duration { return &c.MaxClockOffset }),

	duration("request-timeout", "deadline of requests that bring none", func(c *Config) *time.Duration { return &c.RequestTimeout }),
	duration("slow-replica", "how long a write waits for a replica before a fallback stands in", func(c *Config) *time.Duration { return &c.SlowReplica }),
	{"hedge", "when a read asks one more replica: auto, off or a duration", kindText, func(c *Config) value {
		return field(&c.Hedge, ParseHedge, Hedge.String)
	}},
	count("max-in-flight", "most client requests at once", func(c *Config) *int { return &c.MaxInFlight }),
	size("max-in-flight-bytes", "most bytes of client requests at once", func(c *Config) *Bytes { return &c.MaxInFlightBytes }),

	size("cache-bytes", "block cache of the storage", func(c *Config) *Bytes { return &c.CacheBytes }),
	size("item-cache-bytes", "decoded items kept in memory, in front of the block cache; 0: none", func(c *Config) *Bytes { return &c.ItemCacheBytes }),
	size("memtable-bytes", "size of one memtable of the storage", func(c *Config) *Bytes { return &c.MemTableBytes }),
	size("disk-reserve", "free space of the disk below which writes are refused; 0: 5 % of the disk, within bounds", func(c *Config) *Bytes { return &c.DiskReserve }),
	size("hint-bytes-per-target", "most bytes of hints for one node", func(c *Config) *Bytes { return &c.HintBytesPerTarget }),
	size("hint-bytes", "most bytes of hints in all", func(c *Config) *Bytes { return &c.HintBytes }),
	size("hint-rate", "bytes a second of hint replay", func(c *Config) *Bytes { return &c.HintRate }),
	duration("repair-interval", "how often owners compare what they hold; 0: never", func(c *Config) *time.Duration { return &c.RepairInterval }),
	size("repair-rate", "bytes a second of what differs", func(c *Config) *Bytes { return &c.RepairRate }),
	{"repair-window", "time of the day at which owners compare by themselves, such as 22:00-06:00 (default: always)", kindText, func(c *Config) value {
		return field(&c.RepairWindow, ParseWindow, Window.String)
	}},
	{"repair-max-slowdown", "how many times slower than usual clients may get before that slows down for them; 0: it never does", kindNumber, func(c *Config) value {
		return field(&c.RepairMaxSlowdown, parseNumber, formatNumber)
	}},
	size("scrub-rate", "bytes a second that are read to verify them; 0: none", func(c *Config) *Bytes { return &c.ScrubRate }),
	duration("scrub-interval", "how often all records are verified at most", func(c *Config) *time.Duration { return &c.ScrubInterval }),
	duration("lag-warn", "age of a watermark or a hint above which the node is yellow; 0: 3 repair intervals", func(c *Config) *time.Duration { return &c.LagWarn }),
	duration("lag-alarm", "age of a watermark or a hint above which the node is red", func(c *Config) *time.Duration { return &c.LagAlarm }),

	{"log-level", "debug, info, warn or error", kindText, func(c *Config) value {
		return field(&c.LogLevel, parseLevel, formatLevel)
	}},
	text("log-format", "text or json", func(c *Config) *string { return &c.LogFormat }),
	duration("drain-timeout", "how long a stopping node waits for running requests", func(c *Config) *time.Duration { return &c.DrainTimeout }),
}

// byKey finds a setting.
var byKey = func() map[string]setting {
	m := make(map[string]setting, len(settings))
	for _, s := range settings {
		m[s.key] = s
	}
	return m
}()

// flagValue lets pflag check a flag when it is parsed, and show its default.
type flagValue struct {
	value
	kind kind
}

func (f flagValue) String() string {
	if f.get == nil {
		return "" // pflag asks the zero value
	}
	return f.get()
}

func (f flagValue) Set(s string) error { return f.set(s) }
func (f flagValue) Type() string       { return string(f.kind) }

// AddFlags defines one flag per setting. What they are set to reaches a Config through Load alone.
func AddFlags(flags *pflag.FlagSet) {
	defaults := Default()
	for _, s := range settings {
		flags.Var(flagValue{s.bind(&defaults), s.kind}, s.key, s.usage)
	}
}

// Text returns the settings as key and value in text form, in the order of the help text.
func (c Config) Text() [][2]string {
	all := make([][2]string, len(settings))
	for i, s := range settings {
		all[i] = [2]string{s.key, s.bind(&c).get()}
	}
	return all
}

// yamlText gives the text form of what YAML holds for this setting. Nothing is guessed: a name that YAML
// reads as a number or a date must be quoted.
func (s setting) yamlText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int, int64, uint64:
		if s.kind == kindCount || s.kind == kindBytes || s.kind == kindNumber {
			return fmt.Sprint(v), nil
		}
	case float64:
		if s.kind == kindNumber {
			return formatNumber(v), nil
		}
	case []any:
		if s.kind == kindList {
			return listText(v)
		}
	}
	switch s.kind {
	case kindText:
		return "", fmt.Errorf("%v is no text: put it in quotes", v)
	case kindDuration:
		return "", fmt.Errorf("%v is no duration: want a number with a unit, such as 500ms or 10s", v)
	}
	return "", fmt.Errorf("%v is no %s", v, s.kind)
}

func listText(list []any) (string, error) {
	parts := make([]string, len(list))
	for i, v := range list {
		part, ok := v.(string)
		if !ok {
			return "", fmt.Errorf("entry %d, %v, is no text: put it in quotes", i+1, v)
		}
		parts[i] = part
	}
	return formatList(parts), nil
}
