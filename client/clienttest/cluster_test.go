package clienttest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bucket = "default"

var key = client.NewKey("cart:42", "")

// within bounds what a test waits for; it is generous, for machines that are busy.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, c *client.Client, value string, opts ...client.CallOption) *client.Written {
	t.Helper()
	w, err := c.Put(within(t), bucket, key, []byte(value), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// mustGet fails the test unless the item has just this value.
func mustGet(t *testing.T, c *client.Client, want string, opts ...client.CallOption) {
	t.Helper()
	r, err := c.Get(within(t), bucket, key, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if value, err := r.Value(); err != nil || string(value) != want {
		t.Fatalf("got %q, %v, want %q", value, err, want)
	}
}

// Each node by itself: whoever insists on a quorum of owners is refused, with the numbers, and nothing is written.
func TestPartition(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	c := cluster.Client()
	first := put(t, c, "before", client.Strict())

	cluster.Partition([]int{0}, []int{1}, []int{2})
	cluster.Settle()
	_, err := c.Put(within(t), bucket, key, []byte("lost"), client.Strict(), client.WithContext(first.Context))
	var e *client.Error
	if !errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrOutcomeUnknown) || !errors.As(err, &e) {
		t.Fatalf("a strict put without a quorum: %v", err)
	}
	if e.Required != 2 || e.Live != 1 || e.Received != 0 {
		t.Fatalf("required %d, received %d, live %d", e.Required, e.Received, e.Live)
	}

	// Two together are a quorum, also for the client that asks the third first.
	cluster.Partition([]int{0, 1})
	cluster.Settle()
	second := put(t, c, "during", client.Strict(), client.WithContext(first.Context))

	cluster.Heal()
	cluster.Settle()
	mustGet(t, c, "during", client.Strict(), client.R(client.All))
	put(t, c, "after", client.Strict(), client.W(client.All), client.WithContext(second.Context))
}

// What was acknowledged survives that all nodes lose power.
func TestKillAll(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	c := cluster.Client()
	put(t, c, "kept")
	for i := range cluster.Nodes() {
		cluster.Kill(i)
	}
	_, _ = c.Get(within(t), bucket, key, client.Timeout(2*time.Second)) // whatever comes: it finds the connections broken
	_, err := c.Get(within(t), bucket, key, client.Timeout(2*time.Second))
	if !errors.Is(err, client.ErrConnect) {
		t.Fatalf("a cluster of which no node runs: %v", err)
	}
	for i := range cluster.Nodes() {
		cluster.Restart(i)
	}
	cluster.Settle()
	mustGet(t, c, "kept")
}

// Two of three owners are gone, one goodbye and one crash: sloppy writes go on with stand-ins, and the owners get what
// they missed.
func TestStopAndKill(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Nodes: 5})
	c := cluster.Client()
	owners, others := cluster.Owners(bucket, key.Partition), cluster.Others(bucket, key.Partition)
	if len(owners) != 3 || len(others) != 2 {
		t.Fatalf("owners %v, others %v", owners, others)
	}
	cluster.Stop(owners[0])
	cluster.Kill(owners[1])
	cluster.Settle()
	w := put(t, c, "stood in for", client.Sloppy(), client.W(client.All), client.WithExplain())
	if w.Fallbacks != 2 {
		t.Fatalf("%d stand-ins: %+v", w.Fallbacks, w.Explain)
	}
	for _, r := range w.Explain.Replicas {
		for _, gone := range owners[:2] {
			if r.Node == cluster.Name(gone) {
				t.Fatalf("%s is gone and was asked", r.Node)
			}
		}
	}
	cluster.Restart(owners[0])
	cluster.Restart(owners[1])
	cluster.Settle()
	// By hand-over or by this read, they have it in the end.
	mustGet(t, c, "stood in for", client.Strict(), client.R(client.All))
	// A node that runs can be started anew, too.
	cluster.Restart(owners[2])
	cluster.Settle()
	mustGet(t, c, "stood in for", client.Strict(), client.R(client.All))
}

// Messages are held back both ways, and for no longer than asked for.
func TestDelay(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	c := cluster.Client()
	put(t, c, "one") // connections are made
	const d = 150 * time.Millisecond
	cluster.Delay(cluster.Owners(bucket, key.Partition)[2], d)
	begun := time.Now()
	put(t, c, "two", client.Strict(), client.W(client.All), client.Timeout(time.Minute))
	if took := time.Since(begun); took < 2*d {
		t.Fatalf("a round trip to a node whose messages take %v each was done after %v", d, took)
	}
	cluster.Heal()
	put(t, c, "three", client.Strict(), client.W(client.All))
}

// Clusters side by side, each with its own data, and goroutines of the test that outlive them.
func TestSideBySide(t *testing.T) {
	outlives := make(chan struct{})
	done := make(chan struct{})
	t.Run("clusters", func(t *testing.T) {
		for i := range 2 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				c := clienttest.Start(t, clienttest.Options{Nodes: 1 + i}).Client()
				if i == 0 {
					go func() { <-outlives; close(done) }()
				}
				put(t, c, fmt.Sprint(i))
				mustGet(t, c, fmt.Sprint(i))
			})
		}
	})
	close(outlives)
	<-done
}

func TestOpen(t *testing.T) {
	cluster, err := clienttest.Open(clienttest.Options{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(within(t), cluster.Addrs())
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "v")
	func() {
		defer func() {
			if r := fmt.Sprint(recover()); !strings.Contains(r, "no node 1") {
				t.Errorf("a node that is not there: %s", r)
			}
		}()
		cluster.Kill(1)
	}()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, n := range []int{-1, clienttest.MaxNodes + 1} {
		if _, err := clienttest.Open(clienttest.Options{Nodes: n}); err == nil {
			t.Errorf("a cluster of %d nodes", n)
		}
	}
}

// A large value, and a bucket of its own: nothing about the cluster is special but where it runs.
func TestItIsARealCluster(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{Nodes: 1})
	c := cluster.Client()
	if _, _, err := c.CreateBucket(within(t), client.Bucket{Name: "files", N: 1}); err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte("x"), 1<<20)
	if _, err := c.Put(within(t), "files", key, value); err != nil {
		t.Fatal(err)
	}
	r, err := c.Get(within(t), "files", key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Value(); err != nil || !bytes.Equal(got, value) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// A strict write to owners of which two have just died: the error names them, for no node has noticed yet.
func TestErrorsNameReplicas(t *testing.T) {
	cluster := clienttest.Start(t, clienttest.Options{})
	c := cluster.Client(client.MaxTries(1))
	owners := cluster.Owners(bucket, key.Partition)
	put(t, c, "one", client.W(client.All)) // all are connected
	status, err := c.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	cluster.Kill(owners[1])
	cluster.Kill(owners[2])
	// The first writes may find out themselves; later ones are refused by what those found.
	_, err = c.Put(within(t), bucket, key, []byte("two"), client.Strict(), client.W(client.All), client.Timeout(5*time.Second))
	var e *client.Error
	if !errors.Is(err, client.ErrQuorum) || !errors.As(err, &e) || e.RequestID.IsZero() {
		t.Fatal(err)
	}
	for _, f := range e.Failures {
		name := ""
		for _, n := range status.Nodes {
			if n.ID == f.Node {
				name = n.Name
			}
		}
		if (name != cluster.Name(owners[1]) && name != cluster.Name(owners[2])) || f.Message == "" {
			t.Errorf("%s failed: %s", name, f.Message)
		}
	}
	if errors.Is(err, client.ErrOutcomeUnknown) && len(e.Failures) == 0 {
		t.Errorf("nobody is named: %v", err)
	}
}
