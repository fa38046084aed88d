package transport

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// reasonOf is the reason of a *PeerError, or else the error's text.
func reasonOf(err error) string {
	if pe := (*PeerError)(nil); errors.As(err, &pe) {
		return pe.Reason()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestDeadlineTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan time.Duration, 1)
		ended := make(chan error, 1)
		h := HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
			r := batch[0]
			left <- time.Until(r.Deadline())
			<-r.Context().Done()
			ended <- r.Context().Err()
			r.Reply(replyTo(r.Message)) // too late: dropped
		})
		_, p, s := pair(t, h, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		_, err := p.Call(ctx, peerTwo, read("x"))
		var ee *ExpiredError
		if !errors.As(err, &ee) || !ee.Sent || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("caller: %v", err)
		}
		if d := <-left; d < 600*time.Millisecond || d > 700*time.Millisecond {
			t.Errorf("%v were left", d)
		}
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request's context: %v", err)
		}
		synctest.Wait()
		if st := s.Server.Stats(); st.Expired != 1 || st.InFlight != 0 {
			t.Errorf("stats: %+v", st)
		}
	})
}

func TestExpiredWorkIsNotBegun(t *testing.T) {
	begun := 0
	s := NewServer(options(newMemNet(), testIdentity(2)), HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
		begun += len(batch)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ss := &session{server: s, o: &s.o, ctx: ctx, cancel: cancel}
	var batch []*Request
	for i := range 10 {
		if !ss.take(1) {
			t.Fatal("no room")
		}
		deadline := time.Now().Add(time.Hour)
		if i%2 == 0 {
			deadline = time.Now().Add(-time.Microsecond)
		}
		batch = append(batch, &Request{Message: ping(), session: ss, size: 1, deadline: deadline})
	}
	ss.handle(batch)
	if st := s.Stats(); begun != 5 || st.Expired != 5 || st.InFlight != 5 || st.Bytes != 5 {
		t.Errorf("%d begun, %+v", begun, st)
	}
}

func TestSlowHandlerStandsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := HandlerFunc(func(ctx context.Context, from Peer, h *pb.Hello, batch []*Request) {
			if batch[0].Message.GetRead() != nil {
				time.Sleep(5 * time.Second)
			}
			echo(ctx, from, h, batch)
		})
		_, p, _ := pair(t, slow, nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := p.Call(t.Context(), peerTwo, read("slow")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		begin := time.Now()
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil || time.Since(begin) > time.Second {
			t.Errorf("a quick one took %v: %v", time.Since(begin), err)
		}
		wg.Wait()
	})
}

func TestServerShedsBeyondItsBounds(t *testing.T) {
	for name, change := range map[string]func(c, s *Options){
		"of one stream": func(_, s *Options) { s.InFlight = 4 },
		"in all":        func(_, s *Options) { s.ServerInFlight = 4 },
		"in bytes":      func(_, s *Options) { s.ServerBytes = 1024 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				h := HandlerFunc(func(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request) {
					<-release
					echo(ctx, from, hello, batch)
				})
				_, p, s := pair(t, h, change)
				var wg sync.WaitGroup
				var mu sync.Mutex
				got := map[string]int{}
				for range 50 {
					wg.Go(func() {
						_, err := p.Call(t.Context(), peerTwo, write(200))
						mu.Lock()
						defer mu.Unlock()
						got[reasonOf(err)]++
					})
				}
				synctest.Wait() // those shed are answered while the others still wait
				mu.Lock()
				if got["OVERLOADED"] < 45 || len(got) != 1 {
					t.Errorf("answers before the release: %v", got)
				}
				mu.Unlock()
				close(release)
				wg.Wait()
				synctest.Wait() // places are freed after the replies have left
				if got[""] == 0 || got[""]+got["OVERLOADED"] != 50 {
					t.Errorf("answers: %v", got)
				}
				if st := s.Server.Stats(); st.InFlight != 0 || st.Bytes != 0 || st.Overloads != uint64(got["OVERLOADED"]) {
					t.Errorf("stats: %+v", st)
				}
			})
		})
	}
}

func TestLargeRequestsAndRepliesTakeTheBulkStream(t *testing.T) {
	const large = 1 << 20
	h := HandlerFunc(func(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request) {
		for _, r := range batch {
			reply := replyTo(r.Message)
			if r.Message.GetRead() != nil {
				reply.GetRead().State = make([]byte, large)
			}
			r.Reply(reply)
		}
	})
	_, p, _ := pair(t, h, nil)
	if _, err := p.Call(t.Context(), peerTwo, write(large)); err != nil {
		t.Fatal(err)
	}
	if st := p.Stats(); len(st) != 1 || !st[0].Bulk || st[0].RequestsSent != 1 {
		t.Errorf("a large write: %+v", st)
	}
	reply, err := p.Call(t.Context(), peerTwo, read("x"))
	if err != nil || len(reply.GetRead().GetState()) != large {
		t.Fatalf("a large read: %v", err)
	}
	if st := p.Stats(); len(st) != 2 || st[0].RequestsSent != 1 || st[1].RequestsSent != 2 {
		t.Errorf("a large read: %+v", st)
	}
}

