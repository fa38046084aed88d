package antientropy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/starling-db/starling/ring"
)

// ErrShared says that two nodes have nothing to compare.
var ErrShared = errors.New("antientropy: the two nodes own nothing together")

// Runner runs exchanges, one at a time. Make one with New and run it with Run.
type Runner struct {
	o     Options
	limit *rate.Limiter
	turn  chan struct{} // holds a token while an exchange runs

	mu    sync.Mutex
	peers map[ring.NodeID]*Peering // bounded by the nodes of the cluster
	// covered is when a part was last compared with a node, for whatever reason, so that the schedule need not.
	covered map[ring.NodeID]map[Part]time.Time
	totals  Totals
	wake    chan struct{} // has room for one
}

// Peering is how this node stands with one that it compares with.
type Peering struct {
	// Since is when this node began to compare with it.
	Since time.Time
	// Last is when an exchange last came to its end; zero: never since the start.
	Last time.Time
	// Next is when the next is due.
	Next time.Time
	// Failed counts exchanges that failed in a row, Err is why the last did.
	Failed int
	Err    error
}

// Totals are counts since the start.
type Totals struct {
	Exchanges, Failed uint64
	// Held is how long exchanges waited for Options.Pause.
	Held   time.Duration
	Report // of all exchanges together
}

// New checks the options. The Runner does nothing before Run.
func New(o Options) (*Runner, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	burst := min(int64(maxBytes), max(o.BytesPerSecond/20, 1))
	return &Runner{
		o: o, limit: rate.NewLimiter(rate.Limit(o.BytesPerSecond), int(burst)), turn: make(chan struct{}, 1),
		peers: make(map[ring.NodeID]*Peering), covered: make(map[ring.NodeID]map[Part]time.Time), wake: make(chan struct{}, 1),
	}, nil
}

// Wake says that a node has come up: it is compared with soon. It never waits.
func (r *Runner) Wake(id ring.NodeID) {
	r.mu.Lock()
	if p := r.peers[id]; p != nil {
		p.Next = time.Time{}
	}
	delete(r.covered, id) // it may have missed anything since
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Peerings are copies of what is known of each node that this one compares with by itself.
func (r *Runner) Peerings() map[ring.NodeID]Peering {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[ring.NodeID]Peering, len(r.peers))
	for id, p := range r.peers {
		out[id] = *p
	}
	return out
}

// Totals returns what all exchanges that this node began have done.
func (r *Runner) Totals() Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.totals
}

// lookEvery is how often Run looks whether a node has come up with which an exchange is due.
const lookEvery = time.Second

