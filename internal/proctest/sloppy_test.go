//go:build unix

package proctest

import (
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

const (
	// detectionBound is how long the cluster may take to find out that nodes were killed; gossip takes two to four
	// seconds by design.
	detectionBound = 8 * time.Second
	// drainBound is how long hints may wait after the return of the nodes that they are for.
	drainBound = 30 * time.Second
	// around is how long a load runs before and after a fault.
	around = 3 * time.Second
)

// TestSloppy kills two of five nodes under load. Sloppy writes go on, nothing acknowledged is lost, and once the two
// are back every owner holds the same.
func TestSloppy(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{})
	cl := c.Client()
	quorum := []client.CallOption{client.Consistency(client.Quorum), client.Sloppy()}
	l := startLoad(c, loadOptions{put: quorum, get: quorum, insist: true, pause: 10 * time.Millisecond})
	time.Sleep(around)

	killed := time.Now()
	c.Kill9(1, 3)
	d := detect(c, 2, []int{0, 2, 4}, *awayFlag)
	sleepUntil(t, killed.Add(*awayFlag))
	returned := time.Now()
	c.Restart(1, 3)
	time.Sleep(around)
	records := l.finish()

	if d.confirmed.IsZero() {
		t.Fatalf("the survivors have not found the dead nodes within %v", *awayFlag)
	}
	found := d.confirmed.Sub(killed)
	t.Logf("killed nodes were avoided after %v, and declared dead by all after %v", d.avoided.Sub(killed), found)
	if found > detectionBound {
		t.Errorf("failure detection took %v, more than %v", found, detectionBound)
	}
	t.Logf("before: %s", summary(among(records, time.Time{}, killed)))
	t.Logf("away:   %s", summary(among(records, killed, returned)))
	t.Logf("after:  %s", summary(among(records, returned, time.Now())))
	for _, r := range longest(records)[:5] {
		t.Logf("took %v in %d tries, begun %v after the kill: %v", r.took(), r.tries, r.start.Sub(killed), r.err)
	}
	for _, r := range records {
		if r.outcome != acknowledged {
			t.Errorf("%s: a sloppy write was %v after %d tries in %v: %v", r.key, r.outcome, r.tries, r.took(), r.err)
		}
	}
	if worst := longest(records)[0]; worst.took() > found {
		t.Errorf("a write kept failing for %v, longer than failure detection took (%v)", worst.took(), found)
	}

	drained := hintsWithin(c, cl, returned, drainBound)
	t.Logf("hints were drained %v after the return", drained)
	c.WaitReady()
	checkHistory(t, records, readAll(t, cl, records, quorum...))
	mendByReading(t, c, cl, among(records, killed.Add(-time.Second), killed))
	t.Logf("every owner holds the same versions of %d items", compareDisks(t, c, cl))
}
