package antientropy

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// Lead is what a node leads rounds for at an epoch: the parts of which it is the first owner that can be reached.
type Lead struct {
	Epoch uint64
	Parts []Seats
}

// RoundPeer asks a node, this one included, for its part in a round. All return soon after ctx is done.
type RoundPeer struct {
	// Attest asks for the promise to refuse fresh writes up to through, with the clock lifted to at.
	Attest func(ctx context.Context, id ring.NodeID, epoch uint64, at, through causal.HLC, parts []Part) (Attestation, error)
	// Process asks which process it is.
	Process func(ctx context.Context, id ring.NodeID) (uint64, error)
	// Compare has the owners of a pair compare its partitions whole, and tells in which one of them would not take an item.
	Compare func(ctx context.Context, pair Pair) (doubtful []int, err error)
	// Raise tells an owner of the end of the round.
	Raise func(ctx context.Context, epoch uint64, through causal.HLC, raise Raise) error
}

// RoundOptions are what Rounds is made of. Defaults stand behind the fields; the functions are required.
type RoundOptions struct {
	Peer RoundPeer
	// Lead is what this node leads at present; no parts while the ring changes.
	Lead func() Lead
	// Reading takes a reading of this node's clock.
	Reading func(context.Context) (causal.HLC, error)
	Name    func(ring.NodeID) string
	// Up reports whether a node may be reached: parts of others are not asked about at all.
	Up func(ring.NodeID) bool
	// Window reports whether rounds may begin at some time; nil: always.
	Window func(time.Time) bool
	// Longest is how long a write may be on its way: fresh writes younger than that are still taken. 15 s.
	Longest time.Duration
	// Interval between two rounds of a part; a tenth of it is added or taken off at random. Below zero: none. 10 min.
	Interval time.Duration
	// Soon bounds when the first round begins, at random. 30 s, at most Interval.
	Soon time.Duration
	// Retry is when parts are tried again for which a round came to nothing; it doubles each time, up to Interval. 30 s.
	Retry  time.Duration
	Now    func() time.Time
	Rand   *rand.Rand // used by one goroutine at a time
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *RoundOptions) EnsureDefaults() {
	setDefault(&o.Longest, 15*time.Second)
	setDefault(&o.Interval, 10*time.Minute)
	setDefault(&o.Soon, min(30*time.Second, max(o.Interval, 1)))
	setDefault(&o.Retry, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports the first field that can't be.
func (o *RoundOptions) Validate() error {
	switch {
	case o.Peer.Attest == nil || o.Peer.Process == nil || o.Peer.Compare == nil || o.Peer.Raise == nil:
		return errors.New("antientropy: all of RoundPeer is required")
	case o.Lead == nil || o.Reading == nil || o.Name == nil || o.Up == nil:
		return errors.New("antientropy: Lead, Reading, Name and Up are required")
	case o.Longest <= 0 || o.Soon < 0 || o.Retry <= 0:
		return errors.New("antientropy: a time of rounds is not above zero")
	}
	return nil
}

var errDown = errors.New("it is down")

// Rounds leads rounds, one at a time, again and again. Make one with NewRounds and run it with Run.
type Rounds struct {
	o RoundOptions

	mu     sync.Mutex
	next   map[Part]time.Time // when each part that is led is due
	failed map[Part]Setback
	totals RoundTotals
	wake   chan struct{} // has room for one
}

// Setback is that a part's rounds come to nothing at present.
type Setback struct {
	Times int // in a row
	Why   string
}

// RoundTotals are counts since the start: of rounds led, and of parts whose floors were raised and were not.
type RoundTotals struct{ Rounds, Raised, Failed uint64 }

// NewRounds checks the options. Nothing happens before Run.
func NewRounds(o RoundOptions) (*Rounds, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Rounds{
		o: o, next: make(map[Part]time.Time), failed: make(map[Part]Setback), wake: make(chan struct{}, 1),
	}, nil
}

// Wake says that something has changed for which parts may have waited. It never waits.
func (r *Rounds) Wake() {
	r.mu.Lock()
	soon := r.o.Now().Add(min(r.o.Retry, r.o.Soon))
	for p, f := range r.failed {
		if f.Times > 1 && r.next[p].After(soon) {
			r.next[p] = soon
		}
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Totals returns the counts.
func (r *Rounds) Totals() RoundTotals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.totals
}

// Setbacks are the parts led here whose last round came to nothing.
func (r *Rounds) Setbacks() map[Part]Setback {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[Part]Setback, len(r.failed))
	for p, f := range r.failed {
		out[p] = f
	}
	return out
}

// Run leads a round for the parts that are due, again and again, until ctx is done, whose error it returns.
func (r *Rounds) Run(ctx context.Context) error {
	if r.o.Interval < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if due := r.due(r.o.Lead()); len(due.Parts) > 0 && (r.o.Window == nil || r.o.Window(r.o.Now())) {
			r.lead(ctx, due)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// due takes from a lead what is not due, and forgets what isn't led any more.
func (r *Rounds) due(all Lead) Lead {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	led := make(map[Part]bool, len(all.Parts))
	first := now.Add(time.Duration(r.o.Rand.Float64() * float64(r.o.Soon)))
	out := Lead{Epoch: all.Epoch}
	for _, s := range all.Parts {
		led[s.Part] = true
		at, known := r.next[s.Part]
		if !known {
			at = first
			r.next[s.Part] = first
		}
		if !at.After(now) {
			out.Parts = append(out.Parts, s)
		}
	}
	for p := range r.next {
		if !led[p] {
			delete(r.next, p)
			delete(r.failed, p)
		}
	}
	return out
}

// lead runs one round to its end.
func (r *Rounds) lead(ctx context.Context, lead Lead) {
	at, err := r.o.Reading(ctx)
	if err != nil {
		r.o.Logger.Warn("no round could begin", "error", err)
		return
	}
	round := NewRound(causal.NewHLC(max(at.Millis()-r.o.Longest.Milliseconds(), 0), 0), lead.Parts)
	guardians := slices.DeleteFunc(round.Guardians(), func(id ring.NodeID) bool {
		up := r.o.Up(id)
		if !up {
			round.Attested(id, r.o.Name(id), Attestation{}, errDown)
		}
		return !up
	})
	asked := make(map[ring.NodeID][]Part, len(guardians))
	guardians = slices.DeleteFunc(guardians, func(id ring.NodeID) bool {
		asked[id] = round.PartsOf(id)
		return len(asked[id]) == 0
	})
	each(guardians, func(id ring.NodeID) func() {
		a, err := r.o.Peer.Attest(ctx, id, lead.Epoch, at, round.Through, asked[id])
		return func() { round.Attested(id, r.o.Name(id), a, err) }
	})
	for _, pair := range round.Pairs() {
		doubtful, err := r.o.Peer.Compare(ctx, pair)
		round.Exchanged(pair, doubtful, err)
	}
	each(guardians, func(id ring.NodeID) func() {
		process, err := r.o.Peer.Process(ctx, id)
		return func() { round.Confirmed(id, r.o.Name(id), process, err) }
	})
	raises := round.Raises()
	for _, raise := range raises {
		if err := r.o.Peer.Raise(ctx, lead.Epoch, round.Through, raise); err != nil && ctx.Err() == nil {
			// The round stands: what it proved of this owner's data is only not known there.
			r.o.Logger.Warn("an owner did not raise its floors", "node", r.o.Name(raise.Node), "error", err)
		}
	}
	if ctx.Err() != nil {
		return
	}
	r.settle(lead, round.Failed())
}

// each asks all, some at a time, and takes their answers in one by one.
func each(ids []ring.NodeID, ask func(ring.NodeID) func()) {
	took := make([]func(), len(ids))
	var g errgroup.Group
	g.SetLimit(maxAsked)
	for i, id := range ids {
		g.Go(func() error { took[i] = ask(id); return nil })
	}
	_ = g.Wait() // what fails is an answer too
	for _, take := range took {
		take()
	}
}

// maxAsked bounds the nodes that are asked at once.
const maxAsked = 16

// settle says when each part is due again.
func (r *Rounds) settle(lead Lead, failed map[Part]string) {
	now := r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	interval := max(r.o.Interval, 0)
	spread := time.Duration(r.o.Rand.Float64() * float64(interval) / 5)
	r.totals.Rounds++
	for _, s := range lead.Parts {
		why, bad := failed[s.Part]
		if !bad {
			r.totals.Raised++
			delete(r.failed, s.Part)
			r.next[s.Part] = now.Add(interval - interval/10 + spread)
			continue
		}
		r.totals.Failed++
		times := r.failed[s.Part].Times + 1
		r.failed[s.Part] = Setback{times, why}
		r.next[s.Part] = now.Add(min(r.o.Retry<<min(times-1, 10), max(interval, r.o.Retry)))
	}
	if len(failed) > 0 {
		r.o.Logger.Info("a round came to nothing for some partitions", "partitions", len(failed), "of", len(lead.Parts), "why", anyOf(failed))
	}
}

// anyOf is the reason of the lowest part.
func anyOf(failed map[Part]string) string {
	var first Part
	why := ""
	for p, w := range failed {
		if why == "" || p.N < first.N || p.N == first.N && p.Partition < first.Partition {
			first, why = p, w
		}
	}
	return why
}
