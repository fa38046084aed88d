package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/history"
)

// Buckets of the load. Both keep three replicas.
const (
	siblingsBucket = "chaos-siblings"
	lwwBucket      = "chaos-lww"
	replicas       = 3
)

func buckets() map[string]history.Bucket {
	return map[string]history.Bucket{
		siblingsBucket: {Policy: history.Siblings, N: replicas},
		lwwBucket:      {Policy: history.LWW, N: replicas},
	}
}

// profile is how a session works.
type profile struct {
	bucket string
	strict bool
	r, w   int
	// register: it is the only writer of an item at a time, instead of one of many.
	register bool
}

// profiles are dealt to the sessions in turn: one replica, a quorum, all of them; strict and sloppy.
var profiles = []profile{
	{bucket: siblingsBucket, strict: true, r: 2, w: 2},
	{bucket: siblingsBucket, r: 2, w: 2},
	{bucket: lwwBucket, strict: true, r: 2, w: 2},
	{bucket: siblingsBucket, strict: true, r: 2, w: 2, register: true},
	{bucket: siblingsBucket, r: 1, w: 1},
	{bucket: lwwBucket, r: 2, w: 2},
	{bucket: siblingsBucket, strict: true, r: 1, w: 3},
	{bucket: lwwBucket, strict: true, r: 2, w: 2, register: true},
	{bucket: siblingsBucket, strict: true, r: 3, w: 1},
	{bucket: lwwBucket, r: 1, w: 1},
}

const (
	// groupItems share a partition key, so that a query reads them together.
	groupItems = 4
	// groups are how many such there are in a bucket at a time.
	groups = 12
	// overwrites is how often an item is written before another takes its place: what a version replaces is kept with
	// it, and the longer that is the less can be written in a given time.
	overwrites = 60
)

// pool are the items of a bucket that its sessions share. They are replaced by new ones when they have been written
// often.
type pool struct {
	bucket string
	groups [groups]atomic.Int64 // how often the group has been written
	regs   sync.Map             // the sessions that write registers -> history.Key of the present one
}

// group draws the partition key of a group.
func (p *pool) group(rng *rand.Rand, writes int64) string {
	g := rng.IntN(groups)
	n := p.groups[g].Add(writes)
	return fmt.Sprintf("p%d.%d", g, n/(groupItems*overwrites))
}

func sortKey(i int) string { return fmt.Sprintf("s%d", i) }

// item draws an item.
func (p *pool) item(rng *rand.Rand, writes int64) history.Key {
	return history.Key{Bucket: p.bucket, Partition: p.group(rng, writes), Sort: sortKey(rng.IntN(groupItems))}
}

// register draws one of the items that have a single writer each.
func (p *pool) register(rng *rand.Rand) (key history.Key, ok bool) {
	n := 0
	p.regs.Range(func(_, k any) bool {
		if n++; rng.IntN(n) == 0 {
			key, ok = k.(history.Key), true
		}
		return true
	})
	return key, ok
}

// load are the clients at work.
type load struct {
	start    time.Time
	recorder *history.Recorder
	sessions []*session
	working  sync.WaitGroup
	stop     context.CancelFunc

	acked, refused, unknown atomic.Int64 // writes
	reads                   atomic.Int64 // that were answered
}

// loadOptions say how hard clients work.
type loadOptions struct {
	sessions int
	// think is the mean pause between two operations of a session.
	think time.Duration
	seed  uint64
}

// startLoad makes the buckets, opens a client for each session, and begins.
func startLoad(ctx context.Context, addrs []string, o loadOptions) (*load, error) {
	if err := createBuckets(ctx, addrs); err != nil {
		return nil, err
	}
	pools := make(map[string]*pool)
	for name := range buckets() {
		pools[name] = &pool{bucket: name}
	}
	l := &load{}
	for i := range o.sessions {
		cl, err := client.Open(ctx, addrs)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("open the client of session %d: %w", i, err)
		}
		p := profiles[i%len(profiles)]
		l.sessions = append(l.sessions, &session{
			profile: p, index: i, pool: pools[p.bucket], load: l, client: cl, think: o.think,
			rng: rand.New(rand.NewPCG(o.seed, uint64(i)+1)), last: map[history.Key]seen{},
		})
	}
	l.start = time.Now()
	l.recorder = history.NewRecorder(func() time.Duration { return time.Since(l.start) })
	working, stop := context.WithCancel(ctx)
	l.stop = stop
	for _, s := range l.sessions {
		l.working.Go(func() { s.run(working) })
	}
	return l, nil
}

// createTries is how often it is tried to make a bucket: a cluster that has just been founded may not be whole yet.
const createTries = 20

func createBuckets(ctx context.Context, addrs []string) error {
	cl, err := client.Open(ctx, addrs)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }() // it always succeeds
	for name, b := range buckets() {
		want := client.Bucket{Name: name, N: b.N, Conflict: client.ConflictSiblings}
		if b.Policy == history.LWW {
			want.Conflict = client.ConflictLWW
		}
		for try := 1; ; try++ {
			_, _, err := cl.CreateBucket(ctx, want)
			if err == nil {
				break
			}
			if try == createTries || ctx.Err() != nil {
				return fmt.Errorf("make bucket %s: %w", name, err)
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	return nil
}

// finish lets operations under way end, closes the clients and returns the history.
func (l *load) finish() []history.Op {
	l.stop()
	l.working.Wait()
	l.close()
	return l.recorder.Ops()
}

func (l *load) close() {
	for _, s := range l.sessions {
		_ = s.client.Close() // it always succeeds
	}
}

// note counts a write or a read that is over.
func (l *load) note(op *history.Op) {
	switch {
	case op.Kind == history.Read:
		if op.Outcome == history.Done {
			l.reads.Add(1)
		}
	case op.Outcome == history.Done:
		l.acked.Add(1)
	case op.Outcome == history.Refused:
		l.refused.Add(1)
	default:
		l.unknown.Add(1)
	}
}

// undone says whether an error of the client promises that nothing was written, and nothing will be.
func undone(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && !errors.Is(err, client.ErrOutcomeUnknown)
}
