package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/internal/pace"
)

// hedgeRig is a client of three nodes, none of which is there: what they would answer is up to the test.
type hedgeRig struct {
	*Client
	nodes map[string]func(ctx context.Context) (string, error)

	mu    sync.Mutex
	asked []string // in the order in which they were
}

// newHedgeRig makes a client that knows that gets usually take up to 5 ms, and has saved for some hedges.
func newHedgeRig(t *testing.T) *hedgeRig {
	t.Helper()
	o := defaultOptions()
	dial := func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") }
	c := &Client{options: o, seeds: []string{"a", "b", "c"}, pool: newPool(dial)}
	c.pace = pace.NewGate(pace.Options{Min: minPace, Start: startPace, Max: maxPace}, time.Now)
	c.topology.Store(&topology{})
	t.Cleanup(c.pool.close)
	for _, addr := range c.seeds {
		e, err := c.pool.get(addr)
		if err != nil {
			t.Fatal(err)
		}
		for range hedgeSamples {
			e.sampleRead(5 * time.Millisecond)
		}
	}
	c.hedges.saved = hedgeBurst
	return &hedgeRig{Client: c, nodes: map[string]func(context.Context) (string, error){}}
}

// call makes a call of which the first node is a, the second b and the third c. How a node takes it is in nodes; one that
// is not there answers at once.
func (r *hedgeRig) call(t *testing.T, op call) (string, error) {
	t.Helper()
	return invoke(t.Context(), r.Client, op, func(ctx context.Context, e *endpoint, _ ...grpc.CallOption) (string, error) {
		r.mu.Lock()
		r.asked = append(r.asked, e.addr)
		r.mu.Unlock()
		if f := r.nodes[e.addr]; f != nil {
			return f(ctx)
		}
		return "of " + e.addr, nil
	})
}

var hedgedGet = call{op: "get", hedge: true, patience: firstPatience, timeout: 10 * time.Second, to: target{seedsFirst: true}}

// after answers after a while, unless the call ends before.
func after(d time.Duration, reply string, err error) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		select {
		case <-time.After(d):
			return reply, err
		case <-ctx.Done():
			return "", status.FromContextError(ctx.Err()).Err()
		}
	}
}

// gone is how a node fails that is not there.
var gone = status.Error(codes.Unavailable, "gone")

func TestHedge(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name  string
		nodes map[string]func(context.Context) (string, error)
		reply string
		asked []string
		took  time.Duration
	}{
		{"quick enough", map[string]func(context.Context) (string, error){"a": after(9*ms, "of a", nil)}, "of a", []string{"a"}, 9 * ms},
		{"the second wins", map[string]func(context.Context) (string, error){
			"a": after(90*ms, "of a", nil), "b": after(3*ms, "of b", nil),
		}, "of b", []string{"a", "b"}, 13 * ms},
		{"the first wins", map[string]func(context.Context) (string, error){
			"a": after(12*ms, "of a", nil), "b": after(50*ms, "of b", nil),
		}, "of a", []string{"a", "b"}, 12 * ms},
		{"one hedge, not two", map[string]func(context.Context) (string, error){
			"a": after(90*ms, "of a", nil), "b": after(60*ms, "of b", nil),
		}, "of b", []string{"a", "b"}, 70 * ms},
		{"the first fails at once", map[string]func(context.Context) (string, error){
			"a": after(0, "", gone),
		}, "of b", []string{"a", "b"}, 0},
		{"the first fails, the second is on its way", map[string]func(context.Context) (string, error){
			"a": after(20*ms, "", gone), "b": after(30*ms, "of b", nil),
		}, "of b", []string{"a", "b"}, 40 * ms},
		{"the second fails", map[string]func(context.Context) (string, error){
			"a": after(30*ms, "of a", nil), "b": after(5*ms, "", gone),
		}, "of a", []string{"a", "b"}, 30 * ms},
		{"both fail, and the third is asked", map[string]func(context.Context) (string, error){
			"a": after(30*ms, "", gone), "b": after(5*ms, "", gone),
		}, "of c", []string{"a", "b", "c"}, 30 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newHedgeRig(t)
				r.nodes = test.nodes
				begun := time.Now()
				reply, err := r.call(t, hedgedGet)
				if err != nil || reply != test.reply || !slices.Equal(r.asked, test.asked) {
					t.Errorf("%q, %v from %v, want %q from %v", reply, err, r.asked, test.reply, test.asked)
				}
				if took := time.Since(begun); took != test.took {
					t.Errorf("after %v, want %v", took, test.took)
				}
			})
		})
	}
}

