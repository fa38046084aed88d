//go:build unix

package proctest

import (
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

// TestKillAll kills all nodes at once under load. What they had acknowledged as synced is there when they are back.
func TestKillAll(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{})
	opts := []client.CallOption{
		client.Consistency(client.Quorum), client.WithDurability(client.DurabilitySync), client.Timeout(2 * time.Second),
	}
	l := startLoad(c, loadOptions{put: opts, get: opts})
	time.Sleep(around)
	killed := time.Now()
	c.Kill9(c.All()...)
	records := l.finish()
	t.Logf("until the kill: %s", summary(among(records, time.Time{}, killed)))
	if len(records) == 0 {
		t.Fatal("nothing was written")
	}

	c.Restart(c.All()...)
	c.WaitReady()
	hintsWithin(c, c.Client(), time.Now(), drainBound) // a fallback may hold what a quorum of owners lacks
	t.Logf("ready %v after the kill", time.Since(killed))
	checkHistory(t, records, readAll(t, c.Client(), records, client.R(client.Quorum)))
}
