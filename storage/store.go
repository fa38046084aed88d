package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// Store is an open data directory. All methods are safe for concurrent use. After Close they return
// ErrClosed, after a failure *FailedError.
type Store struct {
	*health
	o     Options
	dir   *directory
	db    *pebble.DB
	watch io.Closer // over slow disk operations; nil: none
	space *spaceWatch
	clock atomic.Pointer[causal.Clock]
	hlc   atomic.Uint64 // the HLC bound that is durable
	bound causal.HLC    // the one that is applied; guarded by the latch of metaStripe

	// boot names this run: an actor that another run drew is never used again, as that run may have lost writes.
	boot    uint64
	randMu  sync.Mutex
	stripes *stripes
	ledger  *ledger
	cache   *cache
	trees   *trees
	claims  claims
	purges  purges
	damage  *damage
	// quarantine is changed by whoever holds the token of recounting.
	quarantine *quarantine
	// treesSuspect: leaves may differ from their items.
	treesSuspect atomic.Bool
	// recounting holds a token while leaves are counted anew, a record is set aside, or a bucket is dropped.
	recounting chan struct{}

	gate    gate
	commits chan *commit
	synced  chan struct{} // closed when syncLoop has ended
	watched chan struct{} // closed when watchSpace has ended
}

// Open opens the data directory, or makes it. It fails with *LockedError when another process has it,
// *FormatError when a newer version wrote it, *IdentityError when its parts don't belong together, and with
// Pebble's error when the database can't be recovered.
func Open(o Options) (*Store, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	dir, err := openDirectory(o)
	if err != nil {
		return nil, err
	}
	s := &Store{
		health: newHealth(o.Logger), o: o, dir: dir,
		stripes: newStripes(), ledger: newLedger(o.HintBytesPerTarget, o.HintBytesTotal),
		gate: newGate(), cache: newCache(o.ItemCacheBytes), trees: newTrees(),
		damage: newDamage(), quarantine: &quarantine{limit: o.QuarantineBytes}, recounting: make(chan struct{}, 1),
		commits: make(chan *commit, commitQueue), synced: make(chan struct{}), watched: make(chan struct{}),
		space: newSpaceWatch(o),
	}
	watched := s.space.begin()
	err = s.openDatabase()
	if err != nil && !dir.identity.Load().Ready {
		err = s.reopenFirst(err)
	}
	if err != nil {
		return nil, errors.Join(err, dir.lock.Close())
	}
	if watched {
		s.tickSpace() // makes the ballast: the disk may fill as soon as the node serves
		go s.watchSpace()
	} else {
		close(s.watched)
	}
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.shut())
	}
	return s, nil
}

func (s *Store) openDatabase() error {
	cache := pebble.NewCache(s.o.CacheBytes)
	defer cache.Unref() // the database holds its own reference
	path := s.o.FS.PathJoin(s.o.Dir, databaseIn)
	fs, watch := watchDisk(s.o.FS, s.health)
	// A write that finds the disk full lets the ballast go and is tried once more. A failed fsync is not.
	fs = vfs.OnDiskFull(fs, s.space.spill)
	po := pebbleOptions(s.o, newFreezeFS(fs, s.health, s.space), s.health, cache)
	// A database that was complete once and isn't there now is lost data, not a first start.
	po.ErrorIfNotExists = s.dir.identity.Load().Ready
	db, err := pebble.Open(path, po)
	if err != nil {
		if watch != nil {
			err = errors.Join(err, watch.Close())
		}
		return fmt.Errorf("storage: open the database in %s: %w", path, err)
	}
	s.db, s.watch = db, watch
	go s.syncLoop()
	return nil
}

// reopenFirst makes the database anew when a crash has cut its making short in a way that Pebble can't go on from.
// Nothing was ever told or acknowledged from it: the identity says so.
func (s *Store) reopenFirst(cause error) error {
	path := s.o.FS.PathJoin(s.o.Dir, databaseIn)
	s.o.Logger.Warn("the database was never finished: it is made anew", "path", path, "cause", cause)
	if err := errors.Join(s.o.FS.RemoveAll(path), syncDir(s.o.FS, s.o.Dir)); err != nil {
		return errors.Join(cause, err)
	}
	return s.openDatabase()
}

