package node

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/starling-db/starling/antientropy"
)

const (
	// foregroundTick is how often it is looked how long clients wait. So many requests are a sample, and so many looks at most.
	foregroundTick = time.Second
	sampleSize     = 50
	sampleTicks    = 5
	// paceBurst is how many bytes repair may move at once: about what a page of small items has.
	paceBurst = 64 << 10
	// Latencies are counted by powers of two of microseconds, each in four steps: a percentile is off by a quarter at most.
	stepBits = 2
	steps    = 1 << stepBits
	// slots reach beyond an hour.
	slots = 34 * steps
)

// foreground is how long clients wait for their short requests, and how fast repair goes because of that.
type foreground struct {
	counts [slots]atomic.Uint32 // since the last look
	// worked: something was compared since the last look, for this node or another. told: another node's clients wait too long.
	worked, told atomic.Bool
	// isSlow is of the last sample.
	isSlow atomic.Bool
	// pace lets through what throttle allows.
	pace *rate.Limiter

	mu       sync.Mutex
	throttle *antientropy.Throttle
	maxRate  float64
	// busy and exchanges are of the last look: whether something was being repaired, and how much had been begun.
	busy      bool
	exchanges uint64
	// seen, ticks and noisy are what the next sample is of: requests, looks, and whether something was repaired.
	seen  [slots]uint32
	ticks int
	noisy bool
}

func (n *Node) openForeground() error {
	most := n.cfg.RepairMaxSlowdown
	if most == 0 {
		most = -1
	}
	var err error
	n.foreground, err = newForeground(antientropy.ThrottleOptions{MaxRate: float64(n.cfg.RepairRate), MaxSlowdown: most})
	return err
}

func newForeground(o antientropy.ThrottleOptions) (*foreground, error) {
	throttle, err := antientropy.NewThrottle(o)
	return &foreground{throttle: throttle, maxRate: o.MaxRate, pace: rate.NewLimiter(rate.Inf, paceBurst)}, err
}

// watchForeground looks how long clients wait.
func (n *Node) watchForeground(ctx context.Context) {
	for sleep(ctx, foregroundTick) {
		n.foreground.look(n.repairs.Busy(), n.repairs.Totals().Exchanges)
	}
}

// slotOf is where a latency is counted.
func slotOf(took time.Duration) int {
	us := uint64(max(took, 0) / time.Microsecond)
	if us < steps {
		return int(us)
	}
	exponent := bits.Len64(us) - 1 - stepBits
	return min((exponent+1)<<stepBits+int(us>>exponent)&(steps-1), slots-1)
}

// slotEnd is the end of what is counted in a slot.
func slotEnd(slot int) time.Duration {
	if slot < steps {
		return time.Duration(slot+1) * time.Microsecond
	}
	exponent := slot>>stepBits - 1
	return time.Duration(uint64(steps+slot&(steps-1)+1)<<exponent) * time.Microsecond
}

// add counts a request. It is quick, and safe for concurrent use.
func (f *foreground) add(took time.Duration) { f.counts[slotOf(took)].Add(1) }

// slowed is antientropy's Slowed.
func (f *foreground) slowed() { f.told.Store(true) }

// answers notes that something is compared for another node, and reports whether clients wait too long.
func (f *foreground) answers() bool {
	f.worked.Store(true)
	return f.isSlow.Load()
}

// look takes in what was counted since the last look. It was quiet if nothing was being repaired, before, now and in between. When
// enough is seen, or long enough was looked, that is a sample.
func (f *foreground) look(busy bool, exchanges uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	worked := f.worked.Swap(false)
	f.noisy = f.noisy || worked || busy || f.busy || exchanges != f.exchanges
	f.busy, f.exchanges = busy, exchanges
	all := 0
	for i := range f.counts {
		f.seen[i] += f.counts[i].Swap(0)
		all += int(f.seen[i])
	}
	f.ticks++
	told := f.told.Swap(false)
	if all < sampleSize && f.ticks < sampleTicks && !told {
		return
	}
	s := antientropy.Sample{Requests: all, Quiet: !f.noisy, Slowed: told}
	for i, beyond := slots-1, all/100; i >= 0; i-- {
		if beyond -= int(f.seen[i]); beyond < 0 {
			s.Most = slotEnd(i)
			break
		}
	}
	f.seen, f.ticks, f.noisy = [slots]uint32{}, 0, false
	f.throttle.Observe(s)
	f.isSlow.Store(f.throttle.Slow(s))
	f.setPace()
}

// setPace has the pace be the throttle's. The largest is for antientropy itself to keep.
func (f *foreground) setPace() {
	now := f.throttle.Rate()
	if now >= f.maxRate {
		f.pace.SetLimit(rate.Inf)
		return
	}
	f.pace.SetLimit(rate.Limit(now))
}

// bytesPerSecond is how fast repair may go.
func (f *foreground) bytesPerSecond() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.throttle.Rate()
}

// wait is antientropy's Pause.
func (f *foreground) wait(ctx context.Context, cost int64) error {
	f.worked.Store(true)
	defer f.worked.Store(true) // and goes on
	for cost > 0 && f.pace.Limit() != rate.Inf {
		n := min(cost, paceBurst)
		if err := f.pace.WaitN(ctx, int(n)); err != nil {
			return err
		}
		cost -= n
	}
	return ctx.Err()
}
