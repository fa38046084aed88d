package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestRepliesAreMatchedWhateverTheirOrder(t *testing.T) {
	shuffled := HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
		for _, i := range rand.Perm(len(batch)) {
			r := batch[i]
			if rand.IntN(4) == 0 {
				go func() { r.Reply(replyTo(r.Message)) }()
				continue
			}
			r.Reply(replyTo(r.Message))
		}
	})
	_, p, _ := pair(t, shuffled, nil)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 50 {
				key := fmt.Sprintf("%d/%d", i, j)
				reply, err := p.Call(within(t, 20*time.Second), peerTwo, read(key))
				if err != nil || string(reply.GetRead().GetState()) != key {
					t.Errorf("read %s: %v, %v", key, reply, err)
					return
				}
			}
		})
	}
	wg.Wait()
	st := p.Stats()
	if len(st) != 1 || st[0].RequestsSent != 3200 || st[0].RepliesReceived != 3200 || st[0].InFlight+st[0].Queued != 0 || st[0].Bytes != 0 {
		t.Errorf("stats: %+v", st)
	}
}

func TestOneBodyMayGoToManyPeers(t *testing.T) {
	n, p, _ := pair(t, echo, nil)
	o := options(n, testIdentity(3))
	three := startServer(n, "three", o, echo)
	defer three.stop()
	req := write(100)
	var wg sync.WaitGroup
	for _, peer := range []Peer{peerTwo, {ID: NodeID{3}, Addr: "three"}} {
		for range 20 {
			wg.Go(func() {
				if _, err := p.Call(within(t, 10*time.Second), peer, req); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if req.Id != 0 || req.TimeoutUs != 0 {
		t.Error("the caller's request was changed")
	}
}

func TestKilledPeerFailsCallsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{}, 1)
		hang := HandlerFunc(func(ctx context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
			if batch[0].Message.GetPing() != nil {
				echo(ctx, Peer{}, nil, batch)
				return
			}
			started <- struct{}{}
		})
		n, p, _ := pair(t, hang, nil)
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		go func() {
			_, err := p.Call(context.Background(), peerTwo, read("x"))
			errs <- err
		}()
		<-started
		begin := time.Now()
		n.kill("two")
		err := <-errs
		var ue *UnreachableError
		if !errors.As(err, &ue) || !ue.Sent {
			t.Fatalf("a call that was sent: %v", err)
		}
		if _, err = p.Call(t.Context(), peerTwo, read("x")); !errors.As(err, &ue) || ue.Sent {
			t.Fatalf("a call after: %v", err)
		}
		if d := time.Since(begin); d > 100*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}

func TestStoppedPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p, _ := pair(t, echo, func(c, _ *Options) { c.QueueLength, c.InFlight = 16, 8 })
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
			t.Fatal(err)
		}
		n.host("two").freeze()
		var wg sync.WaitGroup
		var mu sync.Mutex
		expired, overloads := 0, 0
		begin := time.Now()
		for range 100 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, err := p.Call(ctx, peerTwo, read("x"))
				mu.Lock()
				defer mu.Unlock()
				var oe *OverloadError
				switch {
				case errors.Is(err, context.DeadlineExceeded):
					expired++
				case errors.As(err, &oe):
					overloads++
				default:
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(begin); d > 1100*time.Millisecond {
			t.Errorf("calls ended after %v, their deadline was 1 s", d)
		}
		if overloads == 0 || expired < 16 {
			t.Errorf("%d expired, %d shed", expired, overloads)
		}
		if st := p.Stats()[0]; st.Queued+st.InFlight != 0 || st.Bytes != 0 || st.Overloads != uint64(overloads) {
			t.Errorf("expired calls hold their places: %+v", st)
		}
		time.Sleep(20 * time.Second) // keepalive
		if p.Stats()[0].Connected {
			t.Error("keepalive did not break the connection")
		}
		n.host("two").thaw()
		time.Sleep(3 * time.Second)
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
			t.Errorf("after the peer went on: %v", err)
		}
	})
}

func TestReconnectBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, p, s := pair(t, echo, nil)
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
			t.Fatal(err)
		}
		n.kill("two")
		s.stop()
		synctest.Wait()
		before := n.dialCount()
		for range 1000 { // 10 s
			if _, err := p.Call(t.Context(), peerTwo, ping()); err == nil {
				t.Fatal("a dead peer answered")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if d := n.dialCount() - before; d < 5 || d > 20 {
			t.Errorf("%d attempts in 10 s", d)
		}
		so := options(n, testIdentity(2))
		again := startServer(n, "two", so, echo)
		defer again.stop()
		p.Wake(peerTwo.ID)
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
			t.Errorf("after Wake: %v", err)
		}
		if st := p.Stats()[0]; st.Connects != 2 || !st.Connected {
			t.Errorf("stats: %+v", st)
		}
	})
}

func TestNewAddressIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		p := NewPool(options(n, testIdentity(1)))
		defer p.Close()
		if _, err := p.Call(t.Context(), peerTwo, ping()); err == nil {
			t.Fatal("nobody is there")
		}
		s := startServer(n, "elsewhere", options(n, testIdentity(2)), echo)
		defer s.stop()
		if _, err := p.Call(t.Context(), Peer{ID: peerTwo.ID, Addr: "elsewhere"}, ping()); err != nil {
			t.Error(err)
		}
		// The old address does no harm to a stream that stands.
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseFailsCallsAndWaits(t *testing.T) {
	hang := HandlerFunc(func(ctx context.Context, _ Peer, _ *pb.Hello, _ []*Request) { <-ctx.Done() })
	_, p, _ := pair(t, hang, nil)
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			_, err := p.Call(context.Background(), peerTwo, ping())
			errs <- err
		}()
	}
	for p.Stats() == nil || len(p.Stats()) == 0 || p.Stats()[0].InFlight < cap(errs) {
		time.Sleep(time.Millisecond)
	}
	p.Close()
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("a call under way: %v", err)
		}
	}
	if _, err := p.Call(t.Context(), peerTwo, ping()); !errors.Is(err, ErrClosed) {
		t.Errorf("a call after: %v", err)
	}
}

func TestForget(t *testing.T) {
	_, p, s := pair(t, echo, nil)
	if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CallBulk(t.Context(), peerTwo, ping()); err != nil {
		t.Fatal(err)
	}
	if st := s.Server.Stats(); st.Streams != 2 {
		t.Errorf("%d streams", st.Streams)
	}
	p.Forget(peerTwo.ID)
	for s.Server.Stats().Streams != 0 {
		time.Sleep(time.Millisecond)
	}
	if len(p.Stats()) != 0 {
		t.Errorf("left: %+v", p.Stats())
	}
	if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
		t.Errorf("a forgotten peer may be called again: %v", err)
	}
}

func TestCallRefusesWhatCannotBeSent(t *testing.T) {
	_, p, _ := pair(t, echo, func(c, _ *Options) { c.MessageBytes = 4 << 20 })
	var se *SizeError
	if _, err := p.Call(t.Context(), peerTwo, write(5<<20)); !errors.As(err, &se) {
		t.Errorf("too large: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var ee *ExpiredError
	if _, err := p.Call(ctx, peerTwo, ping()); !errors.As(err, &ee) || ee.Sent || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	var ue *UnreachableError
	if _, err := p.Call(t.Context(), Peer{Addr: "two"}, ping()); !errors.As(err, &ue) {
		t.Errorf("no id: %v", err)
	}
}
