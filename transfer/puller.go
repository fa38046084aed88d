package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Puller pulls. Its methods are safe for concurrent use, but for Pull, of which one runs at a time.
type Puller struct {
	o      Options
	limit  *rate.Limiter
	totals totals
}

// New checks the options.
func New(o Options) (*Puller, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Puller{o: o, limit: rate.NewLimiter(rate.Inf, MaxBytes)}
	if o.BytesPerSecond > 0 {
		p.limit.SetLimit(rate.Limit(o.BytesPerSecond))
		// What may come at once is bounded by time as well: a tenth of a second's worth, and a page must not be more than a bucket.
		p.limit.SetBurst(int(max(min(o.BytesPerSecond/10, MaxBytes), 1)))
	}
	return p, nil
}

// outcome is what came of reading one source of a job.
type outcome struct {
	j    *job
	from ring.NodeID
	err  error
}

// Pull makes all works complete that were planned at an epoch, or goes on trying until ctx is done. A pull for an epoch that is over
// is to be ended and planned again. It returns nil when all are complete, else the context's error or the store's.
func (p *Puller) Pull(ctx context.Context, epoch uint64, works []Work) error {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan outcome)
	r := &run{
		p: p, epoch: epoch, busy: make(map[ring.NodeID]bool), out: make(map[ring.NodeID]outage), results: results,
	}
	defer func() {
		cancel()
		for ; r.running > 0; r.running-- {
			<-results
		}
		p.totals.end()
	}()
	for _, w := range works {
		r.jobs = append(r.jobs, &job{Work: w, read: make(map[ring.NodeID]bool), avoid: make(map[ring.NodeID]time.Time)})
	}
	p.totals.begin(works)
	return r.all(ctx)
}

// run is one Pull. All but read is its goroutine's alone.
type run struct {
	p       *Puller
	epoch   uint64
	jobs    []*job
	busy    map[ring.NodeID]bool
	out     map[ring.NodeID]outage
	results chan outcome
	running int
}

// lookAgain is how often it is looked whether a source that was down is up.
const lookAgain = time.Second

func (r *run) all(ctx context.Context) error {
	for _, j := range r.jobs { // what was read before a restart
		if err := r.resume(j); err != nil {
			return err
		}
		if err := r.settle(ctx, j); err != nil {
			return err
		}
	}
	for {
		wait := lookAgain
		for r.running < r.p.o.Parallel {
			j, from, until := pick(r.jobs, r.busy, r.out, r.p.o.Up, r.p.o.Now())
			if j == nil {
				if until > 0 {
					wait = min(wait, until)
				}
				break
			}
			r.start(ctx, j, from)
		}
		if r.running == 0 && r.complete() {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
			if err := r.retry(ctx); err != nil {
				return err
			}
		case got := <-r.results:
			timer.Stop()
			r.running--
			if err := r.came(ctx, got); err != nil {
				return err
			}
		}
	}
}

func (r *run) complete() bool {
	for _, j := range r.jobs {
		if !j.done {
			return false
		}
	}
	return true
}

// resume takes up what was read in an earlier process, or for an earlier epoch that the range has not changed since.
func (r *run) resume(j *job) error {
	list, err := r.p.o.Store.PulledOf(j.Move)
	if err != nil {
		return err
	}
	for _, id := range j.Sources {
		for _, rec := range list {
			if rec.Source == storage.NodeID(id) && rec.Done && r.counts(j.Work, rec) {
				j.read[id] = true
			}
		}
	}
	return nil
}

// counts reports whether what was read of a source is of use: not before the range last changed, nor under a purge level that the
// own claim has since lost, for what was let in meanwhile is not known to be alive.
func (r *run) counts(w Work, rec storage.Pulled) bool {
	return rec.Epoch >= w.Changed && rec.Epoch <= r.epoch && rec.Level <= r.p.o.Store.ClaimOf(w.N, w.First).PurgeLevel
}

func (r *run) start(ctx context.Context, j *job, from ring.NodeID) {
	j.running, r.busy[from] = true, true
	r.running++
	r.p.totals.reading(from, true)
	go func() { // Pull waits for it
		r.results <- outcome{j, from, r.p.read(ctx, r, j.Work, from)}
	}()
}

