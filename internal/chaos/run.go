package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/check"
	"github.com/starling-db/starling/internal/history"
)

// Options shape a run.
type Options struct {
	Seed     uint64
	Duration time.Duration // of the load; settling and checking come on top
	Sessions int           // clients at work
	Think    time.Duration // mean pause of a session between two operations
	// MinGap and MaxGap bound the time between the beginnings of two faults.
	MinGap, MaxGap time.Duration
	// Spoil lets nodes get old disks, too, and records be damaged. Then less is promised of what one replica alone has taken, and
	// reads are not held to what only sound disks can promise.
	Spoil bool
	// Out takes what is told while the run goes on, and the report.
	Out io.Writer
}

// Defaults of the options.
const (
	DefaultSessions = 48
	DefaultThink    = 10 * time.Millisecond
	DefaultMinGap   = 5 * time.Second
	DefaultMaxGap   = 10 * time.Second
)

// startLimit is how long the cluster may take to be ready at first.
const startLimit = 90 * time.Second

// Run breaks a cluster that has just been started while clients work on it. It returns what they saw, and what was
// broken of what was promised; an error means that the run could not be made. It leaves the cluster stopped, but does not
// close it.
func Run(ctx context.Context, c Cluster, o Options) (*history.Run, []history.Violation, error) {
	var speaking sync.Mutex
	say := func(format string, args ...any) {
		speaking.Lock()
		defer speaking.Unlock()
		_, _ = fmt.Fprintf(o.Out, format+"\n", args...) // nobody to tell
	}
	took, err := allReady(ctx, c, startLimit)
	if err != nil {
		return nil, nil, err
	}
	say("%d nodes are ready after %v", c.Size(), took.Round(time.Millisecond))
	for _, why := range c.Skipped() {
		say("left out: %s", why)
	}
	kinds := c.Kinds()
	if o.Spoil {
		if _, ok := c.(diskKeeper); !ok {
			return nil, nil, errNoDisks
		}
		kinds = append(kinds, OldDisk, Rot)
	}
	events := Schedule(Plan{
		Seed: o.Seed, Duration: o.Duration, Nodes: c.Size(), Kinds: kinds, MinGap: o.MinGap, MaxGap: o.MaxGap,
	})
	say("seed %d: %d faults in %v of load", o.Seed, len(events), o.Duration)

	l, err := startLoad(ctx, c.ClientAddrs(), loadOptions{sessions: o.Sessions, think: o.Think, seed: o.Seed})
	if err != nil {
		return nil, nil, err
	}
	in := newInjector(c, l.start, func(format string, args ...any) {
		say(format+"  [%d writes acknowledged]", append(args, l.acked.Load())...)
	})
	if o.Spoil {
		if in.buckets, err = bucketIDs(ctx, c); err != nil {
			_ = l.finish()
			return nil, nil, err
		}
	}
	faults := in.run(ctx, events)
	sleep(ctx, o.Duration-time.Since(l.start))
	run := &history.Run{Buckets: buckets(), Ops: l.finish()}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	for _, f := range faults {
		if f.stops() {
			run.Crashes += len(f.Nodes)
		}
		if spoiling[f.Kind] {
			run.DisksLost = 1 // at a time
		}
	}
	markFaulted(run.Ops, faults)
	say("the load is over: %d writes acknowledged, %d refused, %d unknown; %d reads", l.acked.Load(), l.refused.Load(),
		l.unknown.Load(), l.reads.Load())
	broken, err := settle(ctx, c, run, say)
	if err != nil {
		return run, nil, err
	}
	say("checking %d operations on %d items", len(run.Ops), len(run.Finals))
	start := time.Now()
	broken = append(broken, check.All(run)...)
	say("checked within %v", time.Since(start).Round(time.Millisecond))
	return run, broken, writeReport(o.Out, run.Ops, faults)
}

// settle waits until all is well, reads every item back, and stops the cluster.
func settle(ctx context.Context, c Cluster, run *history.Run, say func(string, ...any)) (broken []history.Violation, err error) {
	blame := func(checker string, err error) {
		broken = append(broken, history.Violation{Checker: checker, Op: -1, Message: err.Error()})
	}
	took, err := allReady(ctx, c, drainLimit)
	if err != nil {
		blame("ready", err)
	}
	say("all nodes take requests %v after the load", took.Round(time.Millisecond))
	cl, err := client.Open(ctx, c.ClientAddrs())
	if err != nil {
		return broken, err
	}
	defer func() { _ = cl.Close() }() // it always succeeds
	if took, err = drained(ctx, cl, drainLimit); err != nil {
		blame("hints", err)
	}
	say("hints were drained %v later, %v being allowed", took.Round(time.Millisecond), drainLimit)
	start := time.Now()
	if run.Finals, err = readFinals(ctx, cl, run.Ops); err != nil {
		blame("readable", err)
	}
	say("read %d items from all their owners within %v", len(run.Finals), time.Since(start).Round(time.Millisecond))
	r, err := rest(ctx, cl, run)
	if err != nil {
		blame("readable", err)
	}
	if r != nil {
		start := time.Now()
		if err := alike(ctx, cl); err != nil {
			blame("alike", err)
		}
		say("all replicas were compared within %v", time.Since(start).Round(time.Millisecond))
	}
	if err := c.Terminate(stopLimit); err != nil {
		blame("stop", err)
	} else if r != nil {
		if err := lookAtDisks(c, r, run); err != nil {
			blame("disks", err)
		}
	}
	for _, fault := range c.Faults() {
		blame("process", errors.New(fault))
	}
	return broken, ctx.Err()
}

// rest sees to it that the cluster can be compared, and returns its ring. Where a
// coordinator was killed after it had enough acknowledgements nobody but a read mends the other owners; those reads have
// been made, and are answered before all is mended. So everything is read again.
func rest(ctx context.Context, cl *client.Client, run *history.Run) (*client.Ring, error) {
	if _, err := readFinals(ctx, cl, run.Ops); err != nil {
		return nil, err
	}
	if _, err := drained(ctx, cl, drainLimit); err != nil {
		return nil, err
	}
	sleep(ctx, repairTime)
	return cl.Ring(ctx)
}

// shown bounds how many violations are printed.
const shown = 20

// Verdict writes what was broken, and returns whether nothing was.
func Verdict(w io.Writer, broken []history.Violation) (passed bool, err error) {
	for i, v := range broken {
		if i == shown {
			_, err = fmt.Fprintf(w, "and %d more\n", len(broken)-shown)
			break
		}
		if _, err = fmt.Fprintln(w, v); err != nil {
			return false, err
		}
	}
	if len(broken) > 0 {
		_, werr := fmt.Fprintf(w, "FAIL: %d violations\n", len(broken))
		return false, errors.Join(err, werr)
	}
	_, err = fmt.Fprintln(w, "PASS: everything that was promised was kept")
	return true, err
}
