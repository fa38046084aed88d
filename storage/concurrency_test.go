package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/starling-db/starling/causal"
)

// slowLog holds up fsyncs of the log until it is let go.
type slowLog struct{ hold chan struct{} }

func (f *slowLog) String() string { return "slow log" }

func (f *slowLog) MaybeError(op errorfs.Op) error {
	if strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
		<-f.hold
	}
	return nil
}

// held opens a store whose log doesn't sync until release is called.
func held(t *testing.T) (s *testStore, release func()) {
	f := &slowLog{hold: make(chan struct{})}
	passed := make(chan struct{})
	go func() { // let Open's own syncs pass
		for {
			select {
			case f.hold <- struct{}{}:
			case <-passed:
				return
			}
		}
	}()
	s = open(t, errorfs.Wrap(vfs.NewMem(), f))
	close(passed)
	synctest.Wait()
	return s, func() { close(f.hold) }
}

// While its fsync is under way a write is neither acknowledged nor shown; but it holds up nobody else's
// write, on the same item either, and whoever waits can leave.
func TestNothingIsShownBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := held(t)
		ctx := context.Background()
		k := key("a", "")
		w := s.write("x")
		_, commit, err := s.Put(ctx, Put{Key: k, Write: w, Sync: true})
		must(t, err)
		_, second, err := s.Put(ctx, Put{Key: k, Write: s.write("y"), Sync: true})
		must(t, err)
		repeated, third, err := s.Put(ctx, Put{Key: k, Write: w, Sync: true})
		if err != nil || !repeated.Repeated {
			t.Fatalf("got %+v, %v", repeated, err)
		}

		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		for name, wait := range map[string]func() error{
			"commit":   func() error { return commit.Wait(soon) },
			"repeated": func() error { return third.Wait(soon) },
			"get":      func() error { _, err := s.Get(soon, k); return err },
			"range":    func() error { _, _, err := s.Range(soon, RangeRequest{Bucket: 7}); return err },
			"hint":     func() error { _, _, err := s.HintState(soon, Hint{Key: k}); return err },
			"merge":    func() error { return s.Merge(soon, []Merge{{Key: k, State: repeated.State, Sync: true}})[0] },
		} {
			if err := wait(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s did not wait: %v", name, err)
			}
		}
		// A write that isn't to be synced waits for nothing.
		_, memory, err := s.Put(ctx, Put{Key: key("b", ""), Write: s.write("z")})
		must(t, errors.Join(err, memory.Wait(ctx)))
		wantValues(t, s.get(t, key("b", "")), "z")

		got := make(chan string)
		go func() { got <- values(s.get(t, k)) }()
		synctest.Wait()
		release()
		if v := <-got; v != "x,y" {
			t.Errorf("got %q", v)
		}
		must(t, errors.Join(commit.Wait(ctx), second.Wait(ctx), third.Wait(ctx)))
		mustClose(t, s)
	})
}

// Close waits for the commits under way, and they are acknowledged.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := held(t)
		ctx := context.Background()
		_, commit, err := s.Put(ctx, Put{Key: key("a", ""), Write: s.write("x"), Sync: true})
		must(t, err)
		reader := make(chan error)
		go func() { _, err := s.Get(ctx, key("a", "")); reader <- err }()
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("did not wait")
		default:
		}
		release()
		must(t, errors.Join(<-reader, <-closed, commit.Wait(ctx)))
	})
}

// Everything at once on a few items: every write that was acknowledged is in the final state exactly once,
// the ledger is right, and nobody deadlocks.
func TestConcurrency(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx := context.Background()
	const workers, rounds, items = 8, 60, 5
	var mu sync.Mutex
	written := map[string]map[causal.Dot]bool{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 11))
			for range rounds {
				k := key(fmt.Sprint(r.IntN(items)), "")
				dot, err := s.disturb(ctx, r, k)
				if err != nil {
					t.Errorf("got %v", err)
					return
				}
				if dot != (causal.Dot{}) {
					mu.Lock()
					if written[string(k.Partition)] == nil {
						written[string(k.Partition)] = map[causal.Dot]bool{}
					}
					written[string(k.Partition)][dot] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for i := range items {
		state := s.get(t, key(fmt.Sprint(i), ""))
		want := written[fmt.Sprint(i)]
		for _, v := range state.Versions {
			delete(want, v.Dot)
		}
		if len(want) > 0 {
			t.Errorf("item %d lost %v", i, want)
		}
	}
	s.checkLedger(t)
}

// disturb does one random thing to k and returns the dot of what it wrote, if that was a write.
func (s *testStore) disturb(ctx context.Context, r *rand.Rand, k Key) (causal.Dot, error) {
	switch r.IntN(7) {
	case 0, 1:
		p, c, err := s.Put(ctx, Put{Key: k, Write: s.write("p"), Sync: r.IntN(2) == 0, HintFor: []NodeID{node(byte(1 + r.IntN(3)))}})
		if err == nil {
			err = c.Wait(ctx)
		}
		var limit *LimitError
		if errors.As(err, &limit) {
			return causal.Dot{}, nil
		}
		return p.Version.Dot, err
	case 2:
		h, err := s.clock.Now()
		if err != nil {
			return causal.Dot{}, err
		}
		state, v := causal.Mint(causal.Siblings, causal.State{}, causal.Actor(testSeeds.Add(1)), h, causal.Write{Value: []byte("m")})
		other := key(fmt.Sprint(r.IntN(5)), "")
		errs := s.Merge(ctx, []Merge{
			{Key: k, State: state, Sync: true, HintFor: node(1)},
			{Key: other, State: s.peek(other), Sync: true},
		})
		return v.Dot, errors.Join(errs...)
	case 3:
		_, err := s.Get(ctx, k)
		return causal.Dot{}, err
	case 4:
		_, _, err := s.Range(ctx, RangeRequest{Bucket: k.Bucket, LimitItems: 3})
		return causal.Dot{}, err
	case 5:
		return causal.Dot{}, s.Owe(ctx, k, node(byte(1+r.IntN(3))), 1)
	default:
		hints, err := s.Hints(node(byte(1+r.IntN(3))), nil, 4)
		var batch []Settlement
		for _, h := range hints {
			batch = append(batch, Settlement{Hint: h, Sent: s.peek(h.Key).Digest()})
		}
		_, errs := s.SettleHints(ctx, batch)
		return causal.Dot{}, errors.Join(append(errs, err)...)
	}
}

func (s *testStore) peek(k Key) causal.State {
	state, _ := s.Get(context.Background(), k)
	return state
}

// Latches are taken in one order whatever order the items come in, and given back when the wait is cut short.
func TestStripes(t *testing.T) {
	s := newStripes()
	ctx := context.Background()
	tokens := []uint64{5, stripeCount + 5, 3, 5, 2*stripeCount + 900}
	got := stripesOf(len(tokens), func(i int) uint64 { return tokens[i] << (64 - LeafBits) })
	if fmt.Sprint(got) != "[3 5 900]" {
		t.Fatalf("got %v", got)
	}
	must(t, s.lock(ctx, 900))
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.lock(over, got...); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	must(t, s.lock(ctx, 3, 5))
	s.unlock(3, 5, 900)
}