// Bulk has a connection of its own: while it is stuck, requests pass.
func TestBulkStandsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		h := HandlerFunc(func(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request) {
			if batch[0].Message.GetWrite() != nil {
				<-stuck
			}
			echo(ctx, from, hello, batch)
		})
		n, p, _ := pair(t, h, func(_, s *Options) { s.ServerInFlight = 16 })
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if _, err := p.CallBulk(t.Context(), peerTwo, write(1<<20)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for range 20 {
			if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
				t.Error(err)
			}
		}
		if n.dialCount() != 2 {
			t.Errorf("%d connections", n.dialCount())
		}
		close(stuck)
		wg.Wait()
	})
}

func TestClockOffset(t *testing.T) {
	ahead := errors.New("an hour ahead")
	refuse := func(uint64) error { return ahead }
	t.Run("of a request", func(t *testing.T) {
		_, p, s := pair(t, echo, func(_, s *Options) { s.ObserveHLC = refuse })
		if _, err := p.Call(t.Context(), peerTwo, ping()); reasonOf(err) != "CLOCK_OFFSET" {
			t.Error(err)
		}
		if s.Server.Stats().ClockRefused != 1 {
			t.Errorf("stats: %+v", s.Server.Stats())
		}
	})
	t.Run("of a reply", func(t *testing.T) {
		_, p, _ := pair(t, echo, func(c, _ *Options) { c.ObserveHLC = refuse })
		var ce *ClockError
		if _, err := p.Call(t.Context(), peerTwo, ping()); !errors.As(err, &ce) || !errors.Is(err, ahead) {
			t.Error(err)
		}
		if p.Stats()[0].ClockRefused != 1 {
			t.Errorf("stats: %+v", p.Stats())
		}
	})
	t.Run("frames carry it", func(t *testing.T) {
		seen := make(chan uint64, 2)
		_, p, _ := pair(t, echo, func(c, s *Options) {
			c.HLC = func() uint64 { return 11 }
			s.HLC = func() uint64 { return 22 }
			note := func(h uint64) error { seen <- h; return nil }
			c.ObserveHLC, s.ObserveHLC = note, note
		})
		if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
			t.Fatal(err)
		}
		if a, b := <-seen, <-seen; a != 11 || b != 22 {
			t.Errorf("seen %d and %d", a, b)
		}
	})
}

func TestReplyOfAnotherKindIsAnError(t *testing.T) {
	h := HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
		batch[0].Reply(&pb.PeerReply{Body: &pb.PeerReply_Write{}})
		batch[0].Reply(replyTo(batch[0].Message)) // ignored: it is answered
	})
	_, p, _ := pair(t, h, nil)
	if _, err := p.Call(t.Context(), peerTwo, ping()); reasonOf(err) != "INTERNAL" {
		t.Error(err)
	}
}

func TestServerCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{})
		h := HandlerFunc(func(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request) {
			if batch[0].Message.GetRead() != nil {
				close(started)
				time.Sleep(2 * time.Second)
			}
			echo(ctx, from, hello, batch)
		})
		_, p, s := pair(t, h, nil)
		errs := make(chan error, 1)
		go func() {
			_, err := p.Call(context.Background(), peerTwo, read("slow"))
			errs <- err
		}()
		<-started
		closed := make(chan error, 1)
		go func() { closed <- s.Close(context.Background()) }()
		synctest.Wait()
		if _, err := p.Call(t.Context(), peerTwo, ping()); reasonOf(err) != "NOT_READY" {
			t.Errorf("a call while it drains: %v", err)
		}
		if err := <-errs; err != nil {
			t.Errorf("a call under way: %v", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		var ue *UnreachableError
		if _, err := p.Call(t.Context(), peerTwo, ping()); !errors.As(err, &ue) {
			t.Errorf("a call after: %v", err)
		}
	})
}

func TestServerCloseGivesUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) { <-batch[0].Context().Done() })
		_, p, s := pair(t, h, nil)
		errs := make(chan error, 1)
		go func() {
			_, err := p.Call(context.Background(), peerTwo, read("for ever"))
			errs <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		var ue *UnreachableError
		if err := <-errs; !errors.As(err, &ue) || !ue.Sent {
			t.Errorf("the call: %v", err)
		}
	})
}

// A caller that sends but never reads: the replies that wait for it stay bounded, and Close does not wait for it.
func TestCallerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
			for _, r := range batch {
				reply := replyTo(r.Message)
				reply.GetRead().State = make([]byte, 100<<10)
				r.Reply(reply)
			}
		})
		n, _, s := pair(t, h, func(_, s *Options) { s.InFlight, s.ReplyBytes = 64, 1<<20 })
		raw := rawStream(t, n, "two")
		for id := range uint64(500) {
			m := read("x")
			m.Id, m.TimeoutUs = id, 3_600_000_000
			if raw.Send(&pb.Frame{Requests: []*pb.PeerRequest{m}}) != nil {
				break
			}
		}
		synctest.Wait()
		if st := s.Server.Stats(); st.InFlight > 64 || st.Overloads == 0 {
			t.Errorf("stats: %+v", st)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = s.Close(ctx)
	})
}
