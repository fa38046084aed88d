package client_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests ends what the examples share before it is looked for what is left.
type tests struct{ *testing.M }

func (t tests) Run() int {
	code := t.M.Run()
	if err := examplesEnd(); err != nil {
		fmt.Fprintln(os.Stderr, "the cluster of the examples:", err)
		return max(code, 1)
	}
	return code
}

const bucket = "default"

// open opens a client of all nodes of a cluster, and closes it with the test.
func open(t *testing.T, cluster *kvfake.Cluster, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Open(t.Context(), cluster.Addrs(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func put(t *testing.T, c *client.Client, key client.Key, value string, opts ...client.CallOption) *client.Written {
	t.Helper()
	w, err := c.Put(t.Context(), bucket, key, []byte(value), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func get(t *testing.T, c *client.Client, key client.Key) *client.Result {
	t.Helper()
	r, err := c.Get(t.Context(), bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// within bounds what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
