package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size. Its text form is a number with an optional unit: "512", "64KiB", "1.5GiB", "10MB".
type Bytes int64

// units by suffix, in lower case; those in powers of 1024 first, as String picks from them.
var units = []struct {
	suffix string
	size   int64
}{
	{"tib", 1 << 40}, {"gib", 1 << 30}, {"mib", 1 << 20}, {"kib", 1 << 10},
	{"tb", 1e12}, {"gb", 1e9}, {"mb", 1e6}, {"kb", 1e3},
	{"b", 1},
}

// maxSizeText bounds what ParseBytes looks at: no sensible size is longer.
const maxSizeText = 64

// ParseBytes reads a size. It refuses negative sizes, fractions of a byte and what does not fit an int64.
func ParseBytes(text string) (Bytes, error) {
	number := strings.ToLower(strings.TrimSpace(text))
	size := int64(1)
	for _, u := range units {
		if rest, found := strings.CutSuffix(number, u.suffix); found {
			number, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	if number == "" || len(number) > maxSizeText || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is no size: want a number with a unit, such as 64MiB", clip(text))
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("%q is no size: want a number with a unit, such as 64MiB", clip(text))
	}
	r.Mul(r, new(big.Rat).SetInt64(size))
	if !r.IsInt() {
		return 0, fmt.Errorf("%q is not a whole number of bytes", clip(text))
	}
	if !r.Num().IsInt64() {
		return 0, fmt.Errorf("%q is more than %d bytes", clip(text), int64(math.MaxInt64))
	}
	return Bytes(r.Num().Int64()), nil
}

// String gives the size in the largest binary unit that divides it, in a form that ParseBytes reads.
func (b Bytes) String() string {
	names := []string{"TiB", "GiB", "MiB", "KiB"}
	for i, name := range names {
		if size := Bytes(units[i].size); b >= size && b%size == 0 {
			return strconv.FormatInt(int64(b/size), 10) + name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Hedge says when a read asks one more replica: after the recent 95th percentile of the replicas that it
// asked (Auto), after a fixed time, or never (the zero value).
type Hedge struct {
	Auto  bool
	After time.Duration
}

// ParseHedge reads "auto", "off" or a positive duration.
func ParseHedge(text string) (Hedge, error) {
	switch text {
	case "auto":
		return Hedge{Auto: true}, nil
	case "off":
		return Hedge{}, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return Hedge{}, fmt.Errorf("%q: want auto, off or a positive duration such as 20ms", clip(text))
	}
	return Hedge{After: d}, nil
}

// String gives the form that ParseHedge reads.
func (h Hedge) String() string {
	switch {
	case h.Auto:
		return "auto"
	case h.After <= 0:
		return "off"
	}
	return h.After.String()
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is too large", clip(text))
	}
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number", clip(text))
	}
	return n, nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: want a number with a unit, such as 500ms or 10s", clip(text))
	}
	return d, nil
}

func parseNumber(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is no number", clip(text))
	}
	return v, nil
}

func formatNumber(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func parseSwitch(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, fmt.Errorf("%q: want on or off", clip(text))
}

func formatSwitch(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func parseLevel(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q: want debug, info, warn or error", clip(text))
}

func formatLevel(l slog.Level) string { return strings.ToLower(l.String()) }

func parseText(text string) (string, error) { return text, nil }

func splitList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// defaultGossipPort completes a join address that has no port.
const defaultGossipPort = "7402"

// parseJoin reads a list of addresses to dial, and gives those without a port the default one.
func parseJoin(text string) ([]string, error) {
	list := splitList(text)
	for i, addr := range list {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			list[i] = net.JoinHostPort(strings.Trim(addr, "[]"), defaultGossipPort)
		}
		if err := checkDialled(list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func formatList(list []string) string { return strings.Join(list, ",") }

// clip keeps error messages short whatever was given.
func clip(text string) string {
	if len(text) > maxSizeText {
		return text[:maxSizeText] + "…"
	}
	return text
}
