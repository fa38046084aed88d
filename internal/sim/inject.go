package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// injector makes a plan's faults happen, and brings back nodes that went down.
type injector struct {
	c     *cluster
	plan  *Plan
	trace *trace
	start time.Time

	mu     sync.Mutex
	cuts   map[link]int // how many faults cut a link
	delays map[link]time.Duration
	down   map[int]bool // held down by a fault
	gone   map[int]bool // has lost its disk for good
	spans  []span       // when faults were in force
	images map[int]*vfs.MemFS
	harmed map[string]bool // items that were damaged on some node
	holds  *holdings

	crashes, disksLost int
	missed             int // faults that found nothing to hit
	stopped            int // nodes that stopped by themselves
}

// span is the time that a fault was in force; until is zero while it lasts.
type span struct {
	kind        FaultKind
	from, until time.Time
}

func newInjector(c *cluster, p *Plan, t *trace, holds *holdings) *injector {
	return &injector{
		c: c, plan: p, trace: t, start: time.Now(), harmed: map[string]bool{}, holds: holds,
		cuts: map[link]int{}, delays: map[link]time.Duration{}, down: map[int]bool{}, gone: map[int]bool{}, images: map[int]*vfs.MemFS{},
	}
}

// run makes all faults happen and returns when the last is over. Nodes that went down by themselves are started again
// until ctx ends.
func (in *injector) run(ctx context.Context) {
	var faults, keeping sync.WaitGroup
	over, cancel := context.WithCancel(ctx)
	keeping.Go(func() { in.keep(over) })
	for _, f := range in.plan.Faults {
		if f.Kind == DiskReverted {
			faults.Go(func() {
				if sleep(ctx, f.At/2) == nil {
					in.takeImage(f.Nodes[0])
				}
			})
		}
		faults.Go(func() {
			if sleep(ctx, f.At) == nil {
				in.do(ctx, f)
			}
		})
	}
	faults.Wait()
	cancel()
	keeping.Wait()
}

func (in *injector) takeImage(i int) {
	image := in.c.members[i].disk.image(0)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.images[i] = image
	in.trace.add(place(i), "an image is taken of the disk")
}

// afterCrash is how long a node is down whose fault ends with a crash.
const afterCrash = time.Second

// do is one fault from beginning to end.
func (in *injector) do(ctx context.Context, f Fault) {
	in.trace.add(clients, "fault: %v", f)
	in.mu.Lock()
	at := len(in.spans)
	in.spans = append(in.spans, span{kind: f.Kind, from: time.Now()})
	in.mu.Unlock()
	heal := in.begin(ctx, f)
	_ = sleep(ctx, f.For) // ending early is as good
	if heal != nil && f.Crash {
		back := in.hold(f.Nodes, func(i int) bool { in.crash(i, f.Keep); return true })
		heal()
		_ = sleep(ctx, afterCrash)
		if back != nil {
			back()
		}
	} else if heal != nil {
		heal()
	} else {
		in.mu.Lock()
		in.missed++
		in.mu.Unlock()
	}
	in.mu.Lock()
	in.spans[at].until = time.Now()
	in.mu.Unlock()
	in.trace.add(clients, "over: %v", f.Kind)
}