// The slow node has the whole call to answer, and is told when nobody waits for it any more.
func TestHedgeEndsTheLoser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHedgeRig(t)
		ended := false
		r.nodes["a"] = func(ctx context.Context) (string, error) {
			<-ctx.Done()
			ended = true
			return "", status.FromContextError(ctx.Err()).Err()
		}
		if reply, err := r.call(t, hedgedGet); reply != "of b" || err != nil || !ended {
			t.Fatalf("%q, %v, ended %t", reply, err, ended)
		}
		r.nodes["b"] = r.nodes["a"]
		r.nodes["a"], ended = after(20*time.Millisecond, "of a", nil), false
		if reply, err := r.call(t, hedgedGet); reply != "of a" || err != nil || !ended {
			t.Fatalf("%q, %v, ended %t", reply, err, ended)
		}
	})
}

// The error of a call whose hedge failed too tells that both were asked.
func TestHedgeCountsAsATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHedgeRig(t)
		r.tries = 1
		r.nodes["a"], r.nodes["b"] = after(20*time.Millisecond, "", gone), after(5*time.Millisecond, "", errors.New("other"))
		_, err := r.call(t, hedgedGet)
		var e *Error
		if !errors.As(err, &e) || e.Tries != 2 || e.Addr != "a" || e.Message != "gone" {
			t.Fatalf("%+v", err)
		}
	})
}

// What may be hedged is only what is said to be; and of that a share.
func TestHedgeBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHedgeRig(t)
		count := func(op call, n int) (second int) {
			r.asked = nil
			for range n {
				// Slow now and then is no reason to be set aside.
				r.nodes["a"] = after(40*time.Millisecond, "of a", nil)
				r.nodes["b"] = after(time.Millisecond, "of b", nil)
				if _, err := r.call(t, op); err != nil {
					t.Fatal(err)
				}
				// The times stay what they are where nothing is wrong.
				for _, addr := range r.seeds {
					e, _ := r.pool.get(addr)
					e.mu.Lock()
					e.reads.value, e.standing = 5*time.Millisecond, standing{}
					e.mu.Unlock()
				}
			}
			for _, addr := range r.asked {
				if addr != "a" {
					second++
				}
			}
			return second
		}
		const reads = 1000
		if n := count(hedgedGet, reads); n < reads/20 || n > reads/20+hedgeBurst {
			t.Errorf("%d hedges of %d reads", n, reads)
		}
		write, once := hedgedGet, hedgedGet
		write.kind, write.hedge = kindWrite, false
		once.kind, once.hedge = kindOnce, false
		r.hedges.saved = hedgeBurst
		for _, op := range []call{write, once} {
			if n := count(op, 20); n != 0 {
				t.Errorf("%d hedges of kind %d", n, op.kind)
			}
		}
		r.hedgeShare = 0
		if n := count(hedgedGet, 20); n != 0 {
			t.Errorf("%d hedges with a share of 0", n)
		}
		// Who has many retries to make has no calls to spare.
		r.hedgeShare, r.budget.spent = DefaultHedgeShare, budgetMax
		if n := count(hedgedGet, 5); n != 0 {
			t.Errorf("%d hedges while tries fail", n)
		}
	})
}

// Nothing is sent twice to where it would do no good.
func TestHedgeNeedsAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHedgeRig(t)
		r.nodes["a"] = after(40*time.Millisecond, "of a", nil)
		b, err := r.pool.get("b")
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.pool.get("c")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []*endpoint{b, c} {
			e.failed(time.Now())
		}
		if reply, err := r.call(t, hedgedGet); reply != "of a" || err != nil || len(r.asked) != 1 {
			t.Fatalf("%q, %v from %v", reply, err, r.asked)
		}
		alone := newHedgeRig(t)
		alone.seeds = alone.seeds[:1]
		alone.nodes["a"] = r.nodes["a"]
		if reply, err := alone.call(t, hedgedGet); reply != "of a" || err != nil || len(alone.asked) != 1 {
			t.Fatalf("%q, %v from %v", reply, err, alone.asked)
		}
	})
}

func TestHedgeDelay(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		times []time.Duration
		want  time.Duration
	}{
		{nil, 0},
		{[]time.Duration{5 * ms}, 0},
		{[]time.Duration{5 * ms, 400 * ms}, 10 * ms},
		{[]time.Duration{400 * ms, 5 * ms, 6 * ms}, 12 * ms},
		{[]time.Duration{ms / 10, ms / 10, ms / 10}, leastHedge},
	} {
		if got := hedgeDelayOf(test.times); got != test.want {
			t.Errorf("%v: %v, want %v", test.times, got, test.want)
		}
	}
}

// The estimate stays near the truth, and follows it when it changes.
func TestQuantile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q quantile
	for _, mean := range []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Millisecond} {
		var sum time.Duration
		for i := range 3000 {
			q.add(time.Duration(rng.ExpFloat64() * float64(mean)))
			if i >= 1000 {
				sum += q.value
			}
		}
		// 95 of 100 times of an exponential distribution are below three times its mean.
		if got := sum / 2000; got < 2*mean || got > 4*mean {
			t.Errorf("on average %v where the mean is %v", got, mean)
		}
	}
	var none quantile
	for range 100 {
		none.add(0)
	}
	if none.value != 0 {
		t.Errorf("%v of nothing", none.value)
	}
}
