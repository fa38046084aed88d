package transport

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

var testTime = time.UnixMilli(1_700_000_000_000)

func TestPauseDoublesWithJitterUpToItsBound(t *testing.T) {
	seed := [32]byte{1}
	o := Options{Rand: rand.NewChaCha8(seed)}.EnsureDefaults()
	o.MinBackoff, o.MaxBackoff = 10*time.Millisecond, time.Second
	for failures := range 200 {
		full := time.Second
		if failures < 7 {
			full = 10 * time.Millisecond << failures
		}
		for range 50 {
			if d := o.pause(failures); d <= full/2 || d > full {
				t.Fatalf("after %d failures: %v, of at most %v", failures, d, full)
			}
		}
	}
	o.Rand = iotest.ErrReader(errors.New("no entropy"))
	if d := o.pause(0); d != 10*time.Millisecond {
		t.Errorf("without randomness: %v", d)
	}
	o.MinBackoff, o.MaxBackoff, o.Rand = 1, 1, bytes.NewReader(nil)
	if d := o.pause(63); d != 1 {
		t.Errorf("a pause of one nanosecond: %v", d)
	}
}

// The queue against a slice.
func TestQueueAgainstOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var q queue
	var want []*call
	for range 20_000 {
		if len(want) == 0 || rng.IntN(2) == 0 {
			c := new(call)
			q.push(c)
			want = append(want, c)
		} else {
			i := rng.IntN(len(want))
			q.remove(want[i])
			if want[i].queued {
				t.Fatal("removed, yet queued")
			}
			want = append(want[:i], want[i+1:]...)
		}
		if q.length != len(want) || (len(want) > 0 && (q.first != want[0] || q.last != want[len(want)-1])) {
			t.Fatalf("%d queued, expected %d", q.length, len(want))
		}
		if rng.IntN(100) != 0 {
			continue
		}
		i := 0
		for c := q.first; c != nil; c = c.next {
			if c != want[i] || !c.queued {
				t.Fatalf("another call at place %d", i)
			}
			i++
		}
	}
}

func TestFramesAreBounded(t *testing.T) {
	o := Options{Limits: Limits{FrameBytes: 1000, FrameRequests: 4, InFlight: 10}}.EnsureDefaults()
	s := &stream{o: &o, pending: make(map[uint64]*call), wake: make(chan struct{}, 1), count: new(counters)}
	later := time.Now().Add(time.Hour)
	for _, size := range []int{300, 300, 300, 300, 5000, 1, 1, 1, 1, 1, 1, 1} {
		if err := s.submit(newCall(ping(), size, later, nobody)); err != nil {
			t.Fatal(err)
		}
	}
	var ended []error
	expired := newCall(ping(), 1, time.Now().Add(-1), func(_ *pb.PeerReply, err error) { ended = append(ended, err) })
	if err := s.submit(expired); err != nil {
		t.Fatal(err)
	}
	var frames []int
	for batch := s.drain(); len(batch) > 0; batch = s.drain() {
		frames = append(frames, len(batch))
	}
	if want := []int{3, 1, 1, 4, 1}; len(frames) != len(want) || frames[0] != 3 || frames[2] != 1 || len(s.pending) != 10 {
		t.Errorf("frames of %v with %d under way, expected %v with 10", frames, len(s.pending), want)
	}
	for id := range s.pending {
		s.abandon(s.pending[id])
	}
	if batch := s.drain(); len(batch) != 2 {
		t.Errorf("%d more, once there was room", len(batch))
	}
	if ee := (*ExpiredError)(nil); len(ended) != 1 || !errors.As(ended[0], &ee) || ee.Sent {
		t.Errorf("an expired one: %v", ended)
	}
}

func nobody(*pb.PeerReply, error) {}

func TestQueueIsBoundedInBytes(t *testing.T) {
	o := Options{Limits: Limits{QueueBytes: 1000}}.EnsureDefaults()
	s := &stream{o: &o, pending: make(map[uint64]*call), wake: make(chan struct{}, 1), count: new(counters)}
	later := time.Now().Add(time.Hour)
	alone := newCall(write(1), 5000, later, nobody)
	if err := s.submit(alone); err != nil {
		t.Errorf("one that is larger than the budget may pass alone: %v", err)
	}
	var oe *OverloadError
	if err := s.submit(newCall(ping(), 1, later, nobody)); !errors.As(err, &oe) || oe.Bytes != 5000 {
		t.Errorf("beyond the budget: %v", err)
	}
	s.drain() // what is under way counts as well
	if err := s.submit(newCall(ping(), 1, later, nobody)); !errors.As(err, &oe) {
		t.Errorf("beyond the budget: %v", err)
	}
	if sent, open := s.abandon(alone); !sent || !open {
		t.Errorf("abandoned: sent %v, open %v", sent, open)
	}
	if err := s.submit(newCall(ping(), 1, later, nobody)); err != nil || s.bytes != 1 {
		t.Errorf("once there is room: %v, %d bytes", err, s.bytes)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	good := func() Options { return options(newMemNet(), testIdentity(1)) }
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no Self":                func(o *Options) { o.Self = nil },
		"negative queue":         func(o *Options) { o.QueueLength = -1 },
		"frames peers refuse":    func(o *Options) { o.FrameRequests = MaxFrameItems + 1 },
		"frame above message":    func(o *Options) { o.MessageBytes = 1 << 20 },
		"backoff upside down":    func(o *Options) { o.MinBackoff = time.Hour },
		"a linger into the past": func(o *Options) { o.Linger = -1 },
	} {
		o := good()
		change(&o)
		if o.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