// begin makes a fault happen and returns how to end it; nil when it found nothing to hit.
func (in *injector) begin(ctx context.Context, f Fault) (heal func()) {
	n := in.plan.Nodes
	switch f.Kind {
	case Isolate:
		return in.cut(between(f.Nodes[:1], others(n, f.Nodes[:1])))
	case Minority:
		return in.cut(between(f.Nodes, others(n, f.Nodes)))
	case Ring:
		var links []link
		for i, a := range f.Nodes {
			for j, b := range f.Nodes {
				if gap := (j - i + n) % n; gap > 1 && gap < n-1 {
					links = append(links, link{place(a), place(b)})
				}
			}
		}
		return in.cut(links)
	case Bridge:
		half := n / 2
		return in.cut(between(f.Nodes[1:1+half], f.Nodes[1+half:]))
	case OneWay:
		return in.cut([]link{{place(f.Nodes[0]), place(f.Nodes[1])}})
	case Deaf:
		return in.cut(oneWay(others(n, f.Nodes), f.Nodes))
	case Mute:
		return in.cut(oneWay(f.Nodes, others(n, f.Nodes)))
	case Flap:
		return in.flap(ctx, f)
	case SlowLink:
		return in.slow([]link{{place(f.Nodes[0]), place(f.Nodes[1])}}, f.Amount)
	case SlowNode:
		return in.slow(append(oneWay(f.Nodes, others(n, f.Nodes)), link{place(f.Nodes[0]), clients}), f.Amount)
	case LossyGossip:
		in.c.gossip.SetLoss(0.4)
		in.c.gossip.SetDuplicate(0.3)
		return func() {
			in.c.gossip.SetLoss(in.plan.GossipLoss)
			in.c.gossip.SetDuplicate(in.plan.GossipDuplicate)
		}
	case LostReplies:
		return in.cut([]link{{place(f.Nodes[0]), clients}})
	case Crash, CrashMany:
		return in.hold(f.Nodes, func(i int) bool { in.crash(i, f.Keep); return true })
	case Restart:
		return in.hold(f.Nodes, func(i int) bool { return in.stop(i) })
	case Pause:
		i := f.Nodes[0]
		whole := in.cut(append(between(f.Nodes, others(n, f.Nodes)), link{place(i), clients}, link{clients, place(i)}))
		in.c.members[i].disk.change(func(a *ailment) { a.stalled = true })
		return func() {
			in.c.members[i].disk.change(func(a *ailment) { a.stalled = false })
			whole()
		}
	case ClockJump:
		clock := in.c.members[f.Nodes[0]].clock
		clock.jump(f.Amount)
		return func() { clock.jump(-f.Amount) }
	case TreeCorrupted, BitFlip:
		if !in.harm(ctx, f) {
			return nil
		}
		return func() {} // whoever finds it mends it
	default:
		return in.beginDisk(f)
	}
}

// beginDisk is begin for what happens to disks.
func (in *injector) beginDisk(f Fault) (heal func()) {
	switch f.Kind {
	case SyncError:
		in.ail(f.Nodes, func(a *ailment) { a.failSync = 0.5 })
		return func() { in.ail(f.Nodes, func(a *ailment) { a.failSync = 0 }) }
	case WriteError:
		in.ail(f.Nodes, func(a *ailment) { a.failWrite = 0.2 })
		return func() { in.ail(f.Nodes, func(a *ailment) { a.failWrite = 0 }) }
	case SlowDisk:
		in.ail(f.Nodes, func(a *ailment) { a.slowSync = f.Amount })
		return func() { in.ail(f.Nodes, func(a *ailment) { a.slowSync = 0 }) }
	case DiskFull:
		in.ail(f.Nodes, func(a *ailment) { a.full, a.room = true, f.Room })
		return func() { in.ail(f.Nodes, func(a *ailment) { a.full, a.room = false, 0 }) }
	case DiskWiped:
		return in.hold(f.Nodes, func(i int) bool {
			in.crash(i, 0)
			in.c.members[i].disk.replace(nil)
			in.loseDisk(i, true)
			return true
		})
	case DiskReverted:
		in.mu.Lock()
		image := in.images[f.Nodes[0]]
		in.mu.Unlock()
		if image == nil {
			return nil
		}
		return in.hold(f.Nodes, func(i int) bool {
			in.crash(i, 0)
			in.c.members[i].disk.replace(image)
			in.loseDisk(i, false)
			return true
		})
	}
	panic(fmt.Sprintf("sim: no such fault: %q", f.Kind))
}

func (in *injector) ail(nodes []int, change func(*ailment)) {
	for _, i := range nodes {
		in.c.members[i].disk.change(change)
	}
}

func (in *injector) loseDisk(i int, gone bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.disksLost++
	in.gone[i] = in.gone[i] || gone
}

func (in *injector) crash(i, keep int) {
	if in.c.crash(i, keep) {
		in.trace.add(place(i), "crashed")
		in.mu.Lock()
		in.crashes++
		in.mu.Unlock()
	}
}

// stop ends a node gracefully, as long as its disk lets it.
func (in *injector) stop(i int) bool {
	in.c.members[i].disk.change(func(a *ailment) { a.stalled, a.slowSync = false, 0 })
	ok := in.c.stop(i)
	if ok {
		in.trace.add(place(i), "stopped")
	}
	return ok
}

