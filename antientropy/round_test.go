package antientropy

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

func nodeNumber(i int) ring.NodeID { return ring.NodeID{0: byte(i + 1)} }

// seats draws parts of up to five nodes.
func seats(rng *rand.Rand, n int) []Seats {
	var out []Seats
	for p := range n {
		count := 1 + rng.IntN(3)
		s := Seats{Part: Part{N: count, Partition: p}}
		for k, i := range rng.Perm(5)[:min(2*count, 5)] {
			s.Guardians = append(s.Guardians, nodeNumber(i))
			if k < count {
				s.Owners = append(s.Owners, nodeNumber(i))
			}
		}
		out = append(out, s)
	}
	return out
}

// TestRound goes through rounds in which anything may go wrong, and holds what may be raised against a plain reading of the
// rules: nothing went wrong for that part.
func TestRound(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	raised, kept := 0, 0
	for range 3000 {
		parts := seats(rng, 1+rng.IntN(6))
		r := NewRound(100, parts)
		wrong := map[Part]bool{}
		floors := map[Part]causal.HLC{}
		may := func(rate int) bool { return rng.IntN(rate) == 0 }
		spoil := func(id ring.NodeID) {
			for _, s := range parts {
				wrong[s.Part] = wrong[s.Part] || slices.Contains(s.Guardians, id)
			}
		}
		for _, s := range parts {
			floors[s.Part] = causal.MaxHLC
		}
		guardians := r.Guardians()
		for _, id := range guardians {
			if may(20) {
				spoil(id) // never asked
				continue
			}
			a := Attestation{Process: uint64(id[0])}
			var err error
			if may(20) {
				err = errors.New("away")
				spoil(id)
			}
			for i, p := range r.PartsOf(id) {
				floor := causal.HLC(rng.IntN(90))
				a.Floors = append(a.Floors, floor)
				if s := parts[slices.IndexFunc(parts, func(s Seats) bool { return s.Part == p })]; slices.Contains(s.Owners, id) {
					floors[p] = min(floors[p], floor)
				}
				if may(30) {
					a.Hinted, wrong[p] = append(a.Hinted, i), true
				}
				if may(30) {
					a.Rebuilding, wrong[p] = append(a.Rebuilding, i), true
				}
			}
			if may(30) {
				a.Floors = append(a.Floors, 1)
				spoil(id)
			}
			r.Attested(id, id.String(), a, err)
		}
		before := maps.Clone(wrong)
		for _, pair := range r.Pairs() {
			if slices.Compare(pair.A[:], pair.B[:]) >= 0 {
				t.Fatal("a pair is in the wrong order")
			}
			var err error
			var doubtful []int
			for _, p := range pair.Partitions {
				if before[Part{pair.N, p}] {
					t.Fatalf("%v is compared in vain", p)
				}
			}
			switch {
			case may(25):
				err = errors.New("broken off")
				doubtful = pair.Partitions
			case may(15):
				doubtful = pair.Partitions[:1]
			case may(25):
				for _, p := range pair.Partitions {
					wrong[Part{pair.N, p}] = true
				}
				continue // never compared
			}
			for _, p := range doubtful {
				wrong[Part{pair.N, p}] = true
			}
			r.Exchanged(pair, doubtful, err)
		}
		for _, id := range guardians {
			process, err := uint64(id[0]), error(nil)
			switch {
			case may(25):
				process++
				spoil(id)
			case may(25):
				err = errors.New("away")
				spoil(id)
			}
			r.Confirmed(id, id.String(), process, err)
		}
		told := map[Part]int{}
		for _, raise := range r.Raises() {
			if raise.Process != uint64(raise.Node[0]) || len(raise.Parts) != len(raise.PurgeLevels) {
				t.Fatalf("%+v", raise)
			}
			for i, p := range raise.Parts {
				told[p]++
				if raise.PurgeLevels[i] != floors[p] {
					t.Fatalf("purge level %v, the lowest floor is %v", raise.PurgeLevels[i], floors[p])
				}
			}
		}
		failed := r.Failed()
		for _, s := range parts {
			_, bad := failed[s.Part]
			want := len(s.Owners)
			if wrong[s.Part] {
				want = 0
				kept++
			} else {
				raised++
			}
			if told[s.Part] != want || bad != wrong[s.Part] {
				t.Fatalf("%d owners are told of %v, want %d; failed: %q", told[s.Part], s.Part, want, failed[s.Part])
			}
		}
	}
	if raised < 500 || kept < 500 {
		t.Errorf("%d parts were raised and %d not", raised, kept)
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	a, b := nodeNumber(0), nodeNumber(1)
	others := []ring.NodeID{a, b}
	type pulled struct {
		floor   causal.HLC
		vouches bool
	}
	for _, c := range []struct {
		a, b         *pulled
		floor, level causal.HLC
		ended        bool
	}{
		{nil, nil, 0, 0, false},
		{&pulled{50, true}, nil, 0, 0, false},
		{&pulled{50, true}, &pulled{40, true}, 50, 30, true},
		{&pulled{50, true}, &pulled{0, false}, 50, 30, true},
		{&pulled{20, true}, &pulled{0, false}, 20, 20, true},
		{&pulled{50, false}, &pulled{60, false}, 0, 0, true},
	} {
		r := NewRebuild(30)
		if c.a != nil {
			r.Pulled(a, c.a.floor, c.a.vouches)
		}
		if c.b != nil {
			r.Pulled(b, c.b.floor, c.b.vouches)
		}
		floor, level, ended := r.Ended(others)
		if floor != c.floor || level != c.level || ended != c.ended || r.Lacks(a) != (c.a == nil) {
			t.Errorf("%+v: %v %v %v", c, floor, level, ended)
		}
	}
	if _, _, ended := NewRebuild(30).Ended(nil); !ended {
		t.Error("a single owner waits for others")
	}
}

// roundCluster answers for all nodes.
type roundCluster struct {
	mu     sync.Mutex
	rng    *rand.Rand
	parts  []Seats
	away   map[ring.NodeID]bool
	steps  []string
	raised map[Part]int
}

func (c *roundCluster) options(t *testing.T, interval time.Duration) RoundOptions {
	note := func(step string, id ring.NodeID) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.steps = append(c.steps, step)
		if c.away[id] {
			return errors.New("away")
		}
		return nil
	}
	return RoundOptions{
		Peer: RoundPeer{
			Attest: func(_ context.Context, id ring.NodeID, _ uint64, at, through causal.HLC, parts []Part) (Attestation, error) {
				if through >= at || through == 0 {
					t.Errorf("a round at %v through %v", at, through)
				}
				return Attestation{Process: 7, Floors: make([]causal.HLC, len(parts))}, note("attest", id)
			},
			Process: func(_ context.Context, id ring.NodeID) (uint64, error) { return 7, note("confirm", id) },
			Compare: func(_ context.Context, pair Pair) ([]int, error) { return nil, note("compare", pair.A) },
			Raise: func(_ context.Context, _ uint64, _ causal.HLC, raise Raise) error {
				err := note("raise", raise.Node)
				c.mu.Lock()
				defer c.mu.Unlock()
				for _, p := range raise.Parts {
					c.raised[p]++
				}
				return err
			},
		},
		Lead:     func() Lead { return Lead{Epoch: 1, Parts: c.parts} },
		Reading:  func(context.Context) (causal.HLC, error) { return causal.NewHLC(time.Now().UnixMilli(), 0), nil },
		Name:     ring.NodeID.String,
		Up:       func(ring.NodeID) bool { return true },
		Interval: interval, Rand: c.rng,
	}
}

