package spread

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func peerOf(id byte, print, epoch uint64) Peer {
	return Peer{ID: ring.NodeID{id}, Print: print, Epoch: epoch}
}

func TestChoose(t *testing.T) {
	a, b, c := peerOf(1, 11, 5), peerOf(2, 12, 5), peerOf(3, 13, 6)
	for name, test := range map[string]struct {
		prepare func(*book)
		peers   []Peer
		pick    int
		want    Peer
	}{
		"nobody":                    {},
		"one like this one":         {peers: []Peer{peerOf(1, 10, 5)}},
		"one that differs":          {peers: []Peer{a}, want: a},
		"the first of two":          {peers: []Peer{a, b}, want: a},
		"the second of two":         {peers: []Peer{a, b}, pick: 1, want: b},
		"the highest epoch":         {peers: []Peer{a, c, b}, want: c},
		"what is known":             {prepare: func(k *book) { k.know(11) }, peers: []Peer{a, b}, want: b},
		"what this one was once":    {prepare: func(k *book) { k.choose(11, nil, nil) }, peers: []Peer{a, b}, want: b},
		"one that could not be":     {prepare: func(k *book) { k.failed(a) }, peers: []Peer{a, b}, want: b},
		"another with the same":     {prepare: func(k *book) { k.failed(a) }, peers: []Peer{a, peerOf(9, 11, 5)}, want: peerOf(9, 11, 5)},
		"one that failed before":    {prepare: func(k *book) { k.failed(c); k.retry() }, peers: []Peer{a, c}, want: c},
		"one that failed and moved": {prepare: func(k *book) { k.failed(a) }, peers: []Peer{peerOf(1, 14, 5)}, want: peerOf(1, 14, 5)},
	} {
		var k book
		if test.prepare != nil {
			test.prepare(&k)
		}
		got, ok := k.choose(10, test.peers, func(int) int { return test.pick })
		if got != test.want || ok != (test.want != Peer{}) {
			t.Errorf("%s: %v, %v, want %v", name, got, ok, test.want)
		}
	}
}

func TestBookIsBounded(t *testing.T) {
	var k book
	for i := range uint64(3 * maxPrints) {
		k.know(i)
		if k.know(i); !k.known[i] || len(k.known) > maxPrints {
			t.Fatalf("after %d: %d are remembered", i, len(k.known))
		}
	}
}

// world is what one Spreader sees.
type world struct {
	mu      sync.Mutex // held by the test but for the time that it sleeps
	own     uint64
	peers   []Peer
	fetched []ring.NodeID
	fail    map[ring.NodeID]bool
	hang    chan struct{} // until it is closed; nil: it doesn't
}

var errAway = errors.New("away")

func (w *world) start(t *testing.T) *Spreader {
	t.Helper()
	s, err := New(Options{
		Own: func() uint64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.own
		},
		Peers: func() []Peer {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.peers)
		},
		Fetch: func(_ context.Context, id ring.NodeID) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.fetched = append(w.fetched, id)
			if w.hang != nil {
				w.mu.Unlock()
				<-w.hang
				w.mu.Lock()
			}
			if w.fail[id] {
				return errAway
			}
			w.own += 1000
			return nil
		},
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	w.mu.Lock()
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		w.mu.Unlock()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	return s
}

func (w *world) after(d time.Duration) []ring.NodeID {
	w.mu.Unlock()
	time.Sleep(d)
	w.mu.Lock()
	got := w.fetched
	w.fetched = nil
	return got
}

// Each fingerprint is fetched once, whoever has it, and soon after gossip shows it.
func TestFetchesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{own: 1, peers: []Peer{peerOf(1, 5, 0), peerOf(2, 5, 0), peerOf(3, 6, 0)}}
		s := w.start(t)
		if got := w.after(time.Second); len(got) != 2 || !slices.Contains(got, ring.NodeID{3}) {
			t.Errorf("fetched from %v", got)
		}
		w.peers[1].Print = 7
		s.Wake()
		if got := w.after(100 * time.Millisecond); !slices.Equal(got, []ring.NodeID{{2}}) {
			t.Errorf("fetched from %v after the news", got)
		}
		w.peers[0].Print = 8
		if got := w.after(6 * time.Second); !slices.Equal(got, []ring.NodeID{{1}}) {
			t.Errorf("fetched from %v without a word", got)
		}
		if got := w.after(time.Hour); len(got) != 0 {
			t.Errorf("fetched from %v for nothing", got)
		}
	})
}

// Who can't be asked is left alone for a while, and others with the same fingerprint are asked at once.
func TestFetchesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{own: 1, peers: []Peer{peerOf(1, 5, 9), peerOf(2, 6, 0)}, fail: map[ring.NodeID]bool{{1}: true}}
		w.start(t)
		if got := w.after(4 * time.Second); !slices.Equal(got, []ring.NodeID{{1}, {2}}) {
			t.Errorf("fetched from %v", got)
		}
		if got := w.after(10 * time.Second); len(got) != 2 || got[0] != (ring.NodeID{1}) {
			t.Errorf("fetched from %v again", got)
		}
		clear(w.fail)
		if got := w.after(time.Minute); !slices.Equal(got, []ring.NodeID{{1}}) {
			t.Errorf("fetched from %v when it was back", got)
		}
	})
}

// What is fetched is made durable, and that disk hangs: whoever brings news does not wait, and they are fetched afterwards.
func TestAHangingFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		w := &world{own: 1, peers: []Peer{peerOf(1, 5, 0), peerOf(2, 6, 0)}, hang: disk}
		s := w.start(t)
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.mu.Lock()
		began := time.Now()
		for range 1000 {
			s.Wake()
		}
		if time.Since(began) != 0 || len(w.fetched) != 1 {
			t.Errorf("news waited for %v, and %v were asked", time.Since(began), w.fetched)
		}
		close(disk)
		if got := w.after(time.Second); len(got) != 2 {
			t.Errorf("fetched from %v", got)
		}
	})
}

func TestOptions(t *testing.T) {
	good := Options{Own: func() uint64 { return 0 }, Peers: func() []Peer { return nil }, Fetch: func(context.Context, ring.NodeID) error { return nil }}
	for i, spoil := range []func(*Options){
		func(o *Options) { o.Own = nil }, func(o *Options) { o.Peers = nil }, func(o *Options) { o.Fetch = nil },
		func(o *Options) { o.Interval = -1 }, func(o *Options) { o.Jitter = -1 }, func(o *Options) { o.MaxJitter = -1 },
	} {
		o := good
		if spoil(&o); o.Validate() == nil {
			t.Errorf("%d: no error", i)
		}
		if _, err := New(o); err == nil {
			t.Errorf("%d: no error", i)
		}
	}
}
