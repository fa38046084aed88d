package node_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

var (
	freshnessOps  = flag.Int("ops", 0, "successful operations of TestFreshness; 0: 25,000, or 15,000 under the race detector")
	freshnessSeed = flag.Uint64("seed", 0, "seed of TestFreshness; 0: a random one")
)

// Sizes of TestFreshness.
const (
	freshWriters   = 12
	freshReaders   = 12
	freshTimeout   = time.Second // of one try of an operation
	freshTries     = 3           // of a write whose outcome is unknown
	writesPerItem  = 60          // then the writer goes on with a new item: pasts grow with overwrites
	freshMaxOffset = 100 * time.Millisecond
)

// TestFreshness: with strict quorums and R+W>N a read that starts after a write was acknowledged shows that write or
// a successor, a read never goes back behind what an earlier one showed, and a write that was refused is never seen;
// while links are cut and delayed, clocks are off within their bound, and nodes crash and come back. Siblings are
// allowed where a writer did not know what had become of its write.
func TestFreshness(t *testing.T) {
	ops := *freshnessOps
	if ops == 0 {
		ops = 25_000
		if raced || testing.Short() {
			ops = 15_000
		}
	}
	seed := *freshnessSeed
	if seed == 0 {
		seed = mathrand.Uint64()
	}
	t.Logf("%d operations, seed %d", ops, seed)
	c := newCluster(t, testcluster.Options{})
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	for i := range c.Size() {
		c.SetClock(i, time.Duration(rng.Int64N(int64(2*freshMaxOffset)))-freshMaxOffset)
	}
	f := &freshness{c: c, ops: int64(ops), items: make([]atomic.Pointer[freshItem], freshWriters)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var workers, faults sync.WaitGroup
	start := time.Now()
	for w := range freshWriters {
		f.items[w].Store(newFreshItem(w, 0))
		workers.Go(func() { f.write(w, mathrand.New(mathrand.NewPCG(seed, uint64(1+w)))) })
	}
	for r := range freshReaders {
		workers.Go(func() { f.read(mathrand.New(mathrand.NewPCG(seed, uint64(100+r)))) })
	}
	faults.Go(func() { f.disturb(ctx, rng) })
	workers.Wait()
	cancel()
	faults.Wait()
	t.Logf("%v: writes %d acknowledged, %d refused, %d unknown; reads %d answered, %d failed; with siblings %d; faults: %d cuts, %d delays, %d crashes",
		time.Since(start).Round(time.Millisecond), f.acked.Load(), f.refused.Load(), f.unknown.Load(), f.answered.Load(), f.failed.Load(),
		f.siblings.Load(), f.cuts.Load(), f.delays.Load(), f.crashes.Load())
	f.finalCheck(t)
}

// freshItem is one item and what is known of it.
type freshItem struct {
	key     *pb.ItemKey
	history *history
}

func newFreshItem(writer, n int) *freshItem {
	return &freshItem{key: key(fmt.Sprintf("w%d-%d", writer, n), ""), history: newHistory()}
}

type freshness struct {
	c     *cluster
	ops   int64
	done  atomic.Int64 // operations that succeeded
	items []atomic.Pointer[freshItem]

	mu   sync.Mutex
	old  []*freshItem // those that no writer is at any more
	bad  int
	stop atomic.Bool

	acked, refused, unknown, answered, failed, siblings atomic.Int64

	cuts, delays, crashes atomic.Int64
}

// more tells whether the run goes on: until there were as many operations as asked for, and faults of each kind.
func (f *freshness) more() bool {
	return (f.done.Load() < f.ops || f.cuts.Load() == 0 || f.crashes.Load() == 0) && !f.stop.Load()
}

// violated reports what must not be, and ends the run after a few.
func (f *freshness) violated(item *freshItem, err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.c.t.Errorf("item %q: %v", item.key.GetPartitionKey(), err)
	if f.bad++; f.bad >= 5 {
		f.stop.Store(true)
	}
}

// write is a writer: one item after the other, each with growing numbers.
func (f *freshness) write(w int, rng *mathrand.Rand) {
	for n := 0; f.more(); n++ {
		if n > 0 {
			last := f.items[w].Swap(newFreshItem(w, n))
			f.mu.Lock()
			f.old = append(f.old, last)
			f.mu.Unlock()
		}
		f.writeItem(f.items[w].Load(), rng)
	}
}

func (f *freshness) writeItem(item *freshItem, rng *mathrand.Rand) {
	var token []byte // what the writer has seen: these numbers
	var seen []int
	for n := 1; n <= writesPerItem && f.more(); n++ {
		item.history.begin(n, seen)
		resp, outcome := f.put(item, n, token, rng)
		switch {
		case outcome == nil && len(resp.GetContext()) > 0:
			token, seen = resp.GetContext(), []int{n}
			continue
		case outcome != nil && rng.IntN(2) == 0:
			continue // goes on with what it knows, and perhaps makes a sibling
		}
		if got, shown, ok := f.readOnce(item, rng); ok && len(shown) > 0 {
			token, seen = got.GetContext(), shown
		}
	}
}

// put writes one number. It tries again under the same request id while the outcome is unknown.
func (f *freshness) put(item *freshItem, n int, token []byte, rng *mathrand.Rand) (*pb.PutResponse, error) {
	id, err := causal.NewRequestID(time.Now().UnixMilli(), rand.Reader)
	if err != nil {
		f.violated(item, err)
	}
	req := &pb.PutRequest{
		Key: item.key, Value: []byte(strconv.Itoa(n)), Context: token, RequestId: id[:],
		Options: &pb.WriteOptions{W: quorum, Mode: pb.QuorumMode_QUORUM_MODE_STRICT},
	}
	unknown, last := false, error(nil)
	for range freshTries {
		ctx, cancel := context.WithTimeout(context.Background(), freshTimeout)
		resp, err := f.c.KV(rng.IntN(f.c.Size())).Put(ctx, req)
		cancel()
		if err == nil {
			item.history.acknowledge(n)
			f.acked.Add(1)
			f.done.Add(1)
			return resp, nil
		}
		unknown = unknown || !certainlyUndone(err)
		last = err
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
	}
	if unknown {
		f.unknown.Add(1)
		return nil, last
	}
	f.refused.Add(1)
	f.violated(item, item.history.refuse(n))
	return nil, last
}

// certainlyUndone says whether an error promises that nothing was written.
func certainlyUndone(err error) bool {
	switch reasonOf(err) {
	case "QUORUM_UNAVAILABLE", "NOT_READY", "OVERLOADED", "CLOCK_OFFSET":
		return true
	default:
		return false
	}
}

func (f *freshness) read(rng *mathrand.Rand) {
	for f.more() {
		item := f.items[rng.IntN(len(f.items))].Load()
		f.mu.Lock()
		if len(f.old) > 0 && rng.IntN(10) == 0 {
			item = f.old[rng.IntN(len(f.old))]
		}
		f.mu.Unlock()
		if _, _, ok := f.readOnce(item, rng); !ok {
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
	}
}

// readOnce reads an item at a quorum and checks what it shows.
func (f *freshness) readOnce(item *freshItem, rng *mathrand.Rand) (*pb.GetResponse, []int, bool) {
	demanded := item.history.demand()
	ctx, cancel := context.WithTimeout(context.Background(), freshTimeout)
	defer cancel()
	got, err := f.c.KV(rng.IntN(f.c.Size())).Get(ctx, &pb.GetRequest{
		Key: item.key, Options: &pb.ReadOptions{R: quorum, Mode: pb.QuorumMode_QUORUM_MODE_STRICT},
	})
	if err != nil {
		f.failed.Add(1)
		return nil, nil, false
	}
	var shown []int
	for _, v := range got.GetVersions() {
		n, err := strconv.Atoi(string(v.GetValue()))
		if err != nil {
			f.violated(item, err)
		}
		shown = append(shown, n)
	}
	f.violated(item, item.history.read(demanded, shown))
	f.answered.Add(1)
	f.done.Add(1)
	if len(shown) > 1 {
		f.siblings.Add(1)
	}
	return got, shown, true
}

// disturb makes faults, and takes them back, until ctx ends. At the end everything runs.
func (f *freshness) disturb(ctx context.Context, rng *mathrand.Rand) {
	var down []int
	defer func() {
		f.c.Heal()
		f.restart(down)
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(100+rng.IntN(400)) * time.Millisecond):
		}
		if len(down) > 1 { // little can succeed meanwhile
			f.restart(down)
			down = nil
		}
		switch order := rng.Perm(f.c.Size()); rng.IntN(10) {
		case 0:
			f.c.Cut(order[0], order[1])
			f.cuts.Add(1)
		case 1:
			f.c.CutBoth(order[0], order[1])
			f.cuts.Add(1)
		case 2: // what one node sends arrives at each other at another time
			for _, to := range order[1:] {
				f.c.Delay(order[0], to, time.Duration(rng.IntN(150))*time.Millisecond)
			}
			f.delays.Add(1)
		case 3, 4, 5:
			if len(down) > 0 {
				f.restart(down)
				down = nil
				break
			}
			down = order[:1]
			if rng.IntN(3) == 0 {
				down = order[:3] // a write may have been on no others
			}
			var crashing sync.WaitGroup
			for _, i := range down {
				crashing.Go(func() { f.c.Crash(i) })
			}
			crashing.Wait()
			f.crashes.Add(int64(len(down)))
		default:
			f.c.Heal()
		}
	}
}

func (f *freshness) restart(nodes []int) {
	for _, i := range nodes {
		if err := f.c.TryStart(i); err != nil {
			f.c.t.Errorf("restart %s: %v", f.c.Name(i), err)
			f.stop.Store(true)
		}
	}
}

// finalCheck reads every item once more when all is healed.
func (f *freshness) finalCheck(t *testing.T) {
	f.c.WaitReady()
	for w := range f.items {
		f.old = append(f.old, f.items[w].Load())
	}
	rng := mathrand.New(mathrand.NewPCG(1, 1))
	for _, item := range f.old {
		f.c.Eventually("a last read of every item", func() bool { _, _, ok := f.readOnce(item, rng); return ok })
	}
	if t.Failed() {
		t.Log("see above for the seed")
	}
}
