package causal

import (
	"fmt"
	"time"
)

const (
	counterBits = 16
	maxMillis   = 1<<48 - 1
)

// HLC is a hybrid logical clock reading: 48 bits of milliseconds since 1970 above 16 bits of counter.
// Zero means none: no write has it, and as a floor or an expiry it says nothing.
type HLC uint64

// MaxHLC is the highest reading there is, in the year 10889.
const MaxHLC = HLC(1<<64 - 1)

// NewHLC composes a reading. Milliseconds are clamped to 0 and to 48 bits.
func NewHLC(ms int64, counter uint16) HLC {
	ms = min(max(ms, 0), maxMillis)
	return HLC(ms)<<counterBits | HLC(counter)
}

// Millis returns the milliseconds since 1970.
func (h HLC) Millis() int64 { return int64(h >> counterBits) }

// Counter returns the counter that tells readings of one millisecond apart.
func (h HLC) Counter() uint16 { return uint16(h) }

// Time returns the physical part, in UTC.
func (h HLC) Time() time.Time { return time.UnixMilli(h.Millis()).UTC() }

// Next returns the reading right after h. A full counter carries into the milliseconds; MaxHLC has no
// successor and returns itself.
func (h HLC) Next() HLC {
	if h == MaxHLC {
		return h
	}
	return h + 1
}

// String renders h as RFC 3339 time with milliseconds, a slash, and the counter.
func (h HLC) String() string {
	return fmt.Sprintf("%s/%d", h.Time().Format("2006-01-02T15:04:05.000Z"), h.Counter())
}
