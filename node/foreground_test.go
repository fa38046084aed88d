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
		throttle, err := antientropy.NewThrottle(antientropy.ThrottleOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f := &foreground{throttle: throttle, now: time.Now}
		// second is one in which so many requests took so long, and few took much longer.
		second := func(took time.Duration, slow int, busy bool, exchanges uint64) {
			for i := range 200 {
				if i < slow {
					f.add(time.Second)
				} else {
					f.add(took)
				}
			}
			f.sample(busy, exchanges)
		}
		second(10*time.Millisecond, 1, false, 0)
		if usual := throttle.Quiet(); usual < 10*time.Millisecond || usual > 13*time.Millisecond {
			t.Errorf("usual are %v", usual)
		}
		waited := func() time.Duration {
			began := time.Now()
			if err := f.wait(t.Context()); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		if took := waited(); took != 0 {
			t.Errorf("waited %v for nothing", took)
		}
		usual := throttle.Quiet()
		second(10*time.Millisecond, 5, true, 1) // now more than 1 of 100 is slow
		second(10*time.Millisecond, 5, false, 1)
		second(10*time.Millisecond, 5, false, 2)
		if throttle.Quiet() != usual {
			t.Error("what was slow meanwhile became usual")
		}
		if took := waited(); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("waited %v", took)
		}
		go func() {
			time.Sleep(time.Second)
			second(10*time.Millisecond, 1, false, 2)
		}()
		if took := waited(); took < time.Second || took > 2*time.Second {
			t.Errorf("waited %v until requests were quick again", took)
		}
		second(10*time.Millisecond, 5, true, 3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
