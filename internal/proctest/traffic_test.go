//go:build unix

package proctest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

var (
	loadTimeFlag      = flag.Duration("load-time", 3*time.Second, "how long each phase of the tests under measured load lasts")
	strictFiguresFlag = flag.Bool("strict-figures", false, "hold what is measured against what is promised of a machine that does nothing else")
)

const (
	// loadBucket keeps one version of each item, so that writes need not read first.
	loadBucket = "load"
	loadKeys   = 4000
	loadValue  = 200 // bytes
	// inTime is how long an operation may take; one that takes longer has failed.
	inTime = time.Second
	// loadClients is how many clients share the load, each with connections of its own.
	loadClients = 16
)

// traffic makes strict operations at quorum, half of them reads, through the client library. Its phases are closed (so
// many callers, each waits for its answer) or open (so many arrivals a second, whoever waits).
type traffic struct {
	t       testing.TB
	clients []*client.Client
	value   []byte
}

// sample is one operation; it began when it was due, not when it got its turn.
type sample struct {
	start time.Time
	took  time.Duration
	err   error
}

// phase is what a time of traffic brought.
type phase struct {
	samples []sample
	lasted  time.Duration
}

func newTraffic(c *Cluster) *traffic {
	c.t.Helper()
	tr := &traffic{t: c.t, value: make([]byte, loadValue)}
	for range loadClients {
		tr.clients = append(tr.clients, c.Client())
	}
	b := client.Bucket{Name: loadBucket, N: 3, Conflict: client.ConflictLWW}
	if _, _, err := tr.clients[0].CreateBucket(context.Background(), b); err != nil {
		c.t.Fatal(err)
	}
	c.Within(Patience, "every item of the load can be written", func() bool {
		return tr.closed(2*loadClients, time.Second).share() > 0.99
	})
	return tr
}

// do makes one operation.
func (tr *traffic) do(caller int, due time.Time) sample {
	ctx, cancel := context.WithDeadline(context.Background(), due.Add(inTime))
	defer cancel()
	cl := tr.clients[caller%len(tr.clients)]
	key := client.NewKey(fmt.Sprintf("load/%d", rand.IntN(loadKeys)), "")
	var err error
	if rand.IntN(2) == 0 {
		_, err = cl.Get(ctx, loadBucket, key, client.R(client.Quorum), client.Strict())
	} else {
		_, err = cl.Put(ctx, loadBucket, key, tr.value, client.W(client.Quorum), client.Strict())
	}
	return sample{start: due, took: time.Since(due), err: err}
}

// closed has so many callers make one operation after the other.
func (tr *traffic) closed(callers int, d time.Duration) phase {
	each := make([][]sample, callers)
	var running sync.WaitGroup
	begun := time.Now()
	for i := range callers {
		running.Go(func() {
			for time.Since(begun) < d {
				each[i] = append(each[i], tr.do(i, time.Now()))
			}
		})
	}
	running.Wait()
	return phase{samples: slices.Concat(each...), lasted: time.Since(begun)}
}

// open starts so many operations a second, each on time, however many are still under way: at most those that arrive
// within inTime.
func (tr *traffic) open(perSecond float64, d time.Duration) phase {
	var mu sync.Mutex
	var p phase
	var running sync.WaitGroup
	begun := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		passed := time.Since(begun)
		if passed >= d {
			break
		}
		for ; float64(n) < passed.Seconds()*perSecond; n++ {
			caller, due := n, begun.Add(time.Duration(float64(n)/perSecond*float64(time.Second)))
			running.Go(func() {
				s := tr.do(caller, due)
				mu.Lock()
				p.samples = append(p.samples, s)
				mu.Unlock()
			})
		}
		<-tick.C
	}
	p.lasted = time.Since(begun)
	running.Wait()
	return p
}

// during are the operations that began in [from, to).
func (p phase) during(from, to time.Time) phase {
	out := phase{lasted: to.Sub(from)}
	for _, s := range p.samples {
		if !s.start.Before(from) && s.start.Before(to) {
			out.samples = append(out.samples, s)
		}
	}
	return out
}

func (p phase) succeeded() (n int) {
	for _, s := range p.samples {
		if s.err == nil && s.took <= inTime {
			n++
		}
	}
	return n
}

// share is the part of the operations that succeeded in time.
func (p phase) share() float64 {
	return float64(p.succeeded()) / float64(max(1, len(p.samples)))
}

// rate is how many succeeded in time, a second.
func (p phase) rate() float64 { return float64(p.succeeded()) / p.lasted.Seconds() }

// percentile is that of the times that the operations took, the failed ones included.
func (p phase) percentile(share float64) time.Duration {
	if len(p.samples) == 0 {
		return 0
	}
	took := make([]time.Duration, len(p.samples))
	for i, s := range p.samples {
		took[i] = s.took
	}
	slices.Sort(took)
	return took[min(int(share*float64(len(took))), len(took)-1)]
}

// errors counts the failures by kind, with an example of each.
func (p phase) errors() string {
	counts := make(map[string]int)
	example := make(map[string]error)
	for _, s := range p.samples {
		if e, ok := errors.AsType[*client.Error](s.err); ok {
			kind := fmt.Sprint(e.Op, " ", e.Reason, " ", e.Code)
			counts[kind]++
			example[kind] = s.err
		}
	}
	text := ""
	for kind, n := range counts {
		text += fmt.Sprintf("\n    %d times %s, such as: %v", n, kind, example[kind])
	}
	return text
}

func (p phase) String() string {
	return fmt.Sprintf("%d operations, %.3f %% in time, %.0f a second; p50 %v, p99 %v, longest %v", len(p.samples), 100*p.share(), p.rate(),
		p.percentile(0.5).Round(10*time.Microsecond), p.percentile(0.99).Round(10*time.Microsecond), p.percentile(1).Round(time.Millisecond))
}

// median is the middle one, the lower of two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}
