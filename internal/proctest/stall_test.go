//go:build unix

package proctest

import (
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

// TestStopped halts one node under load: its connections stay, and nothing comes from it. Sloppy writes go on, and
// once it goes on itself all converges.
func TestStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{})
	cl := c.Client()
	opts := []client.CallOption{client.Consistency(client.Quorum), client.Sloppy(), client.Timeout(2 * time.Second)}
	l := startLoad(c, loadOptions{put: opts, get: opts, insist: true, pause: 10 * time.Millisecond})
	time.Sleep(around)

	stopped := time.Now()
	c.Stop(2)
	d := detect(c, 1, []int{0, 1, 3, 4}, *awayFlag)
	sleepUntil(t, stopped.Add(*awayFlag))
	returned := time.Now()
	c.Cont(2)
	time.Sleep(around)
	records := l.finish()

	if d.avoided.IsZero() {
		t.Fatalf("the others have not found the stopped node within %v", *awayFlag)
	}
	t.Logf("the stopped node was avoided after %v", d.avoided.Sub(stopped))
	t.Logf("before: %s", summary(among(records, time.Time{}, stopped)))
	t.Logf("stop:   %s", summary(among(records, stopped, d.avoided)))
	t.Logf("away:   %s", summary(among(records, d.avoided, returned)))
	t.Logf("after:  %s", summary(among(records, returned, time.Now())))
	for _, r := range records {
		if r.outcome != acknowledged {
			t.Errorf("%s: a sloppy write was %v after %d tries in %v: %v", r.key, r.outcome, r.tries, r.took(), r.err)
		}
	}
	if worst := longest(records)[0]; worst.took() > detectionBound {
		t.Errorf("a write waited for %v, longer than failure detection may take (%v)", worst.took(), detectionBound)
	}

	drained := hintsWithin(c, cl, returned, drainBound)
	t.Logf("hints were drained %v after it went on", drained)
	c.WaitReady()
	checkHistory(t, records, readAll(t, cl, records, opts...))
	t.Logf("every owner holds the same versions of %d items", compareDisks(t, c, cl))
}
