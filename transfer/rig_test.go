package transfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

const bucket = 7

// rig is a new owner of the only partition, and real stores that it pulls from.
type rig struct {
	t       testing.TB
	fs      *vfs.MemFS
	store   *storage.Store
	sources map[ring.NodeID]*storage.Store
	o       Options
	work    Work
	hlc     causal.HLC
	asked   []Ask
	of      []ring.NodeID // who was asked
	// meddle changes an answer on its way.
	meddle func(id ring.NodeID, page *Page, err *error)
	down   map[ring.NodeID]bool
	heard  []causal.HLC
}

func openStore(t testing.TB, fs vfs.FS, dir string) *storage.Store {
	t.Helper()
	s, err := storage.Open(storage.Options{Dir: dir, FS: fs, CacheBytes: 1 << 20, MemTableBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, storage.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	s.UseClock(causal.NewClock(time.Now, time.Second, 0))
	return s
}

// newRig has sources 1 to 3, two of which are needed.
func newRig(t testing.TB) *rig {
	r := &rig{
		t: t, fs: vfs.NewCrashableMem(), sources: map[ring.NodeID]*storage.Store{}, hlc: causal.NewHLC(1_000, 0), down: map[ring.NodeID]bool{},
	}
	r.store = openStore(t, r.fs, "/new")
	r.work = Work{Move: storage.Move{Last: math.MaxUint64, N: 3, Origin: 5}, Need: 2, Changed: 5}
	for i := 1; i <= 3; i++ {
		r.sources[id(i)] = openStore(t, vfs.NewMem(), "/source")
		r.work.Sources = append(r.work.Sources, id(i))
	}
	r.o = Options{
		Page: r.page, Up: func(id ring.NodeID) bool { return !r.down[id] }, SaveBytes: 1, Retry: time.Second, RetryMost: 4 * time.Second,
		Parallel: 1, Buckets: func(int) []uint64 { return []uint64{bucket} },
		Policy: func(b uint64, _ int) (causal.Policy, bool, error) {
			if b != bucket {
				return 0, false, ErrBucket
			}
			return causal.Siblings, true, nil
		},
		Hear: func(ctx context.Context, w Work, level causal.HLC) error {
			r.heard = append(r.heard, level)
			c := r.store.ClaimOf(3, 0)
			c.PurgeLevel, c.Rebuilding = level, w.Standing == Vouching
			return r.store.SetClaims(ctx, 0, []storage.Claim{c})
		},
		Vouch: func(ctx context.Context, _ Work, floor causal.HLC) error {
			c := r.store.ClaimOf(3, 0)
			c.Floor = floor
			return r.store.SetClaims(ctx, 0, []storage.Claim{c})
		},
		Observe: func(causal.HLC) error { return nil },
	}
	return r
}

func (r *rig) page(ctx context.Context, id ring.NodeID, ask Ask) (Page, error) {
	r.asked, r.of = append(r.asked, ask), append(r.of, id)
	source := Source{Store: r.sources[id], Buckets: r.o.Buckets, Known: func(b uint64) bool { return b == bucket }}
	page, err := source.Page(ctx, ask)
	if r.meddle != nil {
		r.meddle(id, &page, &err)
	}
	return page, err
}

func itemOf(b uint64, partition string) storage.Key {
	return storage.Key{Bucket: b, Token: uint64(ring.TokenOf(b, []byte(partition))), Partition: []byte(partition), Sort: []byte{}}
}

// put stores a new version on some sources.
func (r *rig) put(partition string, size int, on ...int) causal.State {
	r.t.Helper()
	r.hlc++
	s, _ := causal.Mint(causal.Siblings, causal.State{}, causal.Actor(r.hlc), r.hlc, causal.Write{Value: []byte(strings.Repeat("v", size))})
	for _, i := range on {
		r.merge(r.sources[id(i)], partition, s)
	}
	return s
}

func (r *rig) merge(on *storage.Store, partition string, s causal.State) {
	r.t.Helper()
	merges := []storage.Merge{{Key: itemOf(bucket, partition), State: s, N: 3, Sync: true}}
	if err := errors.Join(on.Merge(context.Background(), merges)...); err != nil {
		r.t.Fatal(err)
	}
}

// fill gives each source a different two thirds of some items: five pages of each, about.
func (r *rig) fill() { r.fillWith(900, 2<<10) }

func (r *rig) fillWith(items, size int) {
	r.t.Helper()
	merges := make(map[ring.NodeID][]storage.Merge)
	value := []byte(strings.Repeat("v", size))
	for i := range items {
		r.hlc++
		s, _ := causal.Mint(causal.Siblings, causal.State{}, causal.Actor(r.hlc), r.hlc, causal.Write{Value: value})
		for _, on := range []ring.NodeID{id(1 + i%3), id(1 + (i+1)%3)} {
			merges[on] = append(merges[on], storage.Merge{Key: itemOf(bucket, fmt.Sprint("p", i)), State: s, N: 3})
		}
	}
	for on, list := range merges {
		for some := range slices.Chunk(list, 256) {
			if err := errors.Join(r.sources[on].Merge(context.Background(), some)...); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *rig) claim(on *storage.Store, floor, level causal.HLC) {
	r.t.Helper()
	if err := on.SetClaims(context.Background(), 0, []storage.Claim{{N: 3, Floor: floor, PurgeLevel: level}}); err != nil {
		r.t.Fatal(err)
	}
}

// pull runs for so long at most, and returns the puller.
func (r *rig) pull(epoch uint64, d time.Duration) (*Puller, error) {
	r.t.Helper()
	r.o.Store = r.store
	p, err := New(r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return p, p.Pull(ctx, epoch, []Work{r.work})
}

func (r *rig) pulled() *Puller {
	r.t.Helper()
	p, err := r.pull(6, time.Hour)
	if err != nil {
		r.t.Fatalf("pull: %v (%+v)", err, p.Progress())
	}
	if !r.complete() {
		r.t.Fatal("pulled, and not complete")
	}
	return p
}

// stuck wants a pull that does not end.
func (r *rig) stuck(why error) {
	r.t.Helper()
	p, err := r.pull(6, 8*time.Second)
	if !errors.Is(err, context.DeadlineExceeded) || r.complete() {
		r.t.Fatalf("complete too early: %v", err)
	}
	if why != nil && !strings.Contains(p.Progress().LastError, why.Error()) {
		r.t.Errorf("it waits for %q, want %v", p.Progress().LastError, why)
	}
}

func (r *rig) complete() bool {
	marks, err := r.store.Completes()
	if err != nil {
		r.t.Fatal(err)
	}
	return len(Places(marks, []storage.Complete{{Move: r.work.Move, Sources: r.work.Need}})) == 1
}

// crash reopens the new owner as after a loss of power.
func (r *rig) crash() {
	r.t.Helper()
	r.fs = r.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.store = openStore(r.t, r.fs, "/new")
}

func held(t testing.TB, s *storage.Store) map[string]string {
	t.Helper()
	items, _, err := s.Range(context.Background(), storage.RangeRequest{Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, item := range items {
		out[string(item.Key)] = item.State.Digest().String()
	}
	return out
}

// has wants all that some sources have.
func (r *rig) has(of ...int) {
	r.t.Helper()
	own := held(r.t, r.store)
	for _, i := range of {
		for key, digest := range held(r.t, r.sources[id(i)]) {
			if own[key] != digest {
				r.t.Fatalf("an item of source %d is missing, of %d here", i, len(own))
			}
		}
	}
}
