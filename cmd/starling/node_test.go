package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDev starts real nodes, and stops them as Ctrl-C does.
func TestDev(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	defer interrupt()
	out, stdout := io.Pipe()
	var errs bytes.Buffer
	done := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"dev", "--ephemeral", "--nodes", "3"}, streams{
			in: strings.NewReader(""), out: stdout, err: &errs, terminal: func(io.Writer) bool { return false },
		})
		_ = stdout.Close() // never fails
		done <- code
	}()
	addr := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "n3" {
			addr = fields[1]
		}
	}
	if addr != "" {
		c := cli{}
		c.must(t, "put", "greeting", "hello", "--addr", addr)
		if got := c.must(t, "get", "greeting", "--addr", addr, "-r", "all"); got != "hello\n" {
			t.Errorf("%q", got)
		}
		if got := c.must(t, "status", "--addr", addr, "-o", "raw"); got != "n1\nn2\nn3\n" {
			t.Errorf("%q", got)
		}
	}
	interrupt()
	if code := <-done; code != exitDone || addr == "" {
		t.Fatalf("exit %d, addr %q: %s", code, addr, &errs)
	}
}

func TestDevRefusesADirectoryOfAnotherSize(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		if err := os.Mkdir(filepath.Join(dir, devName(i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r := cli{}.run(t, "dev", "--dir", dir, "--nodes", "3")
	if r.code != exitMisused || !strings.Contains(r.errors, "--nodes 5") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	for _, args := range [][]string{{"dev", "--nodes", "0"}, {"dev", "--nodes", "10"}, {"dev", "--ephemeral", "--dir", dir}} {
		if r := (cli{}).run(t, args...); r.code != exitMisused {
			t.Errorf("%v: exit %d: %s", args, r.code, r.errors)
		}
	}
}

func TestDevPortsThatAreTaken(t *testing.T) {
	p, err := freeDevPorts(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		closer, err := listen(network, p.addr(0, gossipPort))
		if err != nil {
			t.Skip("somebody else was quicker: ", err)
		}
		if p.free(1) == nil {
			t.Errorf("%s: a port that is taken counts as free", network)
		}
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
}

func listen(network, addr string) (io.Closer, error) {
	if network == "udp" {
		return net.ListenPacket(network, addr)
	}
	return net.Listen(network, addr)
}

func TestServerRefusesBadSettings(t *testing.T) {
	c := cli{}
	for _, args := range [][]string{
		{"server", "--frobnicate"},
		{"server", "--partitions", "100"},
		{"server", "--config", filepath.Join(t.TempDir(), "absent.yaml")},
		{"server", "extra"},
	} {
		if r := c.run(t, args...); r.code != exitMisused || r.errors == "" {
			t.Errorf("%v: exit %d: %s", args, r.code, r.errors)
		}
	}
	// A directory that can't be: the node does not start, and the process says why.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := c.run(t, "server", "--name", "a", "--dir", filepath.Join(file, "data"),
		"--client-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")
	if r.code != exitFailed || !strings.Contains(r.errors, "start node a") {
		t.Errorf("exit %d: %s", r.code, r.errors)
	}
}
