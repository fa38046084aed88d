package config

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxNameBytes bounds the names of nodes, zones and clusters: they travel in gossip, in 512 bytes.
	MaxNameBytes = 64
	// LargestValueBytes bounds max-value-bytes: values travel whole in one message.
	LargestValueBytes Bytes = 64 << 20
	// LargestStateBytes bounds max-state-bytes, as LargestValueBytes does max-value-bytes.
	LargestStateBytes Bytes = 96 << 20
	// MaxPartitions bounds partitions.
	MaxPartitions = 1 << 16
	// MaxFounders bounds bootstrap-expect.
	MaxFounders = 256
	// longestLag bounds lag-warn and lag-alarm.
	longestLag = 365 * 24 * time.Hour
)

// Validate checks every setting and what they say together. The error lists all that is wrong, each by
// its key. Load calls it.
func (c Config) Validate() error {
	return errors.Join(c.checkNames(), c.checkAddresses(), c.checkFounding(), c.checkLimits(), c.checkTimes())
}

func (c Config) checkNames() error {
	var wrong []error
	for _, n := range []struct{ key, name string }{{"name", c.Name}, {"zone", c.Zone}, {"cluster", c.Cluster}} {
		if err := checkName(n.name); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", n.key, err))
		}
	}
	if c.Dir == "" {
		wrong = append(wrong, errors.New("dir: must not be empty"))
	}
	if c.LogFormat != LogText && c.LogFormat != LogJSON {
		wrong = append(wrong, fmt.Errorf("log-format: %q: want %s or %s", clip(c.LogFormat), LogText, LogJSON))
	}
	return errors.Join(wrong...)
}

func checkName(name string) error {
	if name == "" {
		return errors.New("must not be empty")
	}
	if len(name) > MaxNameBytes {
		return fmt.Errorf("%q has %d bytes, more than %d", clip(name), len(name), MaxNameBytes)
	}
	for _, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && !strings.ContainsRune("-_.", r) {
			return fmt.Errorf("%q: %q is not allowed, only letters, digits, '-', '_' and '.'", name, r)
		}
	}
	return nil
}

func (c Config) checkAddresses() error {
	var wrong []error
	taken := map[string]string{}
	for _, a := range []struct{ key, addr string }{
		{"client-addr", c.ClientAddr}, {"peer-addr", c.PeerAddr}, {"gossip-addr", c.GossipAddr}, {"http-addr", c.HTTPAddr},
	} {
		_, port, err := splitAddress(a.addr)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", a.key, err))
			continue
		}
		if other, twice := taken[a.addr]; twice && port != 0 {
			wrong = append(wrong, fmt.Errorf("%s: %s is %s already", a.key, a.addr, other))
		}
		taken[a.addr] = a.key
	}
	for _, a := range []struct{ key, addr string }{
		{"client-advertise", c.ClientAdvertise}, {"peer-advertise", c.PeerAdvertise}, {"gossip-advertise", c.GossipAdvertise},
	} {
		if err := checkAdvertised(a.addr); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", a.key, err))
		}
	}
	for _, addr := range c.Join {
		if err := checkDialled(addr); err != nil {
			wrong = append(wrong, fmt.Errorf("join: %w", err))
		}
	}
	return errors.Join(wrong...)
}

// splitAddress checks a listen address, host:port with a numeric port.
func splitAddress(addr string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%q is no address: want host:port", clip(addr))
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q is no address: the port must be a number up to 65535", clip(addr))
	}
	if strings.ContainsAny(host, " /\t\n") {
		return "", 0, fmt.Errorf("%q is no address: want host:port", clip(addr))
	}
	return host, uint16(n), nil
}

// checkDialled checks an address that this node dials.
func checkDialled(addr string) error {
	host, port, err := splitAddress(addr)
	if err == nil && (host == "" || port == 0) {
		err = fmt.Errorf("%q can't be dialled: want host:port", clip(addr))
	}
	return err
}