// came takes in what became of one source.
func (r *run) came(ctx context.Context, got outcome) error {
	j, o := got.j, r.p.o
	j.running = false
	delete(r.busy, got.from)
	r.p.totals.reading(got.from, false)
	switch {
	case got.err == nil:
		delete(r.out, got.from)
		j.read[got.from], j.failed = true, 0
		return r.settle(ctx, j)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(got.err, storage.ErrFailed), errors.Is(got.err, storage.ErrClosed):
		return got.err
	}
	r.p.totals.failed(got.from, got.err)
	o.Logger.Warn("a source of a range could not be read", "source", got.from, "first", got.j.First, "n", j.N, "error", got.err)
	switch {
	case errors.Is(got.err, errOwn): // nobody else would help
		j.failed++
		j.after = o.Now().Add(backoff(o.Retry, o.RetryMost, j.failed))
		if errors.Is(got.err, errTakenBack) {
			clear(j.read)
			return o.Store.ForgetPulled(ctx, j.Move)
		}
	case errors.Is(got.err, ErrDamaged), errors.Is(got.err, ErrRebuilding), errors.Is(got.err, ErrBucket):
		j.avoid[got.from] = o.Now().Add(o.RetryMost)
	default:
		out := r.out[got.from]
		out.times++
		out.until = o.Now().Add(backoff(o.Retry, o.RetryMost, out.times))
		r.out[got.from] = out
	}
	return nil
}

// retry looks again at what waits for something of this node's own.
func (r *run) retry(ctx context.Context) error {
	for _, j := range r.jobs {
		if !j.done && !j.running && !j.after.After(r.p.o.Now()) && j.enough(j.Self) {
			if err := r.settle(ctx, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle makes a job complete if enough was read.
func (r *run) settle(ctx context.Context, j *job) error {
	self, err := r.selfCounts(j.Work)
	if err != nil || !j.enough(self) {
		return err
	}
	claim := r.p.o.Store.ClaimOf(j.N, j.First)
	if claim.Rebuilding {
		return r.later(ctx, j, ErrRebuilding)
	}
	floor, err := r.floor(j)
	if err != nil {
		return err
	}
	if max(floor, claim.Floor) < claim.PurgeLevel {
		return r.another(ctx, j)
	}
	o := r.p.o
	if j.Standing == Arriving && floor > claim.Floor {
		if err := o.Vouch(ctx, j.Work, floor); err != nil {
			return r.later(ctx, j, err)
		}
	}
	if err := o.Store.SetComplete(ctx, storage.Complete{Move: j.Move, Sources: j.Need}); err != nil {
		return r.later(ctx, j, err)
	}
	j.done = true
	r.p.totals.complete(j.Move)
	return nil
}

// later puts off what this node itself could not do.
func (r *run) later(ctx context.Context, j *job, err error) error {
	if ctx.Err() != nil || errors.Is(err, storage.ErrFailed) || errors.Is(err, storage.ErrClosed) {
		return err
	}
	r.p.totals.failed(ring.NodeID{}, err)
	j.failed++
	j.after = r.p.o.Now().Add(backoff(r.p.o.Retry, r.p.o.RetryMost, j.failed))
	return nil
}

// selfCounts reports whether the own data is a source, and can be read. While it is rebuilt nothing is settled in any case.
func (r *run) selfCounts(w Work) (bool, error) {
	if !w.Self {
		return false, nil
	}
	damaged, err := r.p.o.Store.LeafDamaged(r.p.o.Buckets(w.N), storage.LeafOf(w.First), storage.LeafOf(w.Last))
	return err == nil && !damaged, err
}

// floor is the highest that was claimed by a source that was read whole, when that began.
func (r *run) floor(j *job) (floor causal.HLC, err error) {
	list, err := r.p.o.Store.PulledOf(j.Move)
	for _, rec := range list {
		if rec.Done && j.read[ring.NodeID(rec.Source)] {
			floor = max(floor, rec.Floor)
		}
	}
	return floor, err
}

// another asks for one more source. Under a purge level states are taken only from those who have seen as much as was purged, so
// one of these must have been read whole: what was not taken from others is there. If all were read, they are read again, for
// they may have seen more since.
func (r *run) another(ctx context.Context, j *job) error {
	if j.left() {
		j.more++
		return nil
	}
	if err := r.p.o.Store.ForgetPulled(ctx, j.Move); err != nil {
		return err
	}
	clear(j.read)
	j.more = 0
	return r.later(ctx, j, errUnseen)
}

var errUnseen = errors.New("transfer: no source has seen all that was purged: they are read again")

// errOwn marks what keeps this node from pulling, whoever is asked.
var (
	errOwn       = errors.New("transfer: this node can't take the range now")
	errTakenBack = fmt.Errorf("%w: its purge level was taken back, so it begins anew", errOwn)
)
