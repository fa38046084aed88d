//go:build unix

package proctest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/starling-db/starling/client"
)

// figure is what must stay flat under load that lasts: growth of more than a fifth and this slack is a leak.
type figure struct {
	name, metric string
	slack        float64
	unit         float64 // to show it in
}

var figures = []figure{
	{"memory MiB", "process_resident_memory_bytes", 16 << 20, 1 << 20},
	{"goroutines", "go_goroutines", 20, 1},
	{"open files", "process_open_fds", 20, 1},
}

// maxGrowth is the most by which the median of the last fifth may be above that of the first, besides the slack.
const maxGrowth = 1.2

const (
	sampleEvery = time.Second
	killEvery   = 20 * time.Second
	soakAway    = 4 * time.Second
	// soakKeys is how many keys each of the writers replaces in turn.
	soakKeys = 2000
)

// samples are the figures of one node, in the order of time.
type samples struct {
	mu sync.Mutex
	at []time.Time
	of [][]float64 // by sample, by figure
}

// TestSoak runs load for as long as -soak says, with kills in between, and wants every node's figures flat. It begins
// with a warm-up of a tenth of that time; the rest is five fifths, and nodes are killed in the three in the middle.
// Two nodes are never killed, so that a leak has the whole time to show.
func TestSoak(t *testing.T) {
	if *soakFlag <= 0 {
		t.Skip("runs with -soak DURATION only; scripts/soak does that")
	}
	// Buffers that the warm-up fills: growing into the larger ones that are usual would look like a leak.
	c := New(t, Options{Args: []string{"--memtable-bytes", "1MiB", "--cache-bytes", "4MiB"}})
	cl := c.Client()
	opts := []client.CallOption{client.Consistency(client.Quorum), client.Timeout(2 * time.Second)}
	l := startLoad(c, loadOptions{put: opts, get: opts, insist: true, keys: soakKeys, forget: true})
	start := time.Now()
	warm := start.Add(*soakFlag / 10)
	fifth := (*soakFlag - *soakFlag/10) / 5
	all, finish := sampleAll(c)

	sleepUntil(t, warm.Add(fifth))
	kills := killInTurn(c, []int{2, 3, 4}, warm.Add(4*fifth))
	sleepUntil(t, start.Add(*soakFlag))
	ended := time.Now()
	finish()
	l.finish()

	t.Logf("%v, %d kills: %d writes acknowledged, %d failed", *soakFlag, kills, l.acked.Load(), l.failed.Load())
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d writes failed for more than %v", n, giveUp)
	}
	table, grew := judge(c, all, warm, fifth, ended)
	t.Log(table)
	if grew {
		soakGrew = true
		t.Errorf("a figure grew by more than %.0f %% and its slack", (maxGrowth-1)*100)
	}
	t.Logf("hints were drained %v after the load", hintsWithin(c, cl, ended, drainBound))
	t.Logf("every owner holds the same versions of %d items", compareDisks(t, c, cl))
}

// killInTurn kills one node after the other and brings each back, until a time. It returns how many it killed.
func killInTurn(c *Cluster, nodes []int, until time.Time) (kills int) {
	for time.Until(until) > soakAway {
		i := nodes[kills%len(nodes)]
		c.Kill9(i)
		kills++
		time.Sleep(soakAway)
		c.Restart(i)
		time.Sleep(min(killEvery-soakAway, time.Until(until)))
	}
	return kills
}

// sampleAll takes the figures of all nodes until finish is called.
func sampleAll(c *Cluster) (all []*samples, finish func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, i := range c.All() {
		s := &samples{}
		all = append(all, s)
		running.Go(func() {
			ticker := time.NewTicker(sampleEvery)
			defer ticker.Stop()
			for {
				select {
				case <-stop:
					return
				case <-ticker.C:
					s.take(c.Node(i))
				}
			}
		})
	}
	finish = sync.OnceFunc(func() {
		close(stop)
		running.Wait()
	})
	c.t.Cleanup(finish)
	return all, finish
}

// take adds a sample; a node that is away gives none.
func (s *samples) take(n *Node) {
	m, err := n.Metrics()
	if err != nil {
		return
	}
	row := make([]float64, len(figures))
	for i, f := range figures {
		row[i] = m[f.metric]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.of = append(s.at, time.Now()), append(s.of, row)
}

// median is that of a figure between two times, and false without samples.
func (s *samples) median(figure int, from, to time.Time) (float64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var values []float64
	for i, at := range s.at {
		if !at.Before(from) && at.Before(to) {
			values = append(values, s.of[i][figure])
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

// judge compares the first fifth with the last, as a table. A node without samples counts as one that grew.
func judge(c *Cluster, all []*samples, warm time.Time, fifth time.Duration, ended time.Time) (table string, grew bool) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(w, "\nnode\tfigure\tfirst fifth\tlast fifth\tat most\tverdict\t\n")
	for i, s := range all {
		for n, f := range figures {
			first, ok := s.median(n, warm, warm.Add(fifth))
			last, also := s.median(n, warm.Add(4*fifth), ended)
			limit, verdict := first*maxGrowth+f.slack, "flat"
			switch {
			case !ok || !also || first == 0:
				verdict, grew = "NO FIGURES", true
			case last > limit:
				verdict, grew = "GREW", true
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.0f\t%s\t\n", c.Node(i).Name, f.name, first/f.unit, last/f.unit, limit/f.unit, verdict)
		}
	}
	_ = w.Flush() // into memory
	return b.String(), grew
}
