//go:build unix

package proctest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/storage"
)

var convergeFlag = flag.Int("converge-items", 2000, "how many items of 1 KiB TestConvergence stores on each of three replicas")

// askEvery is how often nodes are asked how far they are.
const askEvery = time.Second

// convergeBound is how long replicas may take to be alike again when one has lost every hundredth item.
const convergeBound = time.Minute

// TestConvergence has one of three replicas lose items behind the cluster's back, every hundredth and then all, and waits until it
// has them again, with nobody's help and at the default throttle, while clients read and write.
func TestConvergence(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{Nodes: 3, Args: []string{"--repair-interval", "10s"}})
	tr := newTraffic(c)
	storeItems(t, tr, *convergeFlag)
	c.Within(2*Patience, "each partition has had two rounds", func() bool { return c.sum("starling_round_partitions_total") >= 2*256 })

	lost, bytes, took, sent, _ := c.loseAndRegain(tr, 100, convergeBound)
	t.Logf("%d items of %d bytes were back after %v, and %.0f bytes of states were sent", lost, bytes, took, sent)
	if sent > 2*float64(bytes) {
		t.Errorf("%.0f bytes were sent for %d that differed", sent, bytes)
	}
	healthy := tr.open(convergeRate, *loadTimeFlag)
	lost, bytes, took, sent, meanwhile := c.loseAndRegain(tr, 1, 10*time.Minute)
	t.Logf("%d items of %d bytes were back after %v, and %.0f bytes of states were sent", lost, bytes, took, sent)
	tail := float64(meanwhile.percentile(0.99)) / float64(healthy.percentile(0.99))
	t.Logf("healthy:   %v%s", healthy, healthy.errors())
	t.Logf("meanwhile: %v%s", meanwhile, meanwhile.errors())
	t.Logf("p99 was %.2f times the healthy one", tail)
	if *strictFiguresFlag && tail > 2 {
		t.Errorf("p99 was %.2f times the healthy one, want 2 at most", tail)
	}
	c.Within(Patience, "starling verify finds nothing", func() bool {
		return exec.Command(c.binary, "verify", "--addr", c.Node(0).Client).Run() == nil
	})
}

// convergeRate is how many operations of clients are due a second meanwhile.
const convergeRate = 100

// storeItems writes items to all replicas.
func storeItems(t *testing.T, tr *traffic, items int) {
	t.Helper()
	value := make([]byte, 1<<10)
	var g errgroup.Group
	g.SetLimit(4 * loadClients)
	for i := range items {
		g.Go(func() error {
			_, err := tr.clients[i%loadClients].Put(context.Background(), bucket, client.NewKey(fmt.Sprint("item/", i), ""), value, client.W(client.All))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// sum adds up figures of the nodes that answer.
func (c *Cluster) sum(names ...string) (sum float64) {
	for _, n := range c.nodes {
		if figures, err := n.Metrics(); err == nil {
			for _, name := range names {
				sum += figures[name]
			}
		}
	}
	return sum
}

// loseAndRegain takes one item in so many from the last node's disk, which has all of them, and returns how long it takes from its start
// until they are mended, what was sent for that, and what clients saw meanwhile.
func (c *Cluster) loseAndRegain(tr *traffic, oneIn int, limit time.Duration) (lost, bytes int, took time.Duration, sent float64, seen phase) {
	c.t.Helper()
	last := c.Size() - 1
	_, b := layout(c.t.(*testing.T), tr.clients[0])
	c.Terminate(Patience, last)
	lost, bytes = loseItems(c.t, c.Node(last), b.ID, oneIn)
	var before, mended float64
	for _, n := range c.nodes[:last] { // the last one counts from zero
		figures, err := n.Metrics()
		if err != nil {
			c.t.Fatal(err)
		}
		before += figures["starling_repair_bytes_total"]
		mended += figures["starling_repair_items_fetched_total"] + figures["starling_repair_items_pushed_total"]
	}
	c.Restart(last)
	start := time.Now()
	done := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				p := tr.open(convergeRate, time.Second)
				seen.samples, seen.lasted = append(seen.samples, p.samples...), seen.lasted+p.lasted
			}
		}
	})
	end := sync.OnceFunc(func() {
		close(done)
		load.Wait()
	})
	defer end()
	c.Within(limit, "what was lost is back", func() bool {
		time.Sleep(askEvery) // a page of figures is work of milliseconds, which is not to be what slows clients down
		return c.sum("starling_repair_items_fetched_total", "starling_repair_items_pushed_total")-mended >= float64(lost)
	})
	took, sent = time.Since(start), c.sum("starling_repair_bytes_total")-before
	end()
	return lost, bytes, took, sent, seen
}

// loseItems does it to a node that is down.
func loseItems(t testing.TB, n *Node, bucket uint64, oneIn int) (lost, bytes int) {
	t.Helper()
	s, err := storage.Open(storage.Options{Dir: n.Dir})
	if err != nil {
		t.Fatal(err)
	}
	items, _, err := s.Range(context.Background(), storage.RangeRequest{Bucket: bucket})
	for i, item := range items {
		if i%oneIn != 0 {
			continue
		}
		k, kerr := storage.DecodeRangeKey(bucket, item.Key)
		err = errors.Join(err, kerr, s.Lose(context.Background(), k, false))
		lost++
		bytes += len(causal.AppendState(nil, item.State))
	}
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return lost, bytes
}
