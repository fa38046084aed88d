package pace

import (
	"slices"
	"testing"
	"time"
)

// server is a machine of which each request takes its share: no request is done in less than alone, and so many a
// second are the most that it does.
type server struct {
	alone     time.Duration
	perSecond float64
}

func (s server) takes(inFlight int) time.Duration {
	return max(s.alone, time.Duration(float64(inFlight)/s.perSecond*float64(time.Second)))
}

// run offers so many requests a second for a time, in steps of a millisecond, and returns how many a second were done
// in the last half, and the longest that one of them took.
func run(c *Control, now *time.Time, s server, perSecond float64, d time.Duration) (done float64, longest time.Duration) {
	type request struct {
		begun, ends time.Time
		place       int
	}
	var running []request
	begun, owed, n := *now, 0.0, 0
	for now.Sub(begun) < d || len(running) > 0 {
		running = slices.DeleteFunc(running, func(r request) bool {
			if r.ends.After(*now) {
				return false
			}
			if now.Sub(begun) > d/2 && now.Sub(begun) < d {
				n++
				longest = max(longest, r.ends.Sub(r.begun))
			}
			c.Release(*now, now.Sub(r.begun), r.place, Done)
			return true
		})
		if now.Sub(begun) < d {
			owed += perSecond / 1000
		}
		for ; owed >= 1; owed-- {
			if now.Sub(begun) >= d {
				continue
			}
			if place := c.Acquire(*now); place > 0 {
				running = append(running, request{*now, now.Add(s.takes(place)), place})
			}
		}
		*now = now.Add(time.Millisecond)
	}
	return float64(n) / (d / 2).Seconds(), longest
}

const least, start = 16, 256

func newTestControl() (*Control, *time.Time) {
	now := time.Unix(1000, 0)
	return NewControl(Options{Min: least, Start: start, Max: 2048}, now), &now
}

func TestLimitKeepsThroughputAndTimes(t *testing.T) {
	for _, test := range []struct {
		name string
		s    server
	}{
		{"small", server{5 * time.Millisecond, 400}},
		{"medium", server{2 * time.Millisecond, 5000}},
		{"far apart", server{200 * time.Millisecond, 2000}},
	} {
		c, now := newTestControl()
		run(c, now, test.s, 20, 20*time.Second) // so that it knows calm times
		done, longest := run(c, now, test.s, 4*test.s.perSecond, 10*time.Second)
		// As the share of a request is known when it begins, more may be done than the machine would.
		if done < 0.8*test.s.perSecond {
			t.Errorf("%s: %.0f a second, want 80 %% of %.0f", test.name, done, test.s.perSecond)
		}
		if most := 2 * max(DefaultTarget, calmFactor*test.s.alone); longest > most {
			t.Errorf("%s: a request took %v, want %v at most", test.name, longest, most)
		}
		if c.InFlight() != 0 {
			t.Errorf("%s: %d in flight at the end", test.name, c.InFlight())
		}
	}
}

func TestLimitGrowsWithWhatIsNeeded(t *testing.T) {
	c, now := newTestControl()
	fast := server{10 * time.Millisecond, 200_000}
	if run(c, now, fast, 1000, 5*time.Second); c.Limit() != start {
		t.Errorf("the limit is %d though it was never in the way", c.Limit())
	}
	if done, _ := run(c, now, fast, 50_000, 6*time.Second); done < 49_000 || c.Limit() < 500 || c.Limit() > 2048 {
		t.Errorf("%.0f a second at a limit of %d", done, c.Limit())
	}
}

func TestLimitComesBack(t *testing.T) {
	c, now := newTestControl()
	if run(c, now, server{5 * time.Millisecond, 300}, 3000, 20*time.Second); c.Limit() > start/2 {
		t.Fatalf("the limit of a slow machine is %d", c.Limit())
	}
	run(c, now, server{5 * time.Millisecond, 50_000}, 100, 10*time.Second)
	if c.Limit() < start {
		t.Errorf("the limit is %d 10 s after the machine was slow", c.Limit())
	}
}

func TestQuickRefusalsTellNothing(t *testing.T) {
	c, now := newTestControl()
	for range 100 {
		place := c.Acquire(*now)
		*now = now.Add(10 * time.Millisecond)
		c.Release(*now, 10*time.Millisecond, place, Failed)
	}
	if c.calm != 0 || c.Limit() != start {
		t.Errorf("calm %v, limit %d after refusals alone", c.calm, c.Limit())
	}
}

func TestShedWorkCountsAsSlow(t *testing.T) {
	c, now := newTestControl()
	for range 100 {
		place := c.Acquire(*now)
		*now = now.Add(10 * time.Millisecond)
		c.Release(*now, time.Millisecond, place, Shed)
	}
	if c.Limit() != least {
		t.Errorf("the limit is %d though all work was shed", c.Limit())
	}
}

// Work that hangs holds its places, and that is bad enough: what is quick beside it must not be held back the more.
func TestExpiredWorkBesideQuickWork(t *testing.T) {
	now := new(time.Unix(1000, 0))
	c := NewControl(Options{Min: 2, Start: start, Max: 2048}, *now)
	for range 2000 {
		hanging, quick := c.Acquire(*now), c.Acquire(*now)
		*now = now.Add(5 * time.Millisecond)
		c.Release(*now, 5*time.Millisecond, quick, Done)
		c.Release(*now, hold, hanging, Expired)
	}
	if c.Limit() < start {
		t.Errorf("the limit is %d though all that was answered was quick", c.Limit())
	}
}

// Where nothing at all ends in time, and the limit is in the way, it falls.
func TestNothingButExpiredWork(t *testing.T) {
	c, now := newTestControl()
	for range 30 {
		var places []int
		for {
			place := c.Acquire(*now)
			if place == 0 {
				break
			}
			places = append(places, place)
		}
		*now = now.Add(hold)
		for _, place := range places {
			c.Release(*now, hold, place, Expired)
		}
	}
	if c.Limit() != least {
		t.Errorf("the limit is %d though nothing was answered", c.Limit())
	}
}

// A few slow pieces with nothing else to do are no reason to refuse the next burst.
func TestLoneSlowWork(t *testing.T) {
	c, now := newTestControl()
	for range 20 {
		place := c.Acquire(*now)
		*now = now.Add(2 * time.Second)
		c.Release(*now, 400*time.Millisecond, place, Done)
	}
	if c.Limit() != start {
		t.Errorf("the limit is %d after lone slow pieces of work", c.Limit())
	}
}

// A machine that was slow for a while, and is then asked for more than it can do, has not made slowness the measure.
func TestBadTimesAreNoMeasure(t *testing.T) {
	c, now := newTestControl()
	run(c, now, server{5 * time.Millisecond, 1000}, 100, 5*time.Second)
	run(c, now, server{450 * time.Millisecond, 1000}, 100, 5*time.Second)
	_, longest := run(c, now, server{5 * time.Millisecond, 1000}, 4000, 20*time.Second)
	if most := 4 * DefaultTarget; longest > most {
		t.Errorf("a request took %v, want %v at most", longest, most)
	}
}
