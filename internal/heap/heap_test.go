package heap

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPercent(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		live, target uint64
		want         int
	}{
		{0, 100 * mib, most},
		{1 * mib, 100 * mib, most},
		{50 * mib, 100 * mib, 100},
		{80 * mib, 100 * mib, 25},
		{100 * mib, 100 * mib, least},
		{500 * mib, 100 * mib, least},
		{1 << 61, 1 << 63, most},
		{50 * mib, 0, least},
	} {
		if got := percent(test.live, test.target); got != test.want {
			t.Errorf("%d of %d: %d, want %d", test.live, test.target, got, test.want)
		}
	}
}

var kept [][]byte

// A heap whose live part comes near the target grows little beyond it; what was set before is put back.
func TestKeep(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		Keep(ctx, 64<<20)
	}()
	for range 48 {
		kept = append(kept, make([]byte, 1<<20))
	}
	defer func() { kept = nil }()
	runtime.GC()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		runtime.GC()
		metrics.Read(goal)
		if g := goal[0].Value.Uint64(); g >= 60<<20 && g <= 72<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the heap may grow to %d bytes", goal[0].Value.Uint64())
		}
	}
	cancel()
	<-over
	if p := debug.SetGCPercent(100); p != 100 {
		t.Errorf("left at %d", p)
	}
}
