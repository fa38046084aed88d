//go:build unix

package proctest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

// bucket always exists; N is 3 and R and W are quorum there.
const bucket = "default"

// outcome is what a writer knows of its write.
type outcome uint8

const (
	acknowledged outcome = iota
	refused              // nothing was written
	unknown
)

func (o outcome) String() string { return [...]string{"acknowledged", "refused", "unknown"}[o] }

// record is one write as its writer saw it, over all its tries.
type record struct {
	key   client.Key
	value string
	// saw are the values that the context of the write covers.
	saw        []string
	start, end time.Time
	outcome    outcome
	err        error // of the last try
	tries      int
}

func (r *record) took() time.Duration { return r.end.Sub(r.start) }

// loadOptions say how writers write.
type loadOptions struct {
	writers int // 0: sixteen
	// put and get are options of every call.
	put, get []client.CallOption
	// insist has a write that was not acknowledged be tried again, with its request id, for as long as giveUp.
	insist bool
	// pause between two writes of a writer.
	pause time.Duration
	// uniqueOnly leaves out the reads and writes of shared keys.
	uniqueOnly bool
	// keys bounds the unique keys of a writer, which then replaces its own values; 0: every write has its own key.
	keys int
	// forget keeps no records: for loads that last.
	forget bool
}

// giveUp is how long an insisting writer tries; well below the life of a request id.
const giveUp = 40 * time.Second

const sharedKeys = 32

// load is a set of writers, each with a client of its own. Of every three writes of a writer two are of keys that
// nobody else writes, and one replaces what it has read of a key that all share.
type load struct {
	o      loadOptions
	stop   context.CancelFunc
	done   sync.WaitGroup
	acked  atomic.Int64
	failed atomic.Int64

	mu      sync.Mutex
	records []*record
}

func startLoad(c *Cluster, o loadOptions) *load {
	c.t.Helper()
	if o.writers == 0 {
		o.writers = 16
	}
	clients := make([]*client.Client, o.writers)
	for i := range clients {
		clients[i] = c.Client()
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &load{o: o, stop: stop}
	for i, cl := range clients {
		l.done.Go(func() { l.write(ctx, i, cl) })
	}
	c.t.Cleanup(func() { l.finish() })
	return l
}

// finish lets the writes under way end and returns all of them.
func (l *load) finish() []*record {
	l.stop()
	l.done.Wait()
	return l.records
}

func (l *load) write(ctx context.Context, writer int, cl *client.Client) {
	for n := 0; ctx.Err() == nil; n++ {
		r := &record{key: client.NewKey(fmt.Sprintf("own/%d/%d", writer, n), ""), value: fmt.Sprintf("%d.%d", writer, n)}
		opts := slices.Clone(l.o.put)
		switch {
		case l.o.keys > 0:
			r.key = client.NewKey(fmt.Sprintf("own/%d/%d", writer, n%l.o.keys), "")
			if seen, ok := l.look(ctx, cl, r); ok {
				opts = append(opts, client.WithContext(seen))
			}
		case n%3 == 2 && !l.o.uniqueOnly:
			r.key = client.NewKey(fmt.Sprintf("shared/%d", (writer*7+n)%sharedKeys), "")
			seen, ok := l.look(ctx, cl, r)
			if !ok {
				continue
			}
			opts = append(opts, client.WithContext(seen))
		}
		l.put(ctx, cl, r, opts)
		if !l.o.forget {
			l.mu.Lock()
			l.records = append(l.records, r)
			l.mu.Unlock()
		}
		time.Sleep(l.o.pause)
	}
}

// look reads a shared key, and notes what it saw.
func (l *load) look(ctx context.Context, cl *client.Client, r *record) (client.Context, bool) {
	got, err := cl.Get(ctx, bucket, r.key, l.o.get...)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return client.Context{}, false
	}
	for _, v := range got.Versions {
		r.saw = append(r.saw, string(v.Value))
	}
	return got.Context, true
}

// put writes once, or until it is acknowledged. A write that has begun is brought to its end also when the load
// stops.
func (l *load) put(ctx context.Context, cl *client.Client, r *record, opts []client.CallOption) {
	ctx = context.WithoutCancel(ctx)
	id, err := cl.NewRequestID()
	if err != nil {
		r.err = err
		return
	}
	opts = append(opts, client.WithRequestID(id))
	r.start = time.Now()
	for {
		r.tries++
		_, err := cl.Put(ctx, bucket, r.key, []byte(r.value), opts...)
		r.end = time.Now()
		if err == nil {
			r.outcome = acknowledged
			l.acked.Add(1)
			return
		}
		r.note(err)
		if !l.o.insist || r.took() > giveUp {
			l.failed.Add(1)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// note takes over the error of a try. Once one try has an unknown outcome so has the write.
func (r *record) note(err error) {
	var e *client.Error
	untouched := errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrConnect) || errors.Is(err, client.ErrOverloaded)
	if errors.As(err, &e) && untouched && r.outcome != unknown {
		r.outcome = refused
	} else {
		r.outcome = unknown
	}
	r.err = err
}

// longest returns the records by how long they took, the longest first.
func longest(records []*record) []*record {
	sorted := slices.Clone(records)
	slices.SortFunc(sorted, func(a, b *record) int { return int(b.took() - a.took()) })
	return sorted
}

// summary is one line on a load.
func summary(records []*record) string {
	var by [3]int
	for _, r := range records {
		by[r.outcome]++
	}
	s := longest(records)
	if len(s) == 0 {
		return "no writes"
	}
	return fmt.Sprintf("%d writes: %d acknowledged, %d refused, %d unknown; p50 %v, p99 %v, longest %v (%d tries, %s)",
		len(s), by[acknowledged], by[refused], by[unknown], s[len(s)/2].took().Round(time.Microsecond),
		s[len(s)/100].took().Round(time.Microsecond), s[0].took().Round(time.Millisecond), s[0].tries, s[0].key)
}

// among returns the records that began in [from, to].
func among(records []*record, from, to time.Time) []*record {
	var out []*record
	for _, r := range records {
		if !r.start.Before(from) && !r.start.After(to) {
			out = append(out, r)
		}
	}
	return out
}

// sleepUntil lets a load run.
func sleepUntil(t *testing.T, at time.Time) {
	t.Helper()
	time.Sleep(time.Until(at))
}