// hold takes nodes down, those that are not held already, and starts them again when it is over.
func (in *injector) hold(nodes []int, take func(i int) bool) (heal func()) {
	var held []int
	in.mu.Lock()
	for _, i := range nodes {
		if !in.down[i] {
			in.down[i] = true
			held = append(held, i)
		}
	}
	in.mu.Unlock()
	if len(held) == 0 {
		return nil
	}
	var taking sync.WaitGroup
	for _, i := range held {
		taking.Go(func() { take(i) })
	}
	taking.Wait()
	return func() {
		in.mu.Lock()
		for _, i := range held {
			delete(in.down, i)
		}
		in.mu.Unlock()
		for _, i := range held {
			in.tryStart(i)
		}
	}
}

func (in *injector) tryStart(i int) {
	if in.c.running(i) != nil {
		return
	}
	if err := in.c.start(i); err != nil {
		in.trace.add(place(i), "does not start: %v", err)
	}
}

// keep starts nodes again that have stopped by themselves, as a supervisor does.
func (in *injector) keep(ctx context.Context) {
	for sleep(ctx, 500*time.Millisecond) == nil {
		in.supervise()
	}
}

func (in *injector) supervise() {
	for i := range in.c.members {
		if why := in.c.reap(i); why != nil {
			in.trace.add(place(i), "stopped by itself: %v", why)
			in.mu.Lock()
			in.stopped++
			in.crashes++ // what it had not synced is gone
			in.mu.Unlock()
		}
		in.mu.Lock()
		held := in.down[i]
		in.mu.Unlock()
		if !held {
			in.tryStart(i)
		}
	}
}

func others(n int, but []int) (out []int) {
	for i := range n {
		if !slices.Contains(but, i) {
			out = append(out, i)
		}
	}
	return out
}

// oneWay are the links from each of some nodes to each of others.
func oneWay(from, to []int) (out []link) {
	for _, a := range from {
		for _, b := range to {
			out = append(out, link{place(a), place(b)})
		}
	}
	return out
}

func between(a, b []int) []link { return append(oneWay(a, b), oneWay(b, a)...) }

// cut cuts links, and returns how to restore them. A link is whole when no fault cuts it.
func (in *injector) cut(links []link) (restore func()) {
	in.adjust(links, 1, 0)
	return func() { in.adjust(links, -1, 0) }
}

func (in *injector) slow(links []link, by time.Duration) (restore func()) {
	in.adjust(links, 0, by)
	return func() { in.adjust(links, 0, -by) }
}

func (in *injector) adjust(links []link, cuts int, delay time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range links {
		in.cuts[l] += cuts
		in.delays[l] += delay
		in.c.network.set(l, weather{cut: in.cuts[l] > 0, delay: in.delays[l], jitter: in.delays[l] / 2})
		if cuts == 0 || l.from == clients || l.to == clients {
			continue // gossip has no delays of its own, and clients don't gossip
		}
		if from, to := hostOf(int(l.from)), hostOf(int(l.to)); in.cuts[l] > 0 {
			in.c.gossip.Cut(from, to)
		} else {
			in.c.gossip.Restore(from, to)
		}
	}
}

// flap cuts and restores links in random order until it is over.
func (in *injector) flap(ctx context.Context, f Fault) (heal func()) {
	rng := in.plan.rng("flap", int(f.At))
	ctx, cancel := context.WithCancel(ctx)
	var flapping sync.WaitGroup
	for range 3 {
		turns := make([]link, 200)
		for i := range turns {
			order := rng.Perm(in.plan.Nodes)
			turns[i] = link{place(order[0]), place(order[1])}
		}
		pauses := make([]time.Duration, len(turns))
		for i := range pauses {
			pauses[i] = time.Duration(50+rng.IntN(800)) * time.Millisecond
		}
		flapping.Go(func() {
			for i, l := range turns {
				restore := in.cut([]link{l})
				over := sleep(ctx, pauses[i])
				restore()
				if over != nil {
					return
				}
			}
		})
	}
	return func() {
		cancel()
		flapping.Wait()
	}
}

// faulted says whether a fault was in force at any time between two.
func (in *injector) faulted(from, until time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, s := range in.spans {
		if s.from.Before(until) && (s.until.IsZero() || from.Before(s.until)) {
			return true
		}
	}
	return false
}

// remaining are the nodes that have their disks.
func (in *injector) remaining() (out []int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := range in.c.members {
		if !in.gone[i] {
			out = append(out, i)
		}
	}
	return out
}