// Run exchanges with each peer, again and again, until ctx is done, whose error it returns.
func (r *Runner) Run(ctx context.Context) error {
	if r.o.Interval < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		for _, id := range r.due() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !r.open() {
				break
			}
			if err := r.scheduled(ctx, id); err != nil && !errors.Is(err, errOver) && ctx.Err() == nil {
				r.o.Logger.Warn("replicas could not be compared", "peer", id, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// scheduled compares with a node what was not compared lately.
func (r *Runner) scheduled(ctx context.Context, id ring.NodeID) error {
	since := r.o.Now().Add(-r.o.Interval * 19 / 20) // rounds compare as often; the last exchange itself is no younger
	for _, share := range r.o.Plan(id).Shares {
		left := r.uncovered(id, share, since)
		if len(left) == 0 {
			continue
		}
		_, err := r.exchange(ctx, id, Scope{N: share.N, Partitions: left}, true)
		if errors.Is(err, errOver) {
			return err // no failure, and it stays due
		}
		if err != nil {
			r.finish(id, err)
			return err
		}
	}
	r.finish(id, nil)
	return nil
}

// uncovered are the partitions of a share that were not compared with a node since then.
func (r *Runner) uncovered(id ring.NodeID, share Share, since time.Time) (left []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range share.Partitions {
		if at, ok := r.covered[id][Part{share.N, p}]; !ok || at.Before(since) {
			left = append(left, p)
		}
	}
	return left
}

// cover notes that partitions were compared, but for those where something was not taken.
func (r *Runner) cover(id ring.NodeID, plan Plan, scope Scope, began time.Time, doubtful []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	doubted := make(map[int]bool, len(doubtful))
	for _, p := range doubtful {
		doubted[p] = true
	}
	if r.covered[id] == nil {
		r.covered[id] = make(map[Part]time.Time)
	}
	for _, share := range plan.Shares {
		for _, p := range scope.of(share) {
			if !doubted[p] {
				r.covered[id][Part{share.N, p}] = began
			}
		}
	}
}

// due lists the peers that are up and whose exchange is due, the one that waits longest first.
func (r *Runner) due() []ring.NodeID {
	now := r.o.Now()
	wanted := r.o.Peers()
	up := make(map[ring.NodeID]bool, len(wanted))
	for _, id := range wanted { // without the lock, which whoever answers may come to by Wake
		up[id] = r.o.Up(id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range wanted {
		if r.peers[id] == nil {
			r.peers[id] = &Peering{Since: now, Next: now.Add(r.spread(r.o.Soon))}
		}
	}
	var due []ring.NodeID
	for id, p := range r.peers {
		switch isUp, stays := up[id]; {
		case !stays:
			delete(r.peers, id)
			delete(r.covered, id)
		case isUp && !p.Next.After(now):
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b ring.NodeID) int {
		if c := r.peers[a].Next.Compare(r.peers[b].Next); c != 0 {
			return c
		}
		return slices.Compare(a[:], b[:])
	})
	return due
}

func (r *Runner) random() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.o.Rand.Uint64() >> 1
}

// spread is a random part of d.
func (r *Runner) spread(d time.Duration) time.Duration {
	return time.Duration(r.o.Rand.Float64() * float64(d))
}

// Exchange compares what this node shares with another, and mends what differs on both sides, unless it is only to look. It
// waits for its turn. It fails with ErrShared when there is nothing, with what the other node answered, and with ctx's error.
func (r *Runner) Exchange(ctx context.Context, id ring.NodeID, scope Scope) (Report, error) {
	return r.exchange(ctx, id, scope, false)
}

func (r *Runner) exchange(ctx context.Context, id ring.NodeID, scope Scope, byItself bool) (Report, error) {
	t := turn{r: r}
	err := t.take(ctx)
	if err != nil {
		return Report{}, err
	}
	defer t.give()
	x := &exchange{o: &r.o, limit: r.limit, with: id, plan: r.o.Plan(id), scope: scope, from: r.random()}
	switch {
	case byItself:
		x.pause = t.stepAside
	case scope.Yield:
		x.pause = t.yield
	}
	began := r.o.Now()
	if len(x.plan.Shares) == 0 || scope.missing(x.plan) {
		err = ErrShared
	} else {
		err = x.run(ctx)
	}
	if !scope.Look && scope.Bucket == 0 && err == nil {
		r.cover(id, x.plan, scope, began, x.Doubtful)
	}
	over := errors.Is(err, errOver) // no failure, and it stays due
	if scope.whole() && !over {
		r.finish(id, err)
	}
	r.count(x.Report, err != nil && !over)
	if x.Fetched+x.Pushed+x.Refused+x.Recounted > 0 {
		r.o.Logger.Info("replicas differed", "peer", id, "fetched", x.Fetched, "pushed", x.Pushed, "refused", x.Refused,
			"recounted", x.Recounted, "leaves", x.Leaves, "bytes", x.Bytes)
	}
	return x.Report, err
}

func (r *Runner) count(done Report, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.totals
	t.Exchanges++
	t.Report = t.plus(done)
	if failed {
		t.Failed++
	}
}

// finish notes that everything was compared with a node, or could not be.
func (r *Runner) finish(id ring.NodeID, err error) {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[id]
	if p == nil {
		return // asked for from outside
	}
	if p.Err = err; err != nil {
		p.Failed++
		p.Next = now.Add(r.o.Retry + r.spread(r.o.Retry/2))
		return
	}
	p.Failed, p.Last = 0, now
	p.Next = now.Add(r.o.Interval - r.o.Interval/20 + r.spread(r.o.Interval/10))
}

// plus adds counts; keys are not kept.
func (a Report) plus(b Report) Report {
	return Report{
		Partitions: a.Partitions + b.Partitions, Differed: a.Differed + b.Differed, Leaves: a.Leaves + b.Leaves,
		Items: a.Items + b.Items, Fetched: a.Fetched + b.Fetched, Pushed: a.Pushed + b.Pushed, Refused: a.Refused + b.Refused,
		Recounted: a.Recounted + b.Recounted, Bytes: a.Bytes + b.Bytes, Unlike: a.Unlike + b.Unlike,
	}
}

// Oldest is when the exchange ended that lies back farthest, of all peers; false if there is no peer. One that there was no
// exchange with yet counts from when there was first to be one.
func (r *Runner) Oldest() (time.Time, bool) {
	peers := r.Peerings()
	if len(peers) == 0 {
		return time.Time{}, false
	}
	oldest := r.o.Now()
	for _, p := range peers {
		last := p.Last
		if last.IsZero() {
			last = p.Since
		}
		if last.Before(oldest) {
			oldest = last
		}
	}
	return oldest, true
}
