//go:build unix

package proctest

import (
	"sync"
	"time"
)

// detection is when the survivors of a fault knew of it.
type detection struct {
	// avoided: every survivor has stopped using the lost nodes. confirmed: gossip has declared them dead, everywhere.
	avoided, confirmed time.Time
}

// detect watches how the survivors find that others are gone. It returns when all of them are sure, or the limit has
// passed; what was not seen by then is zero.
func detect(c *Cluster, lost int, survivors []int, limit time.Duration) detection {
	var d detection
	var mu sync.Mutex
	var watching sync.WaitGroup
	late := func(at *time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.After(*at) {
			*at = now
		}
	}
	sure := make([]bool, len(survivors))
	deadline := time.Now().Add(limit)
	for n, i := range survivors {
		watching.Go(func() {
			avoided := false
			for time.Now().Before(deadline) {
				m, err := c.Node(i).Metrics()
				if err == nil && !avoided && int(m[`starling_peers{state="alive"}`]) <= c.Size()-1-lost {
					avoided = true
					late(&d.avoided)
				}
				if err == nil && int(m[`starling_peers{state="dead"}`]) >= lost {
					sure[n] = true
					late(&d.confirmed)
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	watching.Wait()
	for _, ok := range sure {
		if !ok {
			d.confirmed = time.Time{}
		}
	}
	return d
}
