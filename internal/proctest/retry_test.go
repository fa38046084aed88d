//go:build unix

package proctest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

// TestLostReply has puts carried out whose reply never arrives. The client tries again, and one version is there.
func TestLostReply(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{Nodes: 3})
	direct := c.Client()
	p := newProxies(t)
	cl := c.Client(client.DialWith(p.dial), client.RefreshEvery(time.Hour))
	ctx := context.Background()

	const puts = 30
	repeated := 0
	for n := range puts {
		key := client.NewKey(fmt.Sprintf("lost/%d", n), "")
		// The ring is fetched anew after a failure; its reply must not be the one that is lost.
		time.Sleep(250 * time.Millisecond)
		before := p.cuts.Load()
		p.armed.Store(true)
		w, err := cl.Put(ctx, bucket, key, []byte("v"), client.W(client.All))
		if p.armed.Swap(false) || p.cuts.Load() != before+1 {
			t.Fatalf("put %d: %d replies were lost, want one", n, p.cuts.Load()-before)
		}
		if err != nil {
			t.Fatalf("put %d: %v", n, err)
		}
		if w.Repeated {
			repeated++
		}
		if w.Versions != 1 {
			t.Errorf("put %d left %d versions", n, w.Versions)
		}
		checkVersions(t, direct, key, "v")
	}
	t.Logf("%d puts lost their reply; %d retries found the write done", puts, repeated)
	// A put at W=all is everywhere when its reply is on its way.
	if repeated != puts {
		t.Errorf("%d of %d retries were told that the write had been done", repeated, puts)
	}
}

// TestRetryOfReplaced repeats a put whose version has been replaced meanwhile: it must not come back.
func TestRetryOfReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{Nodes: 3})
	cl := c.Client()
	ctx := context.Background()
	key := client.NewKey("replaced", "")
	id, err := cl.NewRequestID()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Put(ctx, bucket, key, []byte("old"), client.WithRequestID(id)); err != nil {
		t.Fatal(err)
	}
	got, err := cl.Get(ctx, bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Put(ctx, bucket, key, []byte("new"), client.WithContext(got.Context)); err != nil {
		t.Fatal(err)
	}
	again, err := cl.Put(ctx, bucket, key, []byte("old"), client.WithRequestID(id))
	if err != nil || !again.Repeated {
		t.Errorf("the retry: %+v, %v, want it told that the write had been done", again, err)
	}
	checkVersions(t, cl, key, "new")
}

// checkVersions reads a key from all its owners and wants one version.
func checkVersions(t *testing.T, cl *client.Client, key client.Key, value string) {
	t.Helper()
	got, err := cl.Get(context.Background(), bucket, key, client.R(client.All), client.Strict())
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	if len(got.Versions) != 1 || string(got.Versions[0].Value) != value {
		t.Errorf("%s has %d versions, want one, %q: %+v", key, len(got.Versions), value, got.Versions)
	}
}
