package client

import (
	"testing"
	"time"
)

const usual = 10 * time.Millisecond

func TestSlowNodeIsSetAside(t *testing.T) {
	now := time.Unix(1000, 0)
	var s standing
	s.took(usual, usual, now)
	s.took(slowAt(usual)+1, usual, now)
	s.took(usual, usual, now)
	s.took(slowAt(usual)+1, usual, now)
	if s.aside {
		t.Fatal("set aside for slow answers that were not in a row")
	}
	s.took(slowAt(usual)+1, usual, now)
	if !s.aside || s.due != now.Add(leastAside) {
		t.Fatalf("%+v", s)
	}

	// It stays aside while trying it out shows it slow, ever longer.
	for _, pause := range []time.Duration{2, 4, 8, 16, 30, 30} {
		now = s.due
		if s.tried(false, now); !s.aside || s.due != now.Add(pause*time.Second) {
			t.Fatalf("due after %v, want %v s", s.due.Sub(now), int(pause))
		}
	}
	now = s.due
	if s.tried(true, now); s.aside || s.usual != 0 {
		t.Fatalf("%+v", s)
	}

	// A relapse goes on where it was, a new trouble later begins anew.
	now = now.Add(relapse)
	slowly(&s, now)
	if s.due != now.Add(mostAside) {
		t.Errorf("aside for %v after a relapse", s.due.Sub(now))
	}
	s.tried(true, now)
	now = now.Add(relapse + 1)
	slowly(&s, now)
	if s.due != now.Add(leastAside) {
		t.Errorf("aside for %v long after the last time", s.due.Sub(now))
	}
}

func slowly(s *standing, now time.Time) {
	for range slowInRow {
		s.took(time.Second, usual, now)
	}
}

func TestNobodyIsSlowWhereAllAre(t *testing.T) {
	now := time.Unix(1000, 0)
	var s standing
	for range 100 {
		s.took(time.Second, 300*time.Millisecond, now)
		s.took(leastSlow, time.Millisecond, now)
		s.took(time.Minute, 0, now) // nothing to compare with
	}
	if s.aside {
		t.Error("set aside")
	}
}

func TestMedianTime(t *testing.T) {
	if got := medianTime([]time.Duration{1, 1000}); got != 0 {
		t.Errorf("of two: %v", got)
	}
	if got := medianTime([]time.Duration{900, 3, 800, 1, 2}); got != 3 {
		t.Errorf("of five: %v", got)
	}
	if got := medianTime([]time.Duration{900, 3, 800, 1}); got != 3 {
		t.Errorf("of four: %v", got)
	}
}

func TestImpatience(t *testing.T) {
	for typical, want := range map[time.Duration]time.Duration{
		0: firstPatience, time.Millisecond: leastPatience, 30 * time.Millisecond: 150 * time.Millisecond, time.Second: firstPatience,
	} {
		if got := firstPatience - impatience(typical); got != want {
			t.Errorf("patience of %v where %v is typical, want %v", got, typical, want)
		}
	}
}
