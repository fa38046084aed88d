package hinted

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	peer  = ring.NodeID{1}
	other = ring.NodeID{2}
)

// rig is a store with hints, a Replayer, and targets that note what they take.
type rig struct {
	t     *testing.T
	fs    vfs.FS
	store *storage.Store
	clock *causal.Clock
	o     Options
	r     *Replayer

	mu    sync.Mutex
	down  map[ring.NodeID]bool
	taken map[ring.NodeID][]string // sort keys, in the order taken
	sends []time.Time
	// refuse decides about each item; nil: all are taken. During runs unlocked while a batch is on its way.
	refuse func(target ring.NodeID, h Handoff) error
	during func()

	stop func()
}

func newRig(t *testing.T, tune func(*Options)) *rig {
	g := &rig{t: t, fs: vfs.NewMem(), down: make(map[ring.NodeID]bool), taken: make(map[ring.NodeID][]string)}
	g.open()
	g.o = Options{
		Store: g.store,
		Up:    func(id ring.NodeID) bool { g.mu.Lock(); defer g.mu.Unlock(); return !g.down[id] },
		Owns:  func(storage.Key) bool { return false },
		Send:  g.send,
		Rand:  rand.New(rand.NewPCG(1, 2)),
	}
	if tune != nil {
		tune(&g.o)
	}
	t.Cleanup(func() {
		if g.stop != nil {
			g.stop()
		}
		if err := g.store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return g
}

func (g *rig) open() {
	g.t.Helper()
	s, err := storage.Open(storage.Options{Dir: "data", FS: g.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		g.t.Fatal(err)
	}
	g.store = s
	bound := causal.NewHLC(time.Now().Add(time.Hour).UnixMilli(), 0)
	if err := s.SetHLCBound(bound); err != nil {
		g.t.Fatal(err)
	}
	g.clock = causal.NewClock(time.Now, time.Second, 0)
	g.clock.Raise(bound)
	s.UseClock(g.clock)
}

// run starts the Replayer; g.stop ends it.
func (g *rig) run() {
	g.t.Helper()
	r, err := New(g.o)
	if err != nil {
		g.t.Fatal(err)
	}
	g.r = r
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	g.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			g.t.Errorf("Run returned %v", err)
		}
		g.stop = nil
	}
}

func (g *rig) send(_ context.Context, target ring.NodeID, batch []Handoff) []error {
	g.mu.Lock()
	during := g.during
	g.mu.Unlock()
	if during != nil {
		during()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sends = append(g.sends, time.Now())
	errs := make([]error, len(batch))
	for i, h := range batch {
		if g.refuse != nil {
			errs[i] = g.refuse(target, h)
		}
		if errs[i] == nil {
			g.taken[target] = append(g.taken[target], string(h.Hint.Key.Sort))
		}
	}
	return errs
}

func key(sort string) storage.Key {
	return storage.Key{Bucket: 7, Token: uint64(ring.TokenOf(7, []byte("p"))), Partition: []byte("p"), Sort: []byte(sort)}
}

// hint stores a new version of an item as a stand-in's copy for the target.
func (g *rig) hint(target ring.NodeID, sort string, size int) {
	g.t.Helper()
	h, err := g.clock.Now()
	if err != nil {
		g.t.Fatal(err)
	}
	state, _ := causal.Mint(causal.LastWriteWins, causal.State{}, causal.Actor(h), h, causal.Write{Value: bytes.Repeat([]byte{'v'}, size)})
	errs := g.store.Merge(context.Background(), []storage.Merge{{
		Key: key(sort), Policy: causal.LastWriteWins, State: state, HintFor: storage.NodeID(target), Sync: true,
	}})
	if errs[0] != nil {
		g.t.Fatal(errs[0])
	}
}

// hints stores n hints for the target and returns their sort keys, oldest first.
func (g *rig) hints(target ring.NodeID, n, size int) (sorts []string) {
	g.t.Helper()
	for i := range n {
		s := fmt.Sprintf("%03d", (i*37)%1000) // not in the order of keys
		g.hint(target, s, size)
		sorts = append(sorts, s)
	}
	return sorts
}

func (g *rig) left(target ring.NodeID) int64 {
	for _, s := range g.store.HintStats() {
		if s.Target == storage.NodeID(target) {
			return s.Items
		}
	}
	return 0
}

func (g *rig) setDown(id ring.NodeID, down bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down[id] = down
}

func (g *rig) got(id ring.NodeID) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.taken[id])
}

