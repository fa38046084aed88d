package client_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestDialWith(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	var dialled atomic.Int32
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		dialled.Add(1)
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	put(t, open(t, cluster, client.DialWith(dial)), client.NewKey("k", ""), "v")
	if dialled.Load() == 0 {
		t.Error("connections are made in another way")
	}
	refuse := func(context.Context, string) (net.Conn, error) { return nil, errors.New("no way there") }
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := client.Open(ctx, cluster.Addrs(), client.DialWith(refuse))
	if !errors.Is(err, client.ErrConnect) || !strings.Contains(err.Error(), "no way there") {
		t.Errorf("no node can be reached: %v", err)
	}
}

// A call ends at the first of its bounds, and the server is told.
func TestTimeouts(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	const short = time.Second
	c := open(t, cluster, client.DefaultCallTimeout(time.Minute))
	brief := open(t, cluster, client.DefaultCallTimeout(short))
	told := make(chan time.Duration, 10)
	cluster.Intercept(func(ctx context.Context, method string, _ any) error {
		if method != "Get" {
			return nil
		}
		deadline, ok := ctx.Deadline()
		if !ok {
			t.Error("the server knows of no deadline")
		}
		select {
		case told <- time.Until(deadline):
		default: // a late try of a call that is over
		}
		<-ctx.Done()
		return ctx.Err()
	})
	defer cluster.Intercept(nil)
	for _, test := range []struct {
		name string
		c    *client.Client
		ctx  time.Duration // 0: none
		opts []client.CallOption
	}{
		{"of the client", brief, 0, nil},
		{"of the context", c, short, nil},
		{"of the call", c, 0, []client.CallOption{client.Timeout(short)}},
		{"of the context before that of the call", c, short, []client.CallOption{client.Timeout(time.Minute)}},
		{"of the call before that of the context", c, time.Minute, []client.CallOption{client.Timeout(short)}},
	} {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if test.ctx > 0 {
			ctx, cancel = context.WithTimeout(ctx, test.ctx)
		}
		_, err := test.c.Get(ctx, bucket, client.NewKey("k", ""), test.opts...)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", test.name, err)
		}
		select {
		case d := <-told:
			if d > short {
				t.Errorf("%s: the server was told %v", test.name, d)
			}
		case <-time.After(10 * time.Second): // on a busy machine it may see the call when it is over
			t.Errorf("%s: the call did not reach the server", test.name)
		}
		for len(told) > 0 {
			<-told // further tries
		}
	}
	if _, err := client.Open(t.Context(), cluster.Addrs(), client.DefaultCallTimeout(0)); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("no timeout: %v", err)
	}
}

func TestRandomFrom(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c := open(t, cluster, client.RandomFrom(bytes.NewReader(make([]byte, 1<<10))))
	id, err := c.NewRequestID()
	if err != nil || !bytes.Equal(id[10:], make([]byte, 6)) {
		t.Errorf("%x, %v", id, err)
	}
	c = open(t, cluster, client.RandomFrom(iotest.ErrReader(errors.New("dry"))))
	key := client.NewKey("k", "")
	for _, write := range []func() error{
		func() error { _, err := c.Put(t.Context(), bucket, key, nil); return err },
		func() error { _, err := c.Delete(t.Context(), bucket, key); return err },
		func() error { return c.BatchPut(t.Context(), bucket, []client.PutItem{{Key: key}})[0].Err },
	} {
		var e *client.Error
		if err := write(); !errors.As(err, &e) || !strings.Contains(err.Error(), "dry") {
			t.Errorf("a write without randomness: %v", err)
		}
	}
	if n := cluster.Nodes[0].Calls("Put") + cluster.Nodes[0].Calls("Delete") + cluster.Nodes[0].Calls("BatchPut"); n != 0 {
		t.Errorf("%d were sent", n)
	}
}

