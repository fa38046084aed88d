package node

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starling-db/starling/antientropy"
)

const (
	// foregroundTick is how often it is looked how long clients wait, pauseTick how often repair asks whether it may go on.
	foregroundTick = time.Second
	pauseTick      = 100 * time.Millisecond
	// Latencies are counted by powers of two of microseconds, each in four steps: a percentile is off by a quarter at most.
	stepBits = 2
	steps    = 1 << stepBits
	// slots reach beyond an hour.
	slots = 34 * steps
)

// foreground is how long clients wait for their short requests, and whether repair stands aside for them.
type foreground struct {
	counts [slots]atomic.Uint32 // since the last sample

	mu       sync.Mutex
	throttle *antientropy.Throttle
	// busy and exchanges are of the last sample: whether something was being repaired, and how much had been begun.
	busy      bool
	exchanges uint64
	now       func() time.Time
}

func (n *Node) openForeground() error {
	most := n.cfg.RepairMaxSlowdown
	if most == 0 {
		most = -1
	}
	throttle, err := antientropy.NewThrottle(antientropy.ThrottleOptions{MaxSlowdown: most})
	n.foreground = &foreground{throttle: throttle, now: n.opts.Now}
	return err
}

// watchForeground samples how long clients wait.
func (n *Node) watchForeground(ctx context.Context) {
	for sleep(ctx, foregroundTick) {
		n.foreground.sample(n.repairs.Busy(), n.repairs.Totals().Exchanges)
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

// sample takes in what was counted since the last one: what 99 of 100 requests took at most. It was quiet if nothing was being
// repaired, before, now and in between.
func (f *foreground) sample(busy bool, exchanges uint64) {
	var counts [slots]uint32
	all := 0
	for i := range f.counts {
		counts[i] = f.counts[i].Swap(0)
		all += int(counts[i])
	}
	most, beyond := time.Duration(0), all/100
	for i := slots - 1; i >= 0; i-- {
		if beyond -= int(counts[i]); beyond < 0 {
			most = slotEnd(i)
			break
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	quiet := !busy && !f.busy && exchanges == f.exchanges
	f.busy, f.exchanges = busy, exchanges
	f.throttle.Observe(most, all, quiet)
}

// wait is antientropy's Pause.
func (f *foreground) wait(ctx context.Context) error {
	for f.hold() {
		if !sleep(ctx, pauseTick) {
			return ctx.Err()
		}
	}
	return ctx.Err()
}

func (f *foreground) hold() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.throttle.Hold(f.now())
}
