package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// TestStart: every call that was started ends once, in time, whatever becomes of the peer.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := HandlerFunc(func(ctx context.Context, from Peer, hello *pb.Hello, batch []*Request) {
			for _, r := range batch {
				if string(r.Message.GetRead().GetItem().GetPartitionKey()) != "silent" {
					r.Reply(replyTo(r.Message))
				}
			}
		})
		n, p, _ := pair(t, h, nil)
		begin := time.Now()
		type end struct {
			err   error
			state string
			after time.Duration
		}
		var mu sync.Mutex
		ends := map[string][]end{}
		start := func(name string, peer Peer, key string, patience time.Duration) {
			p.Start(begin.Add(patience), peer, read(key), func(reply *pb.PeerReply, err error) {
				mu.Lock()
				defer mu.Unlock()
				ends[name] = append(ends[name], end{err, string(reply.GetRead().GetState()), time.Since(begin)})
			})
		}
		for i := range 10 {
			start(fmt.Sprint("answered ", i), peerTwo, fmt.Sprint(i), time.Second)
		}
		start("late", peerTwo, "silent", 2*time.Second)
		start("sooner", peerTwo, "silent", time.Second)
		start("broken", peerTwo, "silent", time.Hour)
		start("too late", peerTwo, "x", 0)
		start("nowhere", Peer{ID: NodeID{3}, Addr: "three"}, "x", time.Second)
		time.Sleep(3 * time.Second)
		n.kill("two")
		time.Sleep(time.Second)

		mu.Lock()
		defer mu.Unlock()
		var expired *ExpiredError
		var unreachable *UnreachableError
		for i := range 10 {
			if e := ends[fmt.Sprint("answered ", i)]; len(e) != 1 || e[0].err != nil || e[0].state != fmt.Sprint(i) {
				t.Errorf("call %d: %v", i, e)
			}
		}
		for name, after := range map[string]time.Duration{"sooner": time.Second, "late": 2 * time.Second} {
			e := ends[name]
			if len(e) != 1 || !errors.As(e[0].err, &expired) || !expired.Sent || e[0].after < after || e[0].after > after+2*reapEvery {
				t.Errorf("%s: %v", name, e)
			}
		}
		if e := ends["broken"]; len(e) != 1 || !errors.As(e[0].err, &unreachable) || !unreachable.Sent {
			t.Errorf("broken: %v", e)
		}
		if e := ends["too late"]; len(e) != 1 || !errors.As(e[0].err, &expired) || expired.Sent {
			t.Errorf("too late: %v", e)
		}
		if e := ends["nowhere"]; len(e) != 1 || !errors.As(e[0].err, &unreachable) || unreachable.Sent {
			t.Errorf("nowhere: %v", e)
		}
	})
}

// TestStartFromWithinDone: whoever is told of an outcome may ask again at once.
func TestStartFromWithinDone(t *testing.T) {
	_, p, _ := pair(t, echo, nil)
	done := make(chan error)
	deadline := time.Now().Add(10 * time.Second)
	left := 100
	var again func(*pb.PeerReply, error)
	again = func(_ *pb.PeerReply, err error) {
		if left--; left == 0 || err != nil {
			done <- err
			return
		}
		p.Start(deadline, peerTwo, ping(), again)
	}
	p.Start(deadline, peerTwo, ping(), again)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStartAsksForLargeRepliesOnBulk, as Call does.
func TestStartAsksForLargeRepliesOnBulk(t *testing.T) {
	large := HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
		for _, r := range batch {
			r.Reply(&pb.PeerReply{Body: &pb.PeerReply_Read{Read: &pb.ReadStateReply{State: make([]byte, 300<<10)}}})
		}
	})
	_, p, _ := pair(t, large, nil)
	done := make(chan error, 1)
	p.Start(time.Now().Add(10*time.Second), peerTwo, read("x"), func(reply *pb.PeerReply, err error) {
		if err == nil && len(reply.GetRead().GetState()) != 300<<10 {
			err = errors.New("cut short")
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Error(err)
	}
}