// What a call says reaches the server.
func TestOptionsAreSent(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c := open(t, cluster)
	five := client.Replicas(5)
	var wrong atomic.Int32
	expect := func(ok bool) error {
		if !ok {
			wrong.Add(1)
		}
		return nil
	}
	seen := make(map[string]bool)
	cluster.Intercept(func(_ context.Context, method string, request any) error {
		switch r := request.(type) {
		case *pb.PutRequest:
			seen[method] = true
			o := r.GetOptions()
			return expect(o.GetW().GetReplicas() == 5 && o.GetMode() == pb.QuorumMode_QUORUM_MODE_STRICT &&
				o.GetDurability() == pb.Durability_DURABILITY_MEMORY)
		case *pb.GetRequest:
			seen[method] = true
			return expect(r.GetOptions().GetR().GetReplicas() == 5 && r.GetOptions().GetMode() == pb.QuorumMode_QUORUM_MODE_SLOPPY)
		case *pb.StatusRequest:
			seen[method] = true
			return expect(r.GetLocal())
		case *pb.HintsRequest:
			seen[method] = true
			return expect(r.GetLocal())
		}
		return nil
	})
	put(t, c, client.NewKey("k", ""), "v", client.Consistency(five), client.Strict(), client.WithDurability(client.DurabilityMemory))
	if _, err := c.Get(t.Context(), bucket, client.NewKey("k", ""), client.Consistency(five), client.Sloppy()); err != nil {
		t.Error(err)
	}
	if _, err := c.Status(t.Context(), client.LocalOnly()); err != nil {
		t.Error(err)
	}
	if _, err := c.Hints(t.Context(), client.LocalOnly()); err != nil {
		t.Error(err)
	}
	if wrong.Load() != 0 || len(seen) != 4 {
		t.Errorf("%d were wrong, of %v", wrong.Load(), seen)
	}
}

func TestErrorText(t *testing.T) {
	for _, test := range []struct {
		e    client.Error
		want string
	}{
		{client.Error{Op: "get", Message: "canceled"}, "get: canceled"},
		{client.Error{Op: "get", Addr: "n1:7400", Message: "gone"}, "get at n1:7400: gone"},
		{client.Error{Op: "put", Addr: "n1:7400", Message: "later", Reason: "OVERLOADED"}, "put at n1:7400: later (OVERLOADED)"},
		{
			client.Error{Op: "put", Message: "too few", Reason: "QUORUM_UNAVAILABLE", Required: 3, Live: 2},
			"put: too few (QUORUM_UNAVAILABLE: required 3, received 0, live 2)",
		},
	} {
		if got := test.e.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestItemsEndWithAnError(t *testing.T) {
	broken := errors.New("broken")
	pages := func(yield func(client.Page, error) bool) {
		_ = yield(client.Page{Items: make([]client.Item, 2)}, nil) && yield(client.Page{}, broken)
	}
	n, failures := 0, 0
	for _, err := range client.Items(pages) {
		if err == nil {
			n++
		} else if failures++; err != broken {
			t.Error(err)
		}
	}
	if n != 2 || failures != 1 {
		t.Errorf("%d items, %d errors", n, failures)
	}
	for range client.Items(pages) {
		break // must not go on with the next item: that would panic
	}
}

// A node that was set aside for being slow is asked by nobody but the client itself, until it is quick again.
func TestSlowNodesAreTriedOut(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	key := client.NewKey("k", "")
	for range 30 {
		get(t, c, key) // so that it is known what is usual
	}
	slow := cluster.Owners(bucket, key.Partition)[0]
	slow.Intercept(func(ctx context.Context, method string, _ any) error {
		if method == "Get" {
			select {
			case <-ctx.Done():
			case <-time.After(400 * time.Millisecond):
			}
		}
		return nil
	})
	deadline := time.Now().Add(30 * time.Second)
	for idle := 0; idle < 9; idle++ { // all owners would have had their turns
		before := slow.Calls("Get")
		get(t, c, key)
		if slow.Calls("Get") != before {
			idle = 0
		}
		if time.Now().After(deadline) {
			t.Fatal("a slow node is asked again and again")
		}
	}
	slow.Intercept(nil)
	for before := slow.Calls("Get"); slow.Calls("Get") == before; {
		get(t, c, key)
		if time.Now().After(deadline) {
			t.Fatal("a node that is quick again is asked no more")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