// pause lets the time of the bubble pass.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestHintsOfAnEarlierProcessAreSentOldestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.BatchItems = 4 })
		want := g.hints(peer, 30, 10)
		wantOther := g.hints(other, 5, 10)
		g.run()
		pause(10 * time.Millisecond)
		if got := g.got(peer); !slices.Equal(got, want) {
			t.Errorf("the target took %v, want %v", got, want)
		}
		if got := g.got(other); !slices.Equal(got, wantOther) {
			t.Errorf("the other target took %v, want %v", got, wantOther)
		}
		if n := g.left(peer) + g.left(other); n != 0 {
			t.Errorf("%d hints are left", n)
		}
		if s := g.r.Stats(); s.Settled != 35 || s.Failed+s.Changed != 0 || s.Corrupt != 0 || s.Active != 0 || s.Bytes == 0 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestEachHintIsSettledByItsOwnAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		refused := map[string]int{"037": 1, "111": 3}
		g.refuse = func(_ ring.NodeID, h Handoff) error {
			if s := string(h.Hint.Key.Sort); refused[s] > 0 {
				refused[s]--
				return errors.New("not now")
			}
			return nil
		}
		g.hints(peer, 10, 10)
		g.run()
		pause(10 * time.Millisecond)
		if n := g.left(peer); n != 2 {
			t.Fatalf("%d hints are left after the first pass, want the two refused", n)
		}
		pause(2 * time.Second)
		if n := g.left(peer); n != 0 {
			t.Errorf("%d hints are left", n)
		}
		if got := g.got(peer); len(got) != 10 {
			t.Errorf("the target took %v", got)
		}
		if s := g.r.Stats(); s.Settled != 10 || s.Failed != 4 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestAnItemThatChangedWhileItWasSentIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.hint(peer, "a", 10)
		var once sync.Once
		g.during = func() { once.Do(func() { g.hint(peer, "a", 20) }) }
		var last causal.Digest
		g.refuse = func(_ ring.NodeID, h Handoff) error { last = h.State.Digest(); return nil }
		g.o.Owns = func(storage.Key) bool { return true }
		g.run()
		pause(10 * time.Millisecond)
		if got := g.got(peer); !slices.Equal(got, []string{"a", "a"}) {
			t.Fatalf("the target took %v", got)
		}
		state, err := g.store.Get(context.Background(), key("a"))
		if err != nil || state.Digest() != last {
			t.Errorf("what was sent last is not the present state (%v)", err)
		}
		if s := g.r.Stats(); s.Changed != 1 || s.Settled != 1 || g.left(peer) != 0 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestReplayStopsWhenTheTargetGoesDownAndGoesOnWhenItIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) {
			o.BatchItems = 1
			o.BytesPerSecond = 10_000
			o.BatchBytes = 1000
			o.Interval = time.Hour
		})
		want := g.hints(peer, 40, 1000)
		g.run()
		pause(time.Second)
		g.setDown(peer, true)
		synctest.Wait()
		before := len(g.got(peer))
		if before == 0 || before == 40 {
			t.Fatalf("%d hints were sent before the target went down", before)
		}
		pause(30 * time.Minute)
		if now := len(g.got(peer)); now != before {
			t.Errorf("%d hints were sent to a target that is down", now-before)
		}
		g.setDown(peer, false)
		g.r.Wake(peer)
		pause(10 * time.Second)
		if got := g.got(peer); !slices.Equal(got, want) {
			t.Errorf("the target took %v, want %v", got, want)
		}
	})
}

func TestReplayIsThrottled(t *testing.T) {
	for _, size := range []int{100, 5_000, 100_000} { // far below, near and above the size of a batch
		synctest.Test(t, func(t *testing.T) {
			const bytesPerSecond, total = 100_000, 2_000_000
			g := newRig(t, func(o *Options) { o.BytesPerSecond = bytesPerSecond; o.BatchBytes = 10_000 })
			n := min(total/size, 400)
			g.hints(peer, n, size)
			start := time.Now()
			g.run()
			for g.left(peer) > 0 {
				pause(50 * time.Millisecond)
				if time.Since(start) > time.Minute {
					t.Fatalf("%d hints are left after a minute", g.left(peer))
				}
			}
			took := g.sends[len(g.sends)-1].Sub(start).Seconds()
			want := float64(g.r.Stats().Bytes) / bytesPerSecond
			if slack := 0.1*want + 0.05; took < want-slack || took > want+slack {
				t.Errorf("%d hints of %d bytes took %.2f s, want %.2f s", n, size, took, want)
			}
		})
	}
}

func TestATargetThatFailsIsLeftAloneLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.Interval = 10 * time.Second })
		g.refuse = func(ring.NodeID, Handoff) error { return errors.New("overloaded") }
		g.hints(peer, 3, 10)
		g.run()
		pause(time.Minute)
		if n := len(g.sends); n < 8 || n > 20 {
			t.Fatalf("%d tries in a minute", n)
		}
		for i, limit := 1, 100*time.Millisecond; i < len(g.sends); i, limit = i+1, min(2*limit, 10*time.Second) {
			if gap := g.sends[i].Sub(g.sends[i-1]); gap < limit/2 || gap > limit {
				t.Errorf("try %d came %v after the one before, want %v to %v", i, gap, limit/2, limit)
			}
		}
		if n := g.left(peer); n != 3 {
			t.Errorf("%d hints are left, want all 3", n)
		}
	})
}