// TestRounds: everything is done in its order, again and again; what a node holds up that is away is tried again soon, and the
// rest is not done over for it.
func TestRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		c := &roundCluster{rng: rng, parts: seats(rng, 8), away: map[ring.NodeID]bool{}, raised: map[Part]int{}}
		interval := 10 * time.Minute
		r, err := NewRounds(c.options(t, interval))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		defer running.Wait()
		defer cancel()
		time.Sleep(35 * time.Second)
		counts := func() (all map[Part]int, steps []string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			steps, c.steps = c.steps, nil
			all, c.raised = c.raised, map[Part]int{}
			return all, steps
		}
		all, steps := counts()
		order := []string{"attest", "compare", "confirm", "raise"}
		if !slices.IsSortedFunc(steps, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) }) {
			t.Errorf("out of order: %v", steps)
		}
		for _, s := range c.parts {
			if all[s.Part] != len(s.Owners) {
				t.Errorf("%d owners of %v were told", all[s.Part], s.Part)
			}
		}
		gone := nodeNumber(2)
		c.mu.Lock()
		c.away[gone] = true
		c.mu.Unlock()
		time.Sleep(interval * 5 / 4)
		all, _ = counts()
		held := 0
		for _, s := range c.parts {
			want := len(s.Owners)
			if slices.Contains(s.Guardians, gone) {
				want = 0
				held++
			}
			if all[s.Part] != want {
				t.Errorf("with a node away %d owners of %v were told, want %d", all[s.Part], s.Part, want)
			}
		}
		if back := r.Setbacks(); len(back) != held || held == 0 || held == len(c.parts) {
			t.Errorf("%d setbacks, %d parts are held up", len(back), held)
		}
		c.mu.Lock()
		c.away[gone] = false
		c.mu.Unlock()
		r.Wake()
		time.Sleep(time.Minute)
		all, _ = counts()
		for _, s := range c.parts {
			want := 0
			if slices.Contains(s.Guardians, gone) {
				want = len(s.Owners)
			}
			if all[s.Part] != want {
				t.Errorf("once it is back %d owners of %v were told, want %d", all[s.Part], s.Part, want)
			}
		}
		if len(r.Setbacks()) != 0 {
			t.Errorf("setbacks are left: %v", r.Setbacks())
		}
	})
}

func TestRoundOptions(t *testing.T) {
	t.Parallel()
	c := &roundCluster{rng: rand.New(rand.NewPCG(1, 1)), raised: map[Part]int{}}
	for i, spoil := range []func(*RoundOptions){
		func(o *RoundOptions) { o.Peer.Raise = nil }, func(o *RoundOptions) { o.Lead = nil },
		func(o *RoundOptions) { o.Longest = -1 }, func(o *RoundOptions) { o.Retry = -1 },
	} {
		o := c.options(t, time.Minute)
		spoil(&o)
		if _, err := NewRounds(o); err == nil {
			t.Errorf("%d was taken", i)
		}
	}
}
