package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

// Of many calls that come at once no more are sent than nodes may be able to do; the others wait.
func TestCallsWaitForTheirTurn(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	var running, most atomic.Int64
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method != "Put" {
			return nil
		}
		n := running.Add(1)
		defer running.Add(-1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		return nil
	})
	var calls sync.WaitGroup
	for i := range 300 {
		calls.Go(func() {
			if _, err := c.Put(t.Context(), bucket, client.NewKey(fmt.Sprint(i), ""), nil); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	// The limit may have grown a little meanwhile.
	if n := most.Load(); n > 150 {
		t.Errorf("%d calls of 300 were under way at once", n)
	}
}

// A call whose turn does not come was not sent, and says so.
func TestTurnThatDoesNotCome(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	cluster.Intercept(hang)
	defer cluster.Intercept(nil)
	const calls = 2000 // tries that fail make room for others, so many are sent
	var running sync.WaitGroup
	var notSent atomic.Int64
	for i := range calls {
		running.Go(func() {
			_, err := c.Put(t.Context(), bucket, client.NewKey(fmt.Sprint(i), ""), nil, client.Timeout(100*time.Millisecond))
			if err == nil {
				t.Error("a call that hangs succeeded")
			}
			if errors.Is(err, client.ErrOverloaded) {
				notSent.Add(1)
				if errors.Is(err, client.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if n := notSent.Load(); n == 0 || n == calls {
		t.Errorf("%d of %d calls were not sent", n, calls)
	}
}
