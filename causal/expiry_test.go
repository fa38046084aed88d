package causal

import (
	"math"
	"testing"
	"time"
)

func TestTTLBounds(t *testing.T) {
	for ms, want := range map[int64]bool{
		math.MinInt64: false, -1: false, 0: false, 1: true, 600_000: true,
		3_153_600_000_000: true, 3_153_600_000_001: false, math.MaxInt64: false,
	} {
		if CheckTTL(ms) != want {
			t.Errorf("%d ms: %t", ms, !want)
		}
	}
}

func TestExpiryIsCountedFromTheDot(t *testing.T) {
	for _, c := range []struct {
		minted HLC
		ttl    time.Duration
		want   HLC
	}{
		{NewHLC(1000, 7), 0, 0},
		{NewHLC(1000, 7), time.Millisecond, NewHLC(1001, 0)},
		{NewHLC(1000, 7), time.Minute, NewHLC(61_000, 0)},
		{NewHLC(1000, 0), time.Nanosecond, NewHLC(1001, 0)},
		{NewHLC(1000, 0), time.Millisecond + 1, NewHLC(1002, 0)},
		{NewHLC(maxMillis-5, 3), 5 * time.Millisecond, NewHLC(maxMillis, 0)},
		{NewHLC(maxMillis-5, 3), 6 * time.Millisecond, MaxHLC},
		{NewHLC(maxMillis, 3), math.MaxInt64, MaxHLC},
	} {
		for _, p := range []Policy{Siblings, LastWriteWins} {
			_, v := Mint(p, State{}, 1, c.minted, Write{RequestID: rid(1), Value: []byte("v"), TTL: c.ttl})
			if v.ExpiresAt != c.want {
				t.Errorf("%v, %v for %v: expires at %v, want %v", p, c.minted, c.ttl, v.ExpiresAt, c.want)
			}
		}
	}
	if _, v := Mint(Siblings, State{}, 1, NewHLC(1000, 0), Write{Tombstone: true, TTL: time.Minute}); v.ExpiresAt != 0 {
		t.Errorf("a tombstone expires at %v", v.ExpiresAt)
	}
}

func TestExpiredIsFromTheMomentOn(t *testing.T) {
	at := NewHLC(5000, 0)
	v := Version{Dot: Dot{1, NewHLC(1000, 0)}, ExpiresAt: at}
	if v.Expired(0) || v.Expired(at-1) || !v.Expired(at) || !v.Expired(MaxHLC) {
		t.Error("expired before the moment, or not from it on")
	}
	forever := Version{Dot: Dot{2, NewHLC(1000, 0)}}
	if forever.Expired(MaxHLC) {
		t.Error("what has no expiry has expired")
	}
	// A tombstone with an expiry, which nothing mints, still says deleted.
	tomb := Version{Dot: Dot{3, NewHLC(1000, 0)}, Tombstone: true, ExpiresAt: at}
	if tomb.Expired(at) || state(tomb).LiveAt(0) {
		t.Error("a tombstone has expired, or lives")
	}
	for _, c := range []struct {
		s             State
		before, after bool
	}{
		{State{}, false, false},
		{state(v), true, false},
		{state(v, forever), true, true},
		{state(v, tomb), true, false},
	} {
		if c.s.LiveAt(at-1) != c.before || c.s.LiveAt(at) != c.after {
			t.Errorf("%s: before %t, after %t", show(c.s), c.s.LiveAt(at-1), c.s.LiveAt(at))
		}
	}
}

// Expiry is the reader's view: what replicas compare, and what a context covers, does not know of it.
func TestAnExpiredVersionStays(t *testing.T) {
	const now = HLC(100 << counterBits)
	expired := ver(1, 10, 1, Past{})
	expired.ExpiresAt = 20
	live := ver(2, 30, 2, Past{})
	both := mergeAll(Siblings, state(expired), state(live))
	wantRequests(t, both, 1, 2)
	if !both.Versions[0].Expired(now) || both.Digest() == state(live).Digest() {
		t.Error("the digest leaves the expired version out")
	}
	if c := both.Context(); !c.Covers(expired.Dot) || !c.Names(expired.RequestID) {
		t.Error("the context does not cover the expired version")
	}
	next, _ := Mint(Siblings, both, 3, now, Write{Context: both.Context(), RequestID: rid(3), Value: []byte("new")})
	wantRequests(t, next, 3)
	// A retry of the expired write is still known.
	if v, known := both.Known(rid(1)); !known || v.ExpiresAt != 20 {
		t.Errorf("the expired write is known: %t (%+v)", known, v)
	}
	if got := both.DeleteContext(rid(4)); !got.Covers(expired.Dot) {
		t.Error("a delete without context does not cover the expired version")
	}
	// Under lww what has expired has still replaced what is older, for good.
	older := ver(3, 5, 5, Past{})
	last := mergeAll(LastWriteWins, state(older), state(expired))
	wantRequests(t, last, 1)
	if last.LiveAt(now) {
		t.Error("an older value shows where the last one has expired")
	}
}
