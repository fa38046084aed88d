package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/starling-db/starling/internal/chaos/seam"
)

// Injected is a fault that has been carried out. Times are since the start of the load.
type Injected struct {
	Event
	// Began and Healed are when the fault was in force and when it was taken back; Ready is when all that it had hit took
	// requests again. A Ready of zero: not before the load was over.
	Began, Healed, Ready time.Duration
	Note                 string // what was odd about it
}

// until is when the fault no longer mattered.
func (i Injected) until() time.Duration { return max(i.Healed, i.Ready) }

const (
	// readyLimit is how long a node is waited for after a fault.
	readyLimit = 30 * time.Second
	// lookEvery is the pause between two looks.
	lookEvery = 50 * time.Millisecond
	// keepUpEvery is how often nodes that have stopped by themselves are looked for, as a supervisor would.
	keepUpEvery = 500 * time.Millisecond
)

// injector carries a schedule out.
type injector struct {
	cluster Cluster
	start   time.Time
	say     func(format string, args ...any)

	mu   sync.Mutex
	cut  map[Link]int // how many faults cut it
	held map[int]int  // how many faults are in force that keep the node from running
	ill  map[int]int  // likewise, from working on a sound disk or network
	did  []Injected

	buckets []uint64 // to be spoiled
}

func newInjector(c Cluster, start time.Time, say func(string, ...any)) *injector {
	return &injector{cluster: c, start: start, say: say, cut: map[Link]int{}, held: map[int]int{}, ill: map[int]int{}}
}

func (in *injector) now() time.Duration { return time.Since(in.start) }

