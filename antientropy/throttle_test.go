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

func repeat(times int, o observed) (all []observed) {
	for range times {
		all = append(all, o)
	}
	return all
}

// Rates are out of 256: a start is 16, the least is 1.
func TestThrottle(t *testing.T) {
	usual := observed{10, 100, true}
	after := func(parts ...[]observed) (all []observed) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	one := func(o ...observed) []observed { return o }
	for name, test := range map[string]struct {
		o    ThrottleOptions
		seen []observed
		want float64
	}{
		"nothing seen":                        {want: 256},
		"nobody there":                        {seen: repeat(9, observed{0, 0, true}), want: 256},
		"quiet":                               {seen: one(usual), want: 16},
		"as usual":                            {seen: one(usual, observed{10, 100, false}), want: 20},
		"just so":                             {seen: one(usual, observed{15, 100, false}), want: 20},
		"slow":                                {seen: one(usual, observed{16, 100, false}), want: 8},
		"slow, and then not":                  {seen: one(usual, observed{16, 100, false}, observed{14, 100, false}), want: 10},
		"slow, and then nobody":               {seen: one(usual, observed{21, 100, false}, observed{0, 0, false}), want: 256},
		"slow, and then nothing to repair":    {seen: one(usual, observed{21, 100, false}, usual), want: 16},
		"slow, and nothing to repair":         {seen: one(usual, observed{21, 100, true}), want: 16},
		"clients come back":                   {seen: one(usual, observed{0, 0, false}, observed{10, 100, false}), want: 16},
		"and are slow":                        {seen: one(usual, observed{0, 0, false}, observed{21, 100, false}), want: 16},
		"as usual for long":                   {seen: after(one(usual), repeat(99, observed{10, 100, false})), want: 256},
		"slow for long":                       {seen: after(one(usual), repeat(99, observed{21, 100, false})), want: 1},
		"too few to tell":                     {seen: one(usual, observed{900, 19, false}), want: 256},
		"nothing usual is known":              {seen: one(observed{900, 100, false}), want: 16},
		"a smaller bound":                     {o: ThrottleOptions{MaxSlowdown: 1.5}, seen: one(usual, observed{13, 100, false}), want: 8},
		"no bound":                            {o: ThrottleOptions{MaxSlowdown: -1}, seen: one(usual, observed{900, 100, false}), want: 256},
		"too little to notice":                {o: ThrottleOptions{Least: 25 * time.Millisecond}, seen: one(usual, observed{21, 100, false}), want: 20},
		"a slow moment is no measure":         {seen: after(repeat(10, usual), one(observed{100, 100, true}, observed{40, 100, false})), want: 8},
		"slow by itself becomes usual":        {seen: after(repeat(10, usual), repeat(20, observed{100, 100, true}), one(observed{100, 100, false})), want: 20},
		"not so soon":                         {seen: after(repeat(10, usual), repeat(3, observed{100, 100, true}), one(observed{100, 100, false})), want: 8},
		"what is slow by repair is no usual":  {seen: after(repeat(10, usual), repeat(99, observed{100, 100, false})), want: 1},
		"quicker becomes usual":               {seen: after(repeat(10, observed{100, 100, true}), repeat(20, usual), one(observed{45, 100, false})), want: 8},
		"quicker while repairing is no usual": {seen: after(repeat(10, observed{100, 100, true}), repeat(40, observed{10, 100, false}), one(observed{150, 100, false})), want: 256},
		"never quiet: the first gentle ones":  {seen: after(repeat(2, observed{10, 100, false}), one(observed{21, 100, false})), want: 10},
		"never quiet: not those after":        {seen: after(repeat(2, observed{10, 100, false}), repeat(40, observed{14, 100, false})), want: 256},
		"quiet at last":                       {seen: one(observed{90, 100, false}, observed{90, 100, false}, usual, observed{21, 100, false}), want: 8},
		"a time without requests is no usual": {seen: after(repeat(3, usual), repeat(50, observed{0, 0, true}), one(usual, observed{21, 100, false})), want: 8},
	} {
		test.o.MaxRate = 256
		th, err := NewThrottle(test.o)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range test.seen {
			th.Observe(Sample{Most: time.Duration(o.ms) * time.Millisecond, Requests: o.requests, Quiet: o.quiet})
		}
		if got := th.Rate(); got != test.want {
			t.Errorf("%s: %v, want %v; usual are %v", name, got, test.want, th.Quiet())
		}
	}
}

// What another node's clients wait for counts as what its own do, whether it has any or not.
func TestThrottleForOthers(t *testing.T) {
	th, err := NewThrottle(ThrottleOptions{MaxRate: 256})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []float64{128, 64} {
		if th.Observe(Sample{Slowed: true}); th.Rate() != want {
			t.Errorf("%v, want %v", th.Rate(), want)
		}
	}
	if th.Observe(Sample{}); th.Rate() != 256 {
		t.Errorf("%v", th.Rate())
	}
	th.Observe(Sample{Most: 10 * time.Millisecond, Requests: 100, Quiet: true})
	th.Observe(Sample{Most: 10 * time.Millisecond, Requests: 100, Slowed: true})
	if th.Rate() != 8 {
		t.Errorf("%v", th.Rate())
	}
	for ms, want := range map[int]bool{15: false, 16: true} {
		if got := th.Slow(Sample{Most: time.Duration(ms) * time.Millisecond, Requests: 20}); got != want {
			t.Errorf("%d ms is slow: %v", ms, got)
		}
	}
	if th.Slow(Sample{Most: time.Second, Requests: 19}) {
		t.Error("too few tell something")
	}
}

func TestThrottleOptions(t *testing.T) {
	for _, o := range []ThrottleOptions{{}, {MaxRate: 1, MaxSlowdown: 0.5}, {MaxRate: 1, Least: -1}, {MaxRate: 1, Enough: -1}} {
		if _, err := NewThrottle(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