func (c Config) checkFounding() error {
	var wrong []error
	if c.BootstrapExpect < 0 || c.BootstrapExpect > MaxFounders {
		wrong = append(wrong, fmt.Errorf("bootstrap-expect: %d is not between 0 and %d", c.BootstrapExpect, MaxFounders))
	}
	if c.BootstrapExpect > 1 && len(c.Join) == 0 {
		wrong = append(wrong, fmt.Errorf("bootstrap-expect: %d nodes can't meet without join, whose first address founds the cluster", c.BootstrapExpect))
	}
	if c.Partitions < 1 || c.Partitions > MaxPartitions || bits.OnesCount(uint(c.Partitions)) != 1 {
		wrong = append(wrong, fmt.Errorf("partitions: %d is no power of two up to %d", c.Partitions, MaxPartitions))
	}
	return errors.Join(wrong...)
}

func (c Config) checkLimits() error {
	var wrong []error
	between := func(key string, v, least, most Bytes) {
		if v < least || v > most {
			wrong = append(wrong, fmt.Errorf("%s: %s is not between %s and %s", key, v, least, most))
		}
	}
	const most = Bytes(1) << 50
	between("max-value-bytes", c.MaxValueBytes, 1, LargestValueBytes)
	between("max-state-bytes", c.MaxStateBytes, c.MaxValueBytes, LargestStateBytes)
	between("max-in-flight-bytes", c.MaxInFlightBytes, c.MaxValueBytes, most)
	between("cache-bytes", c.CacheBytes, 1<<20, most)
	between("item-cache-bytes", c.ItemCacheBytes, 0, most)
	between("memtable-bytes", c.MemTableBytes, 1<<20, 2<<30)
	between("disk-reserve", c.DiskReserve, 0, most)
	between("hint-bytes", c.HintBytes, 0, most)
	between("hint-bytes-per-target", c.HintBytesPerTarget, 0, most)
	between("hint-rate", c.HintRate, 1<<10, most)
	between("repair-rate", c.RepairRate, 1<<10, most)
	if v := c.RepairMaxSlowdown; v != 0 && (v < 1 || v > 1000) {
		wrong = append(wrong, fmt.Errorf("repair-max-slowdown: %g is neither 0 nor between 1 and 1000", v))
	}
	if c.ScrubRate != 0 {
		between("scrub-rate", c.ScrubRate, 1<<10, most)
	}
	for _, n := range []struct {
		key         string
		v, from, to int
	}{{"max-siblings", c.MaxSiblings, 1, 1024}, {"max-in-flight", c.MaxInFlight, 1, 1 << 20}} {
		if n.v < n.from || n.v > n.to {
			wrong = append(wrong, fmt.Errorf("%s: %d is not between %d and %d", n.key, n.v, n.from, n.to))
		}
	}
	return errors.Join(wrong...)
}

func (c Config) checkTimes() error {
	var wrong []error
	for _, d := range []struct {
		key         string
		v, from, to time.Duration
	}{
		{"max-clock-offset", c.MaxClockOffset, time.Millisecond, time.Minute},
		{"request-timeout", c.RequestTimeout, time.Millisecond, time.Hour},
		{"slow-replica", c.SlowReplica, time.Millisecond, time.Minute},
		{"scrub-interval", c.ScrubInterval, time.Millisecond, 10 * 365 * 24 * time.Hour},
		{"lag-warn", c.LagWarn, 0, longestLag},
		{"lag-alarm", c.LagAlarm, time.Second, longestLag},
		{"drain-timeout", c.DrainTimeout, 0, time.Hour},
	} {
		if d.v < d.from || d.v > d.to {
			wrong = append(wrong, fmt.Errorf("%s: %s is not between %s and %s", d.key, d.v, d.from, d.to))
		}
	}
	if c.LagAlarm < c.LagWarn {
		wrong = append(wrong, fmt.Errorf("lag-alarm: %s is below lag-warn, %s", c.LagAlarm, c.LagWarn))
	}
	return errors.Join(wrong...)
}
