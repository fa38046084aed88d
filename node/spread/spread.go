// Package spread brings the cluster documents of all nodes together. Gossip tells each node the fingerprint of every other's
// document, which costs next to nothing; here it is decided from whom to fetch a document, and when, so that
// news reach a thousand nodes soon and yet none of them is asked by all at once: the rumour mongering of Demers et al.,
// *Epidemic algorithms for replicated database maintenance* (PODC 1987), by pulling.
package spread

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/starling-db/starling/ring"
)

// Peer is what gossip tells of another node that is alive.
type Peer struct {
	ID ring.NodeID
	// Print is its document's fingerprint, Epoch the newest epoch in it. Both may be of a moment ago.
	Print, Epoch uint64
}

// Options are what a Spreader is made of. Defaults stand behind the fields; the functions are required.
type Options struct {
	// Own is the fingerprint of this node's document.
	Own func() uint64
	// Peers lists the other nodes that are alive.
	Peers func() []Peer
	// Fetch merges a node's document into this one's: it contains the other then. It returns soon after ctx is done.
	Fetch func(ctx context.Context, id ring.NodeID) error
	// Interval is how often peers are looked through without a Wake, which is also how long one is left alone that could not be
	// asked. 5 s.
	Interval time.Duration
	// Jitter, for each peer, is how long a fetch waits at random, so that not all nodes ask the one that has something new; they
	// then ask each other. 5 ms.
	Jitter time.Duration
	// MaxJitter bounds that. 5 s.
	MaxJitter time.Duration
	// Rand draws whom to ask, and the waits. Used by Run alone.
	Rand *rand.Rand
	// Logger: nil discards.
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Interval, 5 * time.Second}, {&o.Jitter, 5 * time.Millisecond}, {&o.MaxJitter, 5 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.Own == nil || o.Peers == nil || o.Fetch == nil:
		return errors.New("spread: Own, Peers and Fetch are required")
	case o.Interval < 0 || o.Jitter < 0 || o.MaxJitter < 0:
		return errors.New("spread: a time is negative")
	}
	return nil
}

// Spreader decides when this node fetches whose document.
type Spreader struct {
	o    Options
	book book          // of Run
	wake chan struct{} // has room for one
}

// New checks the options. The Spreader does nothing before Run.
func New(o Options) (*Spreader, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Spreader{o: o, wake: make(chan struct{}, 1)}, nil
}

// Wake says that a fingerprint has changed, this node's or another's. It never waits.
func (s *Spreader) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run fetches documents until ctx is done, whose error it returns.
func (s *Spreader) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.o.Interval)
	defer ticker.Stop()
	for {
		s.fetch(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			s.book.retry()
		case <-s.wake:
		}
	}
}

// fetch asks one node after another until nobody is left who may have something new.
func (s *Spreader) fetch(ctx context.Context) {
	for {
		peers := s.o.Peers()
		if _, some := s.book.choose(s.o.Own(), peers, s.o.Rand.IntN); !some {
			return
		}
		most := min(time.Duration(len(peers))*s.o.Jitter, s.o.MaxJitter)
		if !sleep(ctx, time.Duration(s.o.Rand.Int64N(int64(most)+1))) {
			return
		}
		// Another may have brought it meanwhile, or there are more now who have it.
		peer, some := s.book.choose(s.o.Own(), s.o.Peers(), s.o.Rand.IntN)
		if !some {
			return
		}
		if err := s.o.Fetch(ctx, peer.ID); err != nil {
			s.o.Logger.Debug("a peer's view of the cluster could not be fetched", "peer", peer.ID, "error", err)
			s.book.failed(peer)
			continue
		}
		s.book.know(peer.Print)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
