package coordinator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f under fake time. Clusters are closed by the test's cleanup, inside the bubble.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func put(t *testing.T, n *fakeNode, req PutRequest) PutResult {
	t.Helper()
	res, err := n.coord.Put(t.Context(), req)
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	return res
}

func TestPutReachesAllOwners(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		res := put(t, places[0], PutRequest{Item: item, N: 3, W: 2, Write: write(1, "v", causal.Past{}), Explain: true})
		if res.Received < 2 || res.Fallbacks != 0 {
			t.Errorf("received %d, fallbacks %d", res.Received, res.Fallbacks)
		}
		if len(res.Trace.Messages) != 3 {
			t.Errorf("trace has %d messages, want 3", len(res.Trace.Messages))
		}
		synctest.Wait()
		for i, n := range places {
			if got := len(n.state(item).Versions); got != map[bool]int{true: 1, false: 0}[i < 3] {
				t.Errorf("place %d holds %d versions", i, got)
			}
		}
	})
}

func TestFallbackStandsInForADownOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		c.see(places[1].id, Down)
		c.see(places[2].id, Down)
		res := put(t, places[0], PutRequest{Item: item, N: 3, W: 3, Write: write(1, "v", causal.Past{})})
		if res.Received != 3 || res.Fallbacks != 2 {
			t.Errorf("received %d of which %d fallbacks, want 3 and 2", res.Received, res.Fallbacks)
		}
		var hints []ring.NodeID
		for _, n := range places[3:] {
			hints = append(hints, n.hinted(item)...)
		}
		if len(hints) != 2 || !slices.Contains(hints, places[1].id) || !slices.Contains(hints, places[2].id) {
			t.Errorf("hints for %v, want one for each owner that is down", hints)
		}
	})
}

func TestAConnectionThatIsRefusedCallsAFallbackAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		places[1].down, places[2].down = true, true
		start := time.Now()
		res := put(t, places[0], PutRequest{Item: item, N: 3, W: 3, Write: write(1, "v", causal.Past{})})
		if took := time.Since(start); took > 0 {
			t.Errorf("took %v: waited for nodes that had refused", took)
		}
		if res.Fallbacks != 2 {
			t.Errorf("fallbacks %d, want 2", res.Fallbacks)
		}
	})
}

func TestASilentOwnerIsGoneRoundAfterItsBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		places[1].silent, places[2].silent = true, true
		start := time.Now()
		put(t, places[0], PutRequest{Item: item, N: 3, W: 2, Write: write(1, "v", causal.Past{})})
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("took %v, want the budget of 100ms", took)
		}
	})
}

func TestAStrictWriteIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		c.see(places[1].id, Down)
		c.see(places[2].id, Down)
		_, err := places[0].coord.Put(t.Context(), PutRequest{Item: item, N: 3, W: 2, Strict: true, Write: write(1, "v", causal.Past{})})
		var q *QuorumError
		if !errors.As(err, &q) || !errors.Is(err, ErrRefused) || q.Required != 2 || q.Live != 1 {
			t.Fatalf("error %v, want a refusal of 2 with 1 live", err)
		}
		synctest.Wait()
		for _, n := range places {
			if len(n.state(item).Versions) > 0 {
				t.Error("a refused write was written")
			}
		}
	})
}

func TestAStrictWriteThatFailsIsUnknownAndItsOwnersAreReminded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		places[1].down, places[2].down = true, true
		_, err := places[0].coord.Put(t.Context(), PutRequest{Item: item, N: 3, W: 2, Strict: true, Write: write(1, "v", causal.Past{})})
		if !errors.Is(err, ErrUnknown) {
			t.Fatalf("error %v, want unknown", err)
		}
		synctest.Wait()
		if got := places[0].hinted(item); len(got) != 2 {
			t.Errorf("the coordinator keeps hints for %v, want both owners", got)
		}
	})
}

func TestADeadlineEndsAPutAsUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		places[1].silent, places[2].silent = true, true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := places[0].coord.Put(ctx, PutRequest{Item: item, N: 3, W: 2, Write: write(1, "v", causal.Past{})})
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want unknown by the deadline", err)
		}
	})
}

func TestOnlyGuardiansCoordinate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 1) // owner, one fallback, three others
		var outsider *fakeNode
		for _, n := range c.nodes {
			if n != places[0] && n != places[1] {
				outsider = n
			}
		}
		_, err := outsider.coord.Put(t.Context(), PutRequest{Item: item, N: 1, W: 1, Write: write(1, "v", causal.Past{})})
		if !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("error %v, want ErrNotCoordinator", err)
		}
		route := outsider.coord.Route(item, 1, false)
		if route.Owner || route.Guardian || !slices.Equal(route.Others, []ring.NodeID{places[0].id, places[1].id}) {
			t.Errorf("route %+v, want owner then fallback", route)
		}
		c.see(places[0].id, Down)
		put(t, places[1], PutRequest{Item: item, N: 1, W: 1, Write: write(1, "v", causal.Past{})})
		if got := places[1].hinted(item); !slices.Equal(got, []ring.NodeID{places[0].id}) {
			t.Errorf("the fallback's own copy is a hint for %v, want the owner that is down", got)
		}
	})
}

func TestGetMendsWhatDiffers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		put(t, places[0], PutRequest{Item: item, N: 3, W: 3, Write: write(1, "old", causal.Past{})})
		places[1].down, places[2].down = true, true
		_, err := places[0].coord.Put(t.Context(), PutRequest{
			Item: item, N: 3, W: 2, Strict: true, Write: write(2, "new", places[0].state(item).Context()),
		})
		if !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		synctest.Wait()
		places[1].down, places[2].down = false, false
		got, err := places[0].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2, Strict: true})
		if err != nil || !slices.Equal(values(got.State), []string{"new"}) {
			t.Fatalf("got %v, %v", values(got.State), err)
		}
		holders := 0
		for _, n := range places[:3] {
			if slices.Equal(values(n.state(item)), []string{"new"}) {
				holders++
			}
		}
		if holders < 2 {
			t.Errorf("%d owners hold what was read, want N-R+1 = 2", holders)
		}
	})
}

func TestAReadThatCantBeMadeStableFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		places[0].merge(item, mintOn(causal.State{}, 9, 2000, write(1, "new", causal.Past{})), ring.NodeID{})
		writable := places[0]
		// The others answer reads and take no writes.
		r := writable.coord.Replicas
		r.Write = func(_ context.Context, _ ring.NodeID, _ WriteRequest, done func(error)) { done(errDown) }
		coord := New(Options{Cluster: writable.cluster(), Replicas: r})
		defer coord.Close()
		_, err := coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2, Strict: true})
		if !errors.Is(err, ErrUnstable) {
			t.Errorf("error %v, want unstable", err)
		}
	})
}

func mintOn(s causal.State, actor causal.Actor, ms int64, w causal.Write) causal.State {
	s, _ = causal.Mint(causal.Siblings, s, actor, causal.NewHLC(ms, 0), w)
	return s
}

func TestALateAnswerIsRepairedAfterTheReply(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		s := mintOn(causal.State{}, 9, 2000, write(1, "v", causal.Past{}))
		places[0].merge(item, s, ring.NodeID{})
		places[1].merge(item, s, ring.NodeID{})
		places[2].delay = 50 * time.Millisecond
		places[1].delay = 40 * time.Millisecond // so the third is asked as a hedge, and answers after the reply
		start := time.Now()
		got, err := places[0].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2, Strict: true, Explain: true})
		if err != nil || len(got.State.Versions) != 1 {
			t.Fatalf("got %v, %v", got.State, err)
		}
		for _, m := range got.Trace.Messages {
			if m.Answered > 0 && len(m.Versions) != 1 {
				t.Errorf("the trace says that %v answered with %v", m.Node, m.Versions)
			}
		}
		if took := time.Since(start); took != 40*time.Millisecond {
			t.Errorf("took %v, want 40ms: the repair must not hold up the reply", took)
		}
		time.Sleep(time.Second)
		if len(places[2].state(item).Versions) != 1 {
			t.Error("the replica that answered late was not repaired")
		}
	})
}

