//go:build unix

package proctest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/ring"
)

// refusalBound is how long after detection a write may wait for its refusal, and how long a refusal may take from
// then on. It holds for the median as it is. For each single one the machine's own delays come on top, as measured at
// the same time on calls that ask no replica: a busy machine may let any call wait for longer than this.
const refusalBound = 100 * time.Millisecond

// TestStrict kills two of five nodes under strict load. Writes whose quorum is gone are refused at once and with
// numbers, and nothing that was refused is ever read.
func TestStrict(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{})
	cl := c.Client()
	epoch, b := layout(t, cl)
	lost := []int{1, 3}
	gone := goneQuorum(c, cl, epoch, b, lost)
	strict := []client.CallOption{client.Consistency(client.Quorum), client.Strict()}
	l := startLoad(c, loadOptions{put: strict, get: strict, pause: 10 * time.Millisecond})
	time.Sleep(around)

	killed := time.Now()
	c.Kill9(lost...)
	survivors := []int{0, 2, 4}
	m := measureMachine(c, survivors)
	d := detect(c, len(lost), survivors, *awayFlag)
	probed := probe(t, c, gone, strict)
	sleepUntil(t, killed.Add(*awayFlag))
	returned := time.Now()
	// The client sends a refused write to one other node, for a second opinion.
	limit := refusalBound + 2*m.finish()
	t.Logf("a call that asks no replica took up to %v: a refusal may take %v", m.worst, limit)
	c.Restart(lost...)
	time.Sleep(around)
	records := l.finish()

	if d.avoided.IsZero() {
		t.Fatalf("the survivors have not found the killed nodes within %v", *awayFlag)
	}
	t.Logf("killed nodes were avoided after %v", d.avoided.Sub(killed))
	t.Logf("before: %s", summary(among(records, time.Time{}, killed)))
	t.Logf("away:   %s", summary(among(records, killed, returned)))
	t.Logf("after:  %s", summary(among(records, returned, time.Now())))
	checkRefusals(t, among(records, time.Time{}, returned), gone, d.avoided, limit)
	checkTimes(t, "probes, one at a time", probed, limit)
	records = append(records, probed...)

	drained := hintsWithin(c, cl, returned, drainBound)
	t.Logf("hints were drained %v after the return", drained)
	c.WaitReady()
	checkHistory(t, records, readAll(t, cl, records, client.R(client.All), client.Strict()))
	mendByReading(t, c, cl, among(records, killed.Add(-time.Second), killed))
	t.Logf("every owner holds the same versions of %d items", compareDisks(t, c, cl))
}

// goneQuorum returns what tells whether a key has less than a quorum of owners left once some nodes are lost.
func goneQuorum(c *Cluster, cl *client.Client, epoch *ring.Epoch, b client.Bucket, lost []int) func(client.Key) bool {
	c.t.Helper()
	status, err := cl.Status(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	dead := make(map[ring.NodeID]bool)
	for _, n := range status.Nodes {
		if slices.ContainsFunc(lost, func(i int) bool { return c.Node(i).Name == n.Name }) {
			dead[n.ID] = true
		}
	}
	return func(key client.Key) bool {
		left := 0
		for _, id := range epoch.Base.Owners(epoch.Base.PartitionOf(ring.TokenOf(b.ID, key.Partition)), b.N) {
			if !dead[id] {
				left++
			}
		}
		return left < b.N/2+1
	}
}

// machine measures how long calls take that need nothing but the machine.
type machine struct {
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	worst   time.Duration
}

func measureMachine(c *Cluster, nodes []int) *machine {
	c.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	m := &machine{stop: stop}
	for _, i := range nodes {
		cl := c.ClientOf([]string{c.Node(i).Client})
		m.running.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				if _, err := cl.Locate(ctx, bucket, []byte("any")); err == nil {
					m.mu.Lock()
					m.worst = max(m.worst, time.Since(start))
					m.mu.Unlock()
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	c.t.Cleanup(func() { m.finish() })
	return m
}

func (m *machine) finish() time.Duration {
	m.stop()
	m.running.Wait()
	return m.worst
}

// probes is how many writes probe makes.
const probes = 50

// probe writes, one at a time, keys whose quorum is gone.
func probe(t *testing.T, c *Cluster, gone func(client.Key) bool, opts []client.CallOption) (out []*record) {
	t.Helper()
	cl := c.Client()
	for n := 0; len(out) < probes; n++ {
		r := &record{key: client.NewKey(fmt.Sprintf("probe/%d", n), ""), value: fmt.Sprint("probe", n), start: time.Now()}
		if !gone(r.key) {
			continue
		}
		_, err := cl.Put(context.Background(), bucket, r.key, []byte(r.value), opts...)
		r.end = time.Now()
		if err == nil {
			t.Errorf("%s: acknowledged, though its quorum is gone", r.key)
		} else {
			r.note(err)
			checkRefusal(t, r)
		}
		out = append(out, r)
	}
	return out
}

// checkTimes wants a median within refusalBound and everything within limit.
func checkTimes(t *testing.T, what string, records []*record, limit time.Duration) {
	t.Helper()
	s := longest(records)
	median, worst := s[len(s)/2].took(), s[0].took()
	t.Logf("%d %s: p50 %v, p99 %v, longest %v", len(s), what, median, s[len(s)/100].took(), worst)
	if median > refusalBound || worst > limit {
		t.Errorf("%s took %v at the median and %v at worst, more than %v or %v", what, median, worst, refusalBound, limit)
	}
}

// checkRefusal wants the reason and the numbers.
func checkRefusal(t *testing.T, r *record) {
	t.Helper()
	var e *client.Error
	if !errors.As(r.err, &e) || !errors.Is(e, client.ErrUnavailable) || !errors.Is(e, client.ErrQuorum) ||
		e.Reason != "QUORUM_UNAVAILABLE" || e.Required != 2 || e.Live > 1 {
		t.Errorf("%s: %v, want a refusal with its reason, 2 required and at most 1 live", r.key, r.err)
	}
}

// checkRefusals holds the load against the moment at which the survivors knew.
func checkRefusals(t *testing.T, records []*record, gone func(client.Key) bool, detected time.Time, limit time.Duration) {
	t.Helper()
	var refusals []*record
	first := time.Time{}
	for _, r := range records {
		if !gone(r.key) || r.end.Before(detected) {
			continue
		}
		if r.start.Before(detected) {
			if waited := r.end.Sub(detected); waited > limit {
				t.Errorf("%s: begun before detection, %v only %v after it: %v", r.key, r.outcome, waited, r.err)
			}
			continue
		}
		if r.outcome == acknowledged {
			t.Errorf("%s: acknowledged %v after detection, though its quorum is gone", r.key, r.start.Sub(detected))
			continue
		}
		checkRefusal(t, r)
		refusals = append(refusals, r)
		if first.IsZero() || r.end.Before(first) {
			first = r.end
		}
	}
	if len(refusals) == 0 {
		t.Fatal("no write was refused: the test has shown nothing")
	}
	t.Logf("the first write begun after detection was refused %v after it", first.Sub(detected))
	checkTimes(t, "refusals under load", refusals, limit)
}
