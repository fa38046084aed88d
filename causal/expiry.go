package causal

import "time"

// A version that has expired is absent for readers and for nobody else: it stays in states, digests and contexts until
// it is replaced. So whether two replicas hold the same never depends on what time it is, and expiry is decided in one
// place, by the clock of whoever coordinates a read.

// MaxTTL is the longest time to live, 100 years of 365 days. Whoever wants more wants none.
const MaxTTL = 100 * 365 * 24 * time.Hour

// CheckTTL reports whether a value may live for so many milliseconds: from 1 to those of MaxTTL. HLCs count
// milliseconds, so there is nothing finer.
func CheckTTL(ms int64) bool { return ms >= 1 && ms <= MaxTTL.Milliseconds() }

// expiry returns when a version minted at h expires: ttl after its physical part, fractions of a millisecond counting
// as one. Zero for a ttl of 0. What is beyond the end of time expires at MaxHLC.
func expiry(h HLC, ttl time.Duration) HLC {
	if ttl <= 0 {
		return 0
	}
	ms := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		ms++
	}
	if ms > maxMillis-h.Millis() {
		return MaxHLC
	}
	return NewHLC(h.Millis()+ms, 0)
}

// Expired reports whether a reader at now takes the version for absent. Tombstones don't expire.
func (v *Version) Expired(now HLC) bool {
	return v.ExpiresAt != 0 && v.ExpiresAt <= now && !v.Tombstone
}

// LiveAt reports whether some version is neither a tombstone nor expired at now.
func (s State) LiveAt(now HLC) bool {
	for i := range s.Versions {
		if v := &s.Versions[i]; !v.Tombstone && !v.Expired(now) {
			return true
		}
	}
	return false
}