func TestAnItemThatIsAlwaysRefusedDoesNotBlockTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.BatchItems = 1 }) // so that the item fails a whole batch
		g.refuse = func(_ ring.NodeID, h Handoff) error {
			if string(h.Hint.Key.Sort) == "000" {
				return errors.New("never")
			}
			return nil
		}
		g.hints(peer, 5, 10)
		g.run()
		pause(5 * time.Second)
		if n := g.left(peer); n != 1 {
			t.Errorf("%d hints are left, want the one refused", n)
		}
	})
}

func TestRecordsStayWithOwnersAlone(t *testing.T) {
	for _, owner := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Owns = func(storage.Key) bool { return owner } })
			g.hint(peer, "a", 10)
			g.hint(other, "a", 10) // the same record stands in for two
			g.setDown(other, true)
			g.run()
			pause(10 * time.Millisecond)
			if state, err := g.store.Get(context.Background(), key("a")); err != nil || !state.Live() {
				t.Fatalf("the record is gone before its last target has it (%v)", err)
			}
			g.setDown(other, false)
			pause(2 * time.Second)
			state, err := g.store.Get(context.Background(), key("a"))
			if err != nil || state.Live() != owner {
				t.Errorf("owner %v: the record is there: %v (%v)", owner, state.Live(), err)
			}
		})
	}
}

func TestARestartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.BatchItems = 1; o.BytesPerSecond = 10_000; o.BatchBytes = 1000 })
		want := g.hints(peer, 20, 1000)
		g.run()
		pause(time.Second)
		g.stop()
		if err := g.store.Close(); err != nil {
			t.Fatal(err)
		}
		before := len(g.got(peer))
		g.open()
		g.o.Store = g.store
		g.run()
		pause(10 * time.Second)
		got := g.got(peer)
		if before == 0 || before >= 20 || g.left(peer) != 0 {
			t.Fatalf("%d were sent before the restart, %d are left", before, g.left(peer))
		}
		// The batch that was on its way at the stop may have come twice.
		if uniq := slices.Compact(slices.Clone(got)); !slices.Equal(uniq, want) {
			t.Errorf("the target took %v, want %v", got, want)
		}
	})
}

// torn is a store in which the hints of some items can't be read: their own bytes, or the record behind them.
type torn struct {
	*storage.Store
	hint, record string
}

func (s torn) Hints(target storage.NodeID, after *storage.Hint, limit int) ([]storage.Hint, error) {
	list, err := s.Store.Hints(target, after, limit)
	n := len(list)
	list = slices.DeleteFunc(list, func(h storage.Hint) bool { return string(h.Key.Sort) == s.hint })
	if len(list) < n {
		err = errors.Join(err, &storage.CorruptError{What: "hint", Err: errors.New("torn")})
	}
	return list, err
}

func (s torn) HintState(ctx context.Context, h storage.Hint) (causal.State, bool, error) {
	if string(h.Key.Sort) == s.record {
		return causal.State{}, false, &storage.CorruptError{What: "item", Err: errors.New("torn")}
	}
	return s.Store.HintState(ctx, h)
}

func TestHintsThatCannotBeReadDoNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.BatchItems = 4 })
		g.o.Store = torn{Store: g.store, hint: "037", record: "111"}
		g.hints(peer, 10, 10)
		g.run()
		pause(time.Minute)
		if got := g.got(peer); len(got) != 8 {
			t.Errorf("the target took %v, want the 8 that can be read", got)
		}
		if s := g.r.Stats(); s.Corrupt != 2 || s.Settled != 8 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestFewTargetsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *Options) { o.Targets = 2 })
		var mu sync.Mutex
		now, most := 0, 0
		g.during = func() {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
		}
		for i := range 6 {
			g.hint(ring.NodeID{byte(i + 1)}, fmt.Sprint(i), 10)
		}
		g.run()
		pause(10 * time.Second)
		if most != 2 {
			t.Errorf("%d targets were sent to at once, want 2", most)
		}
		if s := g.r.Stats(); s.Settled != 6 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("New takes options without functions")
	}
	ok := Options{
		Store: torn{}, Up: func(ring.NodeID) bool { return true }, Owns: func(storage.Key) bool { return true },
		Send: func(context.Context, ring.NodeID, []Handoff) []error { return nil },
	}
	if _, err := New(ok); err != nil {
		t.Errorf("New refuses the least that is required: %v", err)
	}
	for _, spoil := range []func(*Options){
		func(o *Options) { o.BatchItems = -1 },
		func(o *Options) { o.Interval = -1 },
		func(o *Options) { o.BackoffMax = time.Nanosecond },
	} {
		bad := ok
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Error("New takes options that can't be")
		}
	}
}
