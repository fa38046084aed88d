package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/node"
	"github.com/starling-db/starling/node/config"
)

// TestHealth asks a real node: one that waits for others to found a cluster with, one that serves, and none.
func TestHealth(t *testing.T) {
	settings := config.Default()
	settings.Name, settings.Dir = "a", t.TempDir()
	for _, addr := range []*string{&settings.ClientAddr, &settings.PeerAddr, &settings.GossipAddr, &settings.HTTPAddr} {
		*addr = "127.0.0.1:0"
	}
	settings.BootstrapExpect = 0
	addr, stop := startNode(t, settings)
	r := cli{}.run(t, "health", "--http-addr", addr)
	for deadline := time.Now().Add(10 * time.Second); strings.Contains(r.errors, "starting") && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // it has yet to look around
		r = cli{}.run(t, "health", "--http-addr", addr)
	}
	if r.code != exitFailed || !strings.Contains(r.errors, "takes no requests: ") || !strings.Contains(r.errors, "waits") {
		t.Errorf("a node without a cluster: exit %d: %s", r.code, r.errors)
	}
	stop()
	if r := (cli{}).run(t, "health", "--http-addr", addr); r.code != exitConnect || strings.Contains(r.errors, "--addr") {
		t.Errorf("no node: exit %d: %s", r.code, r.errors)
	}

	settings.Dir, settings.BootstrapExpect = t.TempDir(), 1
	addr, _ = startNode(t, settings)
	deadline := time.Now().Add(time.Minute)
	for r = (cli{}).run(t, "health", "--http-addr", addr); r.code != exitDone; r = (cli{}).run(t, "health", "--http-addr", addr) {
		if time.Now().After(deadline) {
			t.Fatalf("a node that is alone: exit %d: %s", r.code, r.errors)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if r.out != "ready\n" || r.errors != "" {
		t.Errorf("said %q and %q", r.out, r.errors)
	}
	var out struct {
		Ready bool
		Addr  string `json:"http_addr"`
	}
	text := cli{}.must(t, "health", "-o", "json", "--http-addr", addr)
	if err := json.Unmarshal([]byte(text), &out); err != nil || !out.Ready || out.Addr != addr {
		t.Errorf("%q: %+v, %v", text, out, err)
	}
}

// startNode starts a node, and returns its HTTP address and what stops it.
func startNode(t *testing.T, c config.Config) (string, func()) {
	t.Helper()
	n, err := node.Start(t.Context(), node.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		if err := closeNode(n, c.DrainTimeout); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return n.Addrs().HTTP, stop
}

// TestHealthOfOthers asks ports behind which no node is, and one that never answers.
func TestHealthOfOthers(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--http-addr", other.Listener.Addr().String()}, exitFailed, "is no node's HTTP port"},
		{[]string{"--http-addr", silent.Addr().String(), "--timeout", "50ms"}, exitConnect, "no answer from"},
		{[]string{"--http-addr", "7403"}, exitMisused, "want host:port"},
		{[]string{"--timeout", "-1s"}, exitMisused, "negative"},
		{[]string{"n1"}, exitMisused, "health"},
	} {
		if r := (cli{}).run(t, append([]string{"health"}, c.args...)...); r.code != c.code || !strings.Contains(r.errors, c.want) {
			t.Errorf("%v: exit %d: %s", c.args, r.code, r.errors)
		}
	}
}

func TestHealthAddress(t *testing.T) {
	for listening, want := range map[string]string{
		":7403": "127.0.0.1:7403", "0.0.0.0:7403": "127.0.0.1:7403", "[::]:7403": "[::1]:7403", "[::ffff:0.0.0.0]:1": "127.0.0.1:1",
		"10.0.0.2:7403": "10.0.0.2:7403", "localhost:7403": "localhost:7403", "[fe80::1]:7": "[fe80::1]:7",
	} {
		if got, err := dialled(listening); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", listening, got, err, want)
		}
	}
	ready := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ready\n")) }))
	defer ready.Close()
	_, port, err := net.SplitHostPort(ready.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := cli{environ: []string{"STARLING_HTTP_ADDR=:" + port}}
	if got := c.must(t, "health"); got != "ready\n" {
		t.Errorf("%q", got)
	}
}
