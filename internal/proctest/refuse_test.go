//go:build unix

package proctest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

// wantFailure runs a process that can't start, and wants it to say why.
func wantFailure(t *testing.T, n *Node, says ...string) {
	t.Helper()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	code, err := n.Wait(Patience)
	if err != nil {
		t.Fatal(err)
	}
	log := n.Log()
	if code == 0 || code == -1 {
		t.Errorf("%s: exit code %d, want a failure", n.Name, code)
	}
	for _, s := range append(says, "starling: ") {
		if !strings.Contains(log, s) {
			t.Errorf("%s does not say %q but:\n%s", n.Name, s, log)
		}
	}
	if strings.Contains(log, "goroutine ") {
		t.Errorf("%s crashed:\n%s", n.Name, log)
	}
}

// TestDirectories starts servers on directories that are not theirs.
func TestDirectories(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{Nodes: 1})
	n := c.Node(0)
	second := c.Stranger("second", "--dir", n.Dir)
	wantFailure(t, second, n.Dir, "in use by another process")
	if err := n.Ready(); err != nil {
		t.Errorf("the first process: %v", err)
	}

	c.Terminate(Patience, 0)
	foreign := c.Stranger("foreign", "--dir", n.Dir, "--cluster", "another")
	wantFailure(t, foreign, n.Dir, `"another"`, `"proctest"`)
	c.Restart(0)
	c.WaitReady()
}

// members are the names of the nodes that a node knows.
func members(t *testing.T, cl *client.Client) (names []string) {
	t.Helper()
	s, err := cl.Status(context.Background(), client.LocalOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// TestStrangers has nodes of other clusters gossip with this one. They stay out, and the reason is logged.
func TestStrangers(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{Nodes: 1})
	n := c.Node(0)

	wrongName := c.Stranger("wrong-name", "--cluster", "another", "--bootstrap-expect", "2")
	if err := wrongName.Start(); err != nil {
		t.Fatal(err)
	}
	c.Within(Patience, "the wrong cluster name is logged", func() bool {
		return strings.Contains(n.Log(), "refused gossip from another cluster") && strings.Contains(n.Log(), "cluster=another")
	})

	// One of the same name that was founded by itself: another cluster all the same.
	other := New(t, Options{Nodes: 1})
	other.Terminate(Patience, 0)
	twin := c.Stranger("twin", "--dir", other.Node(0).Dir)
	if err := twin.Start(); err != nil {
		t.Fatal(err)
	}
	c.Within(Patience, "the other cluster's id is logged", func() bool {
		return strings.Contains(n.Log(), "belongs to another cluster of the same name")
	})

	time.Sleep(2 * time.Second) // for either to come in after all
	if got := members(t, c.Client()); !slices.Equal(got, []string{n.Name}) {
		t.Errorf("the cluster has the nodes %v, want its own only", got)
	}
	if err := wrongName.Ready(); err == nil {
		t.Error("a node with the wrong cluster name says that it is ready")
	}
	if err := n.Ready(); err != nil {
		t.Errorf("the node they talked to: %v", err)
	}
}

// drainTimeout is what the nodes of TestTerminate are given.
const drainTimeout = 10 * time.Second

// TestTerminate ends one node after the other with SIGTERM under load. No write fails: what the node has taken it
// answers, and what it does not take the client brings to another.
func TestTerminate(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := New(t, Options{Args: []string{"--drain-timeout", drainTimeout.String()}})
	cl := c.Client()
	l := startLoad(c, loadOptions{pause: 5 * time.Millisecond})
	for i := range 2 {
		time.Sleep(time.Second)
		t.Logf("%s ended %v after SIGTERM", c.Node(i).Name, c.Terminate(drainTimeout, i))
		c.Restart(i)
		c.WaitReady()
	}
	returned := time.Now()
	records := l.finish()
	t.Log(summary(records))
	for _, r := range records {
		if r.outcome != acknowledged {
			t.Errorf("%s: %v: %v", r.key, r.outcome, r.err)
		}
	}
	t.Logf("hints were drained %v after the load", hintsWithin(c, cl, returned, drainBound))
	checkHistory(t, records, readAll(t, cl, records, client.R(client.Quorum)))
	t.Logf("every owner holds the same versions of %d items", compareDisks(t, c, cl))
}