func TestASlowReplicaIsHedged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		put(t, places[0], PutRequest{Item: item, N: 3, W: 3, Write: write(1, "v", causal.Past{})})
		places[1].silent = true
		start := time.Now()
		_, err := places[0].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2, Strict: true})
		if took := time.Since(start); err != nil || took != 25*time.Millisecond {
			t.Errorf("took %v, %v; want the hedge after 25ms", took, err)
		}
	})
}

func TestASloppyReadSeesWhatASloppyWriteLeftOnFallbacks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		for _, n := range places[:3] {
			n.down = true
			c.see(n.id, Down)
		}
		put(t, places[3], PutRequest{Item: item, N: 3, W: 2, Write: write(1, "v", causal.Past{})})
		for _, from := range places[3:] {
			got, err := from.coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2})
			if err != nil || !slices.Equal(values(got.State), []string{"v"}) {
				t.Errorf("got %v, %v", values(got.State), err)
			}
		}
		_, err := places[3].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2, Strict: true})
		if !errors.Is(err, ErrRefused) {
			t.Errorf("a strict read with no owner: %v, want refused", err)
		}
	})
}

func TestARetryMakesNoSecondVersion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		req := PutRequest{Item: item, N: 3, W: 2, Write: write(1, "v", causal.Past{})}
		put(t, places[0], req)
		synctest.Wait()
		if res := put(t, places[0], req); !res.Repeated {
			t.Error("the same coordinator minted again")
		}
		put(t, places[1], req) // another coordinator
		synctest.Wait()
		for _, n := range places[:3] {
			if got := len(n.state(item).Versions); got != 1 {
				t.Errorf("%d versions, want 1", got)
			}
		}
	})
}

func TestCloseWaitsForWhatLingers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		places[2].silent = true
		put(t, places[0], PutRequest{Item: item, N: 3, W: 2, Write: write(1, "v", causal.Past{})})
		start := time.Now()
		places[0].coord.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("close took %v: it must cancel what lingers", took)
		}
		if _, err := places[0].coord.Put(t.Context(), PutRequest{Item: item, N: 3, W: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("put after close: %v", err)
		}
		if _, err := places[0].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("get after close: %v", err)
		}
	})
}

func TestSlowNodesAreTriedLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 1)
		var outsider *fakeNode
		for _, n := range c.nodes {
			if n != places[0] && n != places[1] {
				outsider = n
			}
		}
		c.see(places[0].id, Slow)
		route := outsider.coord.Route(item, 1, false)
		if !slices.Equal(route.Others, []ring.NodeID{places[1].id}) || !slices.Equal(route.Last, []ring.NodeID{places[0].id}) {
			t.Errorf("route %+v, want the fallback first and the slow owner last", route)
		}
		c.see(places[1].id, Slow)
		route = outsider.coord.Route(item, 1, false)
		if len(route.Others) != 0 || len(route.Last) != 2 {
			t.Errorf("route %+v, want both as the last resort", route)
		}
		route = outsider.coord.Route(item, 1, true)
		if !slices.Equal(route.Last, []ring.NodeID{places[0].id}) {
			t.Errorf("strict route %+v, want the slow owner alone", route)
		}
	})
}

func TestWhenAllAreSlowNobodyIsLeftOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 5)
		item, places := c.item("k", 3)
		for _, n := range c.nodes {
			c.see(n.id, Slow)
		}
		res := put(t, places[0], PutRequest{Item: item, N: 3, W: 3, Write: write(1, "v", causal.Past{})})
		if res.Fallbacks != 0 {
			t.Errorf("%d fallbacks took the part of owners that are only slow", res.Fallbacks)
		}
		if _, err := places[0].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 3}); err != nil {
			t.Errorf("get: %v", err)
		}
	})
}

func TestCloseEndsARequestThatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		places[1].silent, places[2].silent = true, true
		failed := make(chan error, 2)
		go func() {
			_, err := places[0].coord.Put(t.Context(), PutRequest{Item: item, N: 3, W: 2, Write: write(1, "v", causal.Past{})})
			failed <- err
		}()
		go func() {
			_, err := places[0].coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2})
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		places[0].coord.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("close took %v", took)
		}
		for range 2 {
			if err := <-failed; !errors.Is(err, ErrQuorum) {
				t.Errorf("error %v", err)
			}
		}
		if got := places[0].hinted(item); slices.Contains(got, places[0].id) || len(got) != 2 {
			t.Errorf("hints for %v, want the two owners that never answered and not the node itself", got)
		}
	})
}

// A wall clock that is wrong must not shorten, or lengthen, the time that messages have.
func TestMessagesDoNotLiveByTheWallClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		for _, off := range []time.Duration{-time.Hour, time.Hour} {
			coord := New(Options{
				Cluster: places[0].cluster(), Replicas: places[0].replicas(), Now: func() time.Time { return time.Now().Add(off) },
			})
			if _, err := coord.Put(t.Context(), PutRequest{Item: item, N: 3, W: 3, Strict: true, Write: write(byte(off>>40), "v", causal.Past{})}); err != nil {
				t.Errorf("off by %v: %v", off, err)
			}
			if _, err := coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 3, Strict: true}); err != nil {
				t.Errorf("off by %v: %v", off, err)
			}
			until, _ := coord.messageContext(t.Context()).Deadline()
			if left := time.Until(until); left <= 0 || left > coord.Linger {
				t.Errorf("off by %v: messages have %v", off, left)
			}
			coord.Close()
		}
	})
}

// TestOwnDiskThatStandsStill: the own copy neither answers nor becomes durable, and nobody keeps a deadline for it. Others
// answer for it, and what waits for it is given up in time.
func TestOwnDiskThatStandsStill(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newFakeCluster(t, 3)
		item, places := c.item("k", 3)
		replicas := places[0].replicas()
		read, mint := replicas.Read, replicas.Mint
		replicas.Read = func(ctx context.Context, id ring.NodeID, req ReadRequest, done func(ReadReply, error)) {
			if id != places[0].id {
				read(ctx, id, req, done)
			}
		}
		replicas.Mint = func(ctx context.Context, req MintRequest) (Minted, error) {
			m, err := mint(ctx, req)
			m.Durable = func(context.Context, func(error)) {}
			return m, err
		}
		coord := New(Options{Cluster: places[0].cluster(), Replicas: replicas})
		put, err := coord.Put(t.Context(), PutRequest{Item: item, N: 3, W: 2, Strict: true, Write: write(1, "v", causal.Past{})})
		if err != nil || put.Received != 2 {
			t.Errorf("put: %+v, %v", put.Count, err)
		}
		got, err := coord.Get(t.Context(), GetRequest{Item: item, N: 3, R: 2, Strict: true})
		if err != nil || len(values(got.State)) != 1 {
			t.Errorf("get: %v, %v", values(got.State), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := coord.Get(ctx, GetRequest{Item: item, N: 3, R: 3, Strict: true}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("get from all: %v", err)
		}
		waiting := func() int {
			coord.mu.Lock()
			defer coord.mu.Unlock()
			return len(coord.late)
		}
		if n := waiting(); n != 3 {
			t.Errorf("%d requests wait, want 3", n)
		}
		time.Sleep(coord.Linger + 2*sweepEvery)
		if n := waiting(); n != 0 {
			t.Errorf("%d requests still wait", n)
		}
		coord.Close()
	})
}
