package antientropy

import (
	"testing"
	"time"
)

// observed is a second of requests.
type observed struct {
	ms       int
	requests int
	quiet    bool
}

func TestThrottle(t *testing.T) {
	usual := observed{10, 100, true}
	repeat := func(o observed, times int) (all []observed) {
		for range times {
			all = append(all, o)
		}
		return all
	}
	for name, test := range map[string]struct {
		o    ThrottleOptions
		seen []observed
		want bool
	}{
		"nothing seen":                        {want: false},
		"as usual":                            {seen: []observed{usual, {10, 100, false}}},
		"just so":                             {seen: []observed{usual, {20, 100, false}}},
		"slow":                                {seen: []observed{usual, {21, 100, false}}, want: true},
		"slow, and then not":                  {seen: []observed{usual, {21, 100, false}, {19, 100, false}}},
		"slow, and then nobody":               {seen: []observed{usual, {21, 100, false}, {0, 0, false}}},
		"too few to tell":                     {seen: []observed{usual, {900, 19, false}}},
		"nothing usual is known":              {seen: []observed{{900, 100, false}}},
		"a smaller bound":                     {o: ThrottleOptions{MaxSlowdown: 1.5}, seen: []observed{usual, {16, 100, false}}, want: true},
		"no bound":                            {o: ThrottleOptions{MaxSlowdown: -1}, seen: []observed{usual, {900, 100, false}}},
		"too little to notice":                {o: ThrottleOptions{Least: 25 * time.Millisecond}, seen: []observed{usual, {21, 100, false}}},
		"a slow moment is no measure":         {seen: append(repeat(usual, 10), observed{100, 100, true}, observed{40, 100, false}), want: true},
		"slow by itself becomes usual":        {seen: append(repeat(usual, 10), repeat(observed{100, 100, true}, 12)...)},
		"not so soon":                         {seen: append(repeat(usual, 10), repeat(observed{100, 100, true}, 3)...), want: true},
		"what is slow by repair is no usual":  {seen: append(repeat(usual, 10), repeat(observed{100, 100, false}, 99)...), want: true},
		"quicker is usual soon":               {seen: append(repeat(observed{100, 100, true}, 10), append(repeat(usual, 12), observed{30, 100, false})...), want: true},
		"a time without requests is no usual": {seen: append(repeat(usual, 3), append(repeat(observed{0, 0, true}, 50), observed{21, 100, false})...), want: true},
	} {
		th, err := NewThrottle(test.o)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range test.seen {
			th.Observe(time.Duration(o.ms)*time.Millisecond, o.requests, o.quiet)
		}
		if got := th.Hold(time.Unix(1, 0)); got != test.want {
			t.Errorf("%s: holds: %v; usual are %v", name, got, th.Quiet())
		}
	}
}

// However slow requests stay, one step is taken every five seconds.
func TestThrottleStarvesNobody(t *testing.T) {
	th, err := NewThrottle(ThrottleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	th.Observe(10*time.Millisecond, 100, true)
	th.Observe(time.Second, 100, false)
	now := time.Unix(1000, 0)
	var steps []time.Duration
	for at := time.Duration(0); at < 20*time.Second; at += 100 * time.Millisecond {
		if !th.Hold(now.Add(at)) {
			steps = append(steps, at)
		}
	}
	if len(steps) != 3 || steps[0] != 5*time.Second {
		t.Errorf("steps after %v", steps)
	}
	if now = now.Add(-time.Hour); !th.Hold(now) || th.Hold(now.Add(5*time.Second)) {
		t.Error("a clock that was set back holds longer")
	}
	th.Observe(10*time.Millisecond, 100, false)
	if th.Hold(now) {
		t.Error("it holds on when requests are quick again")
	}
}

func TestThrottleOptions(t *testing.T) {
	for _, o := range []ThrottleOptions{{MaxSlowdown: 0.5}, {Least: -1}, {Enough: -1}, {MaxHold: -1}} {
		if _, err := NewThrottle(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
