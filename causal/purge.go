package causal

import (
	"slices"
	"time"
)

// PurgeBefore returns the highest dot whose tombstone, or whose past, may go at a purge level, when clocks are at most offset
// ahead. What a tombstone has replaced may be tried again for a retry window, and the retry's dot must be one that the
// level denies.
func PurgeBefore(level HLC, offset time.Duration) HLC {
	ms := level.Millis() - (RetryWindow + offset).Milliseconds() - 1
	if ms <= 0 {
		return 0
	}
	return NewHLC(ms, level.Counter())
}

// Purge drops from s what may go at a purge level: tombstones and pasts of versions with dots up to before, which is
// PurgeBefore(level, ...), and with them values that expired at or before level. It returns s itself if that is nothing.
//
// A past goes as a whole and by its own version's dot: part of one would no longer cover what the version replaced.
func Purge(s State, level, before HLC) (State, bool) {
	if before == 0 || !slices.ContainsFunc(s.Versions, func(v Version) bool { return v.purgeable(level, before) }) {
		return s, false
	}
	kept := make([]Version, 0, len(s.Versions))
	for _, v := range s.Versions {
		if v.purgeable(level, before) {
			if v.gone(level) {
				continue
			}
			v.Past = Past{}
		}
		kept = append(kept, v)
	}
	s.Versions = kept
	if len(kept) == 0 {
		s.Versions = nil
	}
	return s, true
}

func (v *Version) purgeable(level, before HLC) bool {
	return v.Dot.HLC <= before && (v.gone(level) || !v.Past.IsZero())
}

// gone reports whether nothing of the version need be left at a purge level.
func (v *Version) gone(level HLC) bool { return v.Tombstone || v.Expired(level) }

// PurgeableAt returns an HLC such that Purge finds something in s once PurgeBefore has reached it: zero if it never will.
func (s State) PurgeableAt() HLC {
	var first HLC
	for i := range s.Versions {
		v := &s.Versions[i]
		at := v.Dot.HLC
		switch {
		case v.Tombstone || !v.Past.IsZero():
		case v.ExpiresAt != 0:
			at = max(at, v.ExpiresAt)
		default:
			continue
		}
		if first == 0 || at < first {
			first = at
		}
	}
	return first
}
