package storage

import (
	"math"
	"testing"
)

func TestAutomaticReserve(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct{ disk, memTable, want uint64 }{
		{0, 64 * mib, 0},
		{16 * mib, 64 * mib, 4 * mib},       // a quarter at most
		{gib, 64 * mib, 256 * mib},          // all memtables, and a quarter
		{gib, mib, 64 * mib},                // the least
		{4 * gib, mib, 4 * gib / 20},        // a twentieth
		{10 * gib, 64 * mib, 10 * gib / 20}, // more than the memtables
		{1 << 44, 64 * mib, gib},            // the most
		{1 << 44, gib, 4 * gib},             // but all memtables
	} {
		if got := automaticReserve(c.disk, c.memTable); got != c.want {
			t.Errorf("disk of %d, memtable of %d: %d, want %d", c.disk, c.memTable, got, c.want)
		}
	}
}

func TestSpaceLevels(t *testing.T) {
	r := spaceRule{reserve: 800, ballast: 100}
	for _, c := range []struct {
		now   spaceLevel
		free  uint64
		spent bool
		want  spaceLevel
	}{
		{spaceOpen, math.MaxUint64, false, spaceOpen},
		{spaceOpen, 800, false, spaceOpen},
		{spaceOpen, 799, false, spaceFull},
		{spaceOpen, 200, false, spaceFull},
		{spaceOpen, 199, false, spaceScarce},
		{spaceOpen, 0, false, spaceScarce},
		// What the ballast needs is not there for writes.
		{spaceOpen, 900, true, spaceOpen},
		{spaceOpen, 899, true, spaceFull},
		{spaceOpen, 199, true, spaceScarce},
		// A full one waits for an eighth more than it needs to stay open.
		{spaceFull, 800, false, spaceFull},
		{spaceFull, 899, false, spaceFull},
		{spaceFull, 900, false, spaceOpen},
		{spaceFull, 999, true, spaceFull},
		{spaceFull, 1000, true, spaceOpen},
		{spaceFull, 199, false, spaceScarce},
		{spaceScarce, 0, true, spaceScarce},
		{spaceScarce, 200, true, spaceFull},
		{spaceScarce, 899, false, spaceFull},
		{spaceScarce, 900, false, spaceOpen},
	} {
		if got := r.next(c.now, c.free, c.spent); got != c.want {
			t.Errorf("level %d, %d free, spent %t: %d, want %d", c.now, c.free, c.spent, got, c.want)
		}
	}
}

// To let the ballast go and to make it again must not by themselves open a store that was full, nor close one that was
// open: it would change its mind for ever.
func TestBallastDecidesNothing(t *testing.T) {
	r := spaceRule{reserve: 800, ballast: 500}
	for free := uint64(0); free < 3000; free++ {
		for _, now := range []spaceLevel{spaceOpen, spaceFull, spaceScarce} {
			kept, spent := r.next(now, free, false), r.next(now, free+r.ballast, true)
			if (kept == spaceOpen) != (spent == spaceOpen) {
				t.Fatalf("level %d, %d free: %d with the ballast, %d without", now, free, kept, spent)
			}
		}
	}
}

func TestRemains(t *testing.T) {
	for _, c := range []struct{ free, used, want uint64 }{{5, 3, 2}, {3, 3, 0}, {3, 5, 0}, {3, math.MaxUint64, 0}} {
		if got := remains(c.free, c.used); got != c.want {
			t.Errorf("%d of %d: %d", c.used, c.free, got)
		}
	}
}