// begin reads what the store keeps in memory, and completes a first start.
func (s *Store) begin() error {
	boot, err := s.draw()
	if err != nil {
		return err
	}
	s.boot = boot
	if err := s.checkOwner(); err != nil {
		return err
	}
	if err := s.loadBound(); err != nil {
		return err
	}
	if err := errors.Join(s.loadClaims(), s.loadTrees(), s.loadQuarantine()); err != nil {
		return err
	}
	if err := s.addUpHints(); err != nil {
		return err
	}
	return s.Err()
}

// draw returns 64 random bits, never zero.
func (s *Store) draw() (uint64, error) {
	s.randMu.Lock()
	defer s.randMu.Unlock()
	for {
		var b [8]byte
		if _, err := io.ReadFull(s.o.Rand, b[:]); err != nil {
			return 0, fmt.Errorf("storage: draw random bits: %w", err)
		}
		if v := binary.BigEndian.Uint64(b[:]); v != 0 {
			return v, nil
		}
	}
}

// UseClock gives the store the clock that mints dots and dates hints. Only the first call counts; it comes
// before the first Put, Owe, and Merge with a hint.
func (s *Store) UseClock(c *causal.Clock) { s.clock.CompareAndSwap(nil, c) }

// Process is drawn anew each time the directory is opened; never zero.
func (s *Store) Process() uint64 { return s.boot }

// Identity returns who the node is.
func (s *Store) Identity() Identity { return s.dir.identity.Load().Identity }

// Adopt makes the directory part of a cluster, durably and for good. Adopting the same cluster again is no
// error; another one is a *ClusterError.
func (s *Store) Adopt(id [16]byte, name string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	if id == [16]byte{} {
		return errors.New("storage: adopt: the cluster id is zero")
	}
	if n := len(name); n > maxName {
		return &KeyError{Part: "cluster name", Size: n, Max: maxName}
	}
	var refused *ClusterError
	err := s.dir.update(func(r *identityRecord) error {
		if r.Adopted() && (r.ClusterID != id || r.Cluster != name) {
			refused = &ClusterError{Have: r.ClusterID, HaveName: r.Cluster, Want: id, WantName: name}
			return refused
		}
		r.ClusterID, r.Cluster = id, name
		return nil
	})
	if err != nil && refused == nil {
		return s.fail(err)
	}
	return err
}

// Failed is closed when the store fails: a write or fsync that went wrong, or corruption. Nothing heals it
// but a restart on a sound disk. Err says what happened.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Close waits for the operations under way and for their commits, closes the database and gives up the lock.
// It reports anything that Pebble finds left open. Close is called once; a failed store closes too.
func (s *Store) Close() error {
	if !s.gate.close() {
		return ErrClosed
	}
	if s.Err() == nil {
		_ = s.markClean() // a failure is the store's, and shut says so
	}
	return s.shut()
}

func (s *Store) shut() error {
	close(s.commits)
	<-s.synced
	close(s.released)
	<-s.watched
	err := s.db.Close()
	if s.watch != nil {
		err = errors.Join(err, s.watch.Close())
	}
	if failed := s.Err(); failed != nil {
		// What Pebble says of files that don't change is of no interest.
		err = failed
	}
	return errors.Join(err, s.dir.lock.Close())
}

// enter begins an operation; gate.leave ends it.
func (s *Store) enter() error {
	if err := s.Err(); err != nil {
		return err
	}
	return s.gate.enter()
}

// lock takes latches for the operation under way.
func (s *Store) lock(ctx context.Context, indexes ...int) error {
	if err := ctx.Err(); err != nil {
		return err // not begun: its time is over
	}
	if err := s.stripes.lock(ctx, indexes...); err != nil {
		return err
	}
	// Whoever held them may have failed meanwhile.
	if err := s.Err(); err != nil {
		s.stripes.unlock(indexes...)
		return err
	}
	return nil
}