// run carries out all events and returns when the last is healed, and in any case heals what is broken when ctx ends.
func (in *injector) run(ctx context.Context, events []Event) []Injected {
	var running sync.WaitGroup
	up, stop := context.WithCancel(ctx)
	running.Go(func() { in.keepUp(up) })
	var faults sync.WaitGroup
	for _, e := range events {
		if !sleep(ctx, e.At-in.now()) {
			break
		}
		faults.Go(func() { in.carryOut(ctx, e) })
	}
	faults.Wait()
	stop()
	running.Wait()
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.did
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// keepUp starts nodes that have stopped by themselves.
func (in *injector) keepUp(ctx context.Context) {
	for sleep(ctx, keepUpEvery) {
		for i := range in.cluster.Size() {
			in.mu.Lock()
			free := in.held[i] == 0 && in.ill[i] == 0
			in.mu.Unlock()
			if !free || in.cluster.Running(i) {
				continue
			}
			in.say("%6.1fs  %s has stopped by itself: it is started again", in.now().Seconds(), nodeName(i))
			if err := in.cluster.Start(i); err != nil {
				in.say("%6.1fs  start %s: %v", in.now().Seconds(), nodeName(i), err)
			}
		}
	}
}

// carryOut does one fault from its beginning to its end.
func (in *injector) carryOut(ctx context.Context, e Event) {
	did := Injected{Event: e}
	in.hold(e, 1)
	err := in.inject(e)
	did.Began = in.now()
	in.say("%6.1fs  + %v, for %.1fs%s", did.Began.Seconds(), e, e.For.Seconds(), because(err))
	sleep(ctx, e.For)
	stopped := in.stopped(e)
	healed := in.heal(e)
	did.Healed = in.now()
	in.hold(e, -1)
	late := in.await(e.Nodes)
	if late == nil {
		did.Ready = in.now()
	}
	did.Note = strings.TrimPrefix(because(errors.Join(err, stopped, healed, late)), ": ")
	in.say("%6.1fs  - %v healed after %.1fs, all well after %.1fs%s", in.now().Seconds(), e, (did.Healed - did.Began).Seconds(),
		(did.until() - did.Began).Seconds(), because(errors.Join(stopped, healed, late)))
	in.mu.Lock()
	in.did = append(in.did, did)
	in.mu.Unlock()
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
}

// hold counts what keeps nodes from running, or from being well.
func (in *injector) hold(e Event, by int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	to := in.ill
	if e.stops() {
		to = in.held
	}
	for _, n := range e.Nodes {
		to[n] += by
	}
}

func (in *injector) inject(e Event) error {
	switch e.Kind {
	case Kill, RestartAll:
		return in.each(e.Nodes, in.cluster.Kill)
	case Pause:
		return in.each(e.Nodes, in.cluster.Pause)
	case Cut, OneWay:
		return in.links(e.Links, 1)
	case Unplug:
		return in.each(e.Nodes, func(i int) error { return in.cluster.SetPlugged(i, false) })
	case SyncError:
		return in.disks(e.Nodes, seam.Disk{FailSync: true})
	case SyncDelay:
		return in.disks(e.Nodes, seam.Disk{SlowSync: e.Delay})
	case DiskFull:
		return in.disks(e.Nodes, seam.Disk{Full: true, Room: e.Room})
	case OldDisk, Rot:
		return in.spoil(e)
	}
	return fmt.Errorf("no such fault: %q", e.Kind)
}

// heal takes a fault back. A node that its disk has stopped is started again.
func (in *injector) heal(e Event) error {
	switch e.Kind {
	case Kill, RestartAll, Rot:
		return in.each(e.Nodes, in.startUnlessHeld(e))
	case OldDisk:
		return errors.Join(in.putBack(e), in.each(e.Nodes, in.startUnlessHeld(e)))
	case Pause:
		return in.each(e.Nodes, in.cluster.Resume)
	case Cut, OneWay:
		return in.links(e.Links, -1)
	case Unplug:
		return in.each(e.Nodes, func(i int) error { return in.cluster.SetPlugged(i, true) })
	default:
		return errors.Join(in.disks(e.Nodes, seam.Disk{}), in.each(e.Nodes, in.startUnlessHeld(e)))
	}
}

// startUnlessHeld starts a node unless another fault keeps it down, and starts it later.
func (in *injector) startUnlessHeld(e Event) func(int) error {
	mine := 0
	if e.stops() {
		mine = 1
	}
	return func(i int) error {
		in.mu.Lock()
		held := in.held[i] > mine
		in.mu.Unlock()
		if held {
			return nil
		}
		return in.cluster.Start(i)
	}
}

// each does something to all nodes at once.
func (in *injector) each(nodes []int, do func(int) error) error {
	errs := make([]error, len(nodes))
	var running sync.WaitGroup
	for k, i := range nodes {
		running.Go(func() {
			if err := do(i); err != nil {
				errs[k] = fmt.Errorf("%s: %w", nodeName(i), err)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func (in *injector) disks(nodes []int, d seam.Disk) error {
	return in.each(nodes, func(i int) error { return in.cluster.SetDisk(i, d) })
}

// links cuts links once more, or once less, and tells the cluster. Faults that end together must not overtake one
// another, so the lock is held over that.
func (in *injector) links(links []Link, by int) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range links {
		in.cut[l] += by
	}
	maps.DeleteFunc(in.cut, func(_ Link, n int) bool { return n == 0 })
	cut := make(map[Link]bool)
	for l := range in.cut {
		cut[l] = true
	}
	return in.cluster.SetLinks(cut)
}

// stopped tells which nodes a fault of the disk has stopped.
func (in *injector) stopped(e Event) error {
	if e.Kind != SyncError && e.Kind != SyncDelay && e.Kind != DiskFull {
		return nil
	}
	var errs []error
	for _, i := range e.Nodes {
		if !in.cluster.Running(i) {
			errs = append(errs, fmt.Errorf("%s has stopped itself", nodeName(i)))
		}
	}
	return errors.Join(errs...)
}

// await waits until nodes take requests. Those that another fault has hit meanwhile are left to that.
func (in *injector) await(nodes []int) error {
	return in.each(nodes, func(i int) error {
		ctx, cancel := context.WithTimeout(context.Background(), readyLimit)
		defer cancel()
		for {
			in.mu.Lock()
			other := in.held[i]+in.ill[i] > 0
			in.mu.Unlock()
			err := in.cluster.Ready(ctx, i)
			if err == nil || other {
				return nil
			}
			if !sleep(ctx, lookEvery) {
				return fmt.Errorf("not ready %v later: %w", readyLimit, err)
			}
		}
	})
}
