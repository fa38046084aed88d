package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/antientropy"
)

// A latency is counted where it is not underestimated, nor overestimated by more than a quarter.
func TestSlots(t *testing.T) {
	last := 0
	for us := int64(0); us < 3600*1_000_000; us += 1 + us/7 {
		took := time.Duration(us) * time.Microsecond
		slot := slotOf(took)
		if end := slotEnd(slot); end <= took || end > took+took/4+time.Microsecond {
			t.Fatalf("%v is counted in slot %d, which ends with %v", took, slot, end)
		}
		if slot < last {
			t.Fatalf("%v is counted before what is less", took)
		}
		last = slot
	}
	for _, took := range []time.Duration{-time.Second, 1000 * time.Hour} {
		if slot := slotOf(took); slot < 0 || slot >= slots {
			t.Errorf("%v is counted in slot %d", took, slot)
		}
	}
}

func TestForeground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := newForeground(antientropy.ThrottleOptions{MaxRate: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		// second is one in which so many of requests took so long, and few took much longer.
		second := func(requests int, took time.Duration, slow int, busy bool, exchanges uint64) {
			for i := range requests {
				if i < slow {
					f.add(time.Second)
				} else {
					f.add(took)
				}
			}
			f.look(busy, exchanges)
		}
		const usually = 10 * time.Millisecond
		waited := func(cost int64) time.Duration {
			began := time.Now()
			if err := f.wait(t.Context(), cost); err != nil {
				t.Error(err)
			}
			if !f.worked.Swap(false) { // or else the next second were not quiet
				t.Error("nothing shows that something is repaired")
			}
			return time.Since(began)
		}
		about := func(what string, got, want time.Duration) {
			t.Helper()
			if got < want*9/10 || got > want*11/10 {
				t.Errorf("%s: %v, want about %v", what, got, want)
			}
		}
		about("nobody there", waited(1<<30), 0)
		second(200, usually, 1, false, 0)
		if usual := f.throttle.Quiet(); usual < usually || usual > 13*time.Millisecond {
			t.Errorf("usual are %v", usual)
		}
		about("a 16th", waited(4<<20), 4*time.Second)
		usual := f.throttle.Quiet()
		second(200, usually, 5, true, 1) // now more than 1 of 100 is slow
		about("slow", waited(4<<20), 8*time.Second)
		if !f.isSlow.Load() || f.bytesPerSecond() != 1<<19 {
			t.Errorf("%v, %v", f.isSlow.Load(), f.bytesPerSecond())
		}
		second(200, usually, 5, false, 1)
		second(200, usually, 5, false, 2)
		if f.throttle.Quiet() != usual {
			t.Error("what was slow meanwhile became usual")
		}
		about("slow for three seconds", waited(4<<20), 32*time.Second)
		second(200, usually, 1, false, 3)
		about("no longer slow", waited(4<<20), 32*time.Second*4/5)

		if f.answers() {
			t.Error("it is slow still")
		}
		second(200, 2*usually, 0, false, 3)
		if f.throttle.Quiet() != usual {
			t.Error("what was slow while another node compared became usual")
		}
		second(200, usually, 0, false, 3)
		f.slowed()
		second(200, usually, 0, true, 3)
		about("another node's clients", waited(4<<20), 8*time.Second)

		for range 4 {
			second(10, usually, 1, true, 4)
		}
		if f.isSlow.Load() {
			t.Error("few requests are told of too soon")
		}
		if second(10, usually, 1, true, 4); !f.isSlow.Load() {
			t.Error("few requests are never told of")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.wait(ctx, 1<<20); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range sampleTicks {
			second(1, usually, 0, true, 4)
		}
		about("nobody there any more", waited(1<<30), 0)
	})
}
