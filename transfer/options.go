// Package transfer brings owners what a move of the ring gives them, and takes from nodes what it has taken.
//
// An owner in the next layout reads each partition that moves whole from as many owners of the layout in force as make sure that no
// acknowledged write is missed, and is then *complete* for it (docs/design/layouts.md has the rules, package ring decides them).
// Plan says what a node has to pull, and is pure; Puller pulls it, page by page, resuming where it was; Source is the side that
// answers; Drops says what a node may give up.
package transfer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Store is what pulling needs of package storage; *storage.Store has it.
type Store interface {
	Merge(ctx context.Context, merges []storage.Merge) []error
	Range(ctx context.Context, r storage.RangeRequest) (items []storage.RangeItem, exhausted bool, err error)
	ClaimOf(n int, token uint64) storage.Claim
	LeafDamaged(buckets []uint64, first, last int) (bool, error)
	PulledOf(m storage.Move) ([]storage.Pulled, error)
	SetPulled(ctx context.Context, p storage.Pulled) error
	ForgetPulled(ctx context.Context, m storage.Move) error
	SetComplete(ctx context.Context, marks ...storage.Complete) error
}

// Options are what a Puller is made of. Defaults stand behind the fields; the functions and Store are required unless they say
// otherwise.
type Options struct {
	Store Store
	// Page asks a source. It returns soon after ctx is done.
	Page func(ctx context.Context, source ring.NodeID, ask Ask) (Page, error)
	// Up reports whether a node can be reached.
	Up func(ring.NodeID) bool
	// Buckets are those with n replicas that this node knows.
	Buckets func(n int) []uint64
	// Policy says how states of a bucket are joined; keep is false for one that was dropped. One that this node has yet to hear of
	// is ErrBucket.
	Policy func(bucket uint64, n int) (p causal.Policy, keep bool, err error)
	// Hear is told of a purge level above the own one, and of a source that has purged further than this node has seen. It makes the
	// own claim hold it, durably, before it returns: of Arriving data only that; Vouching data is found to be older than it was once.
	Hear func(ctx context.Context, w Work, level causal.HLC) error
	// Vouch raises the floor of Arriving data, durably: all up to it was pulled.
	Vouch func(ctx context.Context, w Work, floor causal.HLC) error
	// Observe lets the clock see what came from another node. Its error refuses the page.
	Observe func(causal.HLC) error
	// Pause waits until the next page may be asked for when the one before it cost so many bytes, so that clients come first. Nil: at
	// once. Its error ends the pull.
	Pause func(ctx context.Context, cost int64) error

	// BytesPerSecond bounds what is fetched; 0: nothing does.
	BytesPerSecond int64
	// Parallel is how many sources are read at once, each for one range. 4.
	Parallel int
	// SaveBytes is how much is merged between two records of how far a source was read. 4 MiB.
	SaveBytes int64
	// PageTimeout bounds the wait for one page. 15 s.
	PageTimeout time.Duration
	// A source that failed is left alone for Retry, then twice as long with each failure, up to RetryMost. 1 s, 1 min.
	Retry, RetryMost time.Duration

	Now func() time.Time
	// Logger: nil discards.
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	setDefault(&o.Parallel, 4)
	setDefault(&o.SaveBytes, 4<<20)
	setDefault(&o.PageTimeout, 15*time.Second)
	setDefault(&o.Retry, time.Second)
	setDefault(&o.RetryMost, max(time.Minute, o.Retry))
	if o.Pause == nil {
		o.Pause = func(context.Context, int64) error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.Store == nil || o.Page == nil || o.Up == nil || o.Buckets == nil || o.Policy == nil:
		return errors.New("transfer: Store, Page, Up, Buckets and Policy are required")
	case o.Hear == nil || o.Vouch == nil || o.Observe == nil:
		return errors.New("transfer: Hear, Vouch and Observe are required")
	case o.BytesPerSecond < 0 || o.Parallel < 0 || o.SaveBytes < 0 || o.PageTimeout < 0 || o.Retry < 0 || o.RetryMost < o.Retry:
		return errors.New("transfer: a limit or an interval is negative, or RetryMost below Retry")
	}
	return nil
}
