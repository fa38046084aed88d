package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// TestTasks has a node lose items of two buckets. A repair of one bucket leaves the other alone; a task that is detached is
// shown, awaited, cancelled, and left behind by whoever is interrupted; a node that is stopped is named.
func TestTasks(t *testing.T) {
	cluster := testcluster.New(t, testcluster.Options{
		Nodes: 3, Foreign: true, Configure: func(_ int, c *config.Config) { c.RepairInterval = 0 },
	})
	addrs := []string{cluster.ClientAddr(0), cluster.ClientAddr(1), cluster.ClientAddr(2)}
	c := cli{environ: []string{"STARLING_ADDR=" + strings.Join(addrs, ",")}}
	c.must(t, "bucket", "create", "carts")
	for i := range 10 {
		c.must(t, "put", fmt.Sprint("item-", i), "value", "-w", "all")
		c.must(t, "put", fmt.Sprint("item-", i), "value", "-w", "all", "-b", "carts")
	}
	if out := c.must(t, "task", "list"); out != "no tasks\n" {
		t.Errorf("at first: %s", out)
	}
	view, err := cluster.Client().Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cluster.Crash(2)
	s := cluster.Storage(2)
	for _, b := range view.Buckets {
		key := storage.Key{Bucket: b.ID, Token: uint64(ring.TokenOf(b.ID, []byte("item-3"))), Partition: []byte("item-3")}
		if err := s.Lose(context.Background(), key, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := c.run(t, "repair"); r.code != exitFailed || strings.Count(r.errors, "Not compared: ") != 2 || !strings.Contains(r.errors, "2 of 3 pairs") ||
		strings.Count(r.out, "\n") != 2 {
		t.Errorf("a node is down: exit %d: %s%s", r.code, r.out, r.errors)
	}
	cluster.Start(2)
	cluster.WaitReady()
	cluster.Eventually("all nodes are compared", func() bool { return c.run(t, "verify").code != exitFailed })

	var pairs []jsonComparison
	if err := json.Unmarshal([]byte(c.must(t, "repair", "carts", "-o", "json")), &pairs); err != nil || len(pairs) != 3 || pairs[0].Node == "" || pairs[0].With == "" {
		t.Errorf("%+v, %v", pairs, err)
	}
	c.must(t, "verify", "carts")
	if r := c.run(t, "verify", "default"); r.code != exitProblem || !strings.Contains(r.out, "item-3") {
		t.Errorf("the other bucket was repaired, too: exit %d: %s", r.code, r.out)
	}
	id := strings.TrimSpace(c.must(t, "repair", "--detach", "--node", "n3"))
	if out := c.must(t, "task", "wait", id); !strings.Contains(out, "state     done") || !strings.Contains(out, "told      node n3") || !strings.Contains(out, "2 of 2 pairs") {
		t.Errorf("wait: %s", out)
	}
	c.must(t, "verify")
	if r := (cli{environ: c.environ, terminal: true}).run(t, "repair"); r.code != exitDone || !strings.Contains(r.errors, "192 ranges, 0 items compared, 0 mended") {
		t.Errorf("on a terminal: exit %d: %s%q", r.code, r.out, r.errors)
	}
	var list jsonTasks
	if err := json.Unmarshal([]byte(c.must(t, "task", "list", "-o", "json")), &list); err != nil || len(list.Tasks) != 4 || list.Missing == nil {
		t.Errorf("%+v, %v", list, err)
	}
	for _, one := range list.Tasks {
		var shown jsonTask
		if err := json.Unmarshal([]byte(c.must(t, "task", "show", one.ID, "-o", "json")), &shown); err != nil || shown.Kind != "repair" || len(shown.Parts) < 2 || shown.Ended == "" {
			t.Errorf("%+v, %v", shown, err)
		}
	}
	if ids, directive := c.completed(t, "task", "show", ""); len(ids) != 4 || ids[0] != list.Tasks[0].ID || directive != inOrder {
		t.Errorf("completion: %v %s", ids, directive)
	}
	t.Run("cancel", func(t *testing.T) { cancelRepair(t, cluster.In(t), c) })
}

// cancelRepair interrupts who waits for a repair, which goes on, and then cancels it.
func cancelRepair(t *testing.T, cluster *testcluster.Cluster, c cli) {
	for from := range 3 {
		for to := range 3 {
			cluster.Delay(from, to, 300*time.Millisecond)
		}
	}
	defer cluster.Heal()
	running := func() string {
		for line := range strings.Lines(c.run(t, "task", "list").out) {
			if strings.Contains(line, "running") {
				return strings.Fields(line)[0]
			}
		}
		return ""
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan ran, 1)
	go func() { ended <- cli{environ: c.environ, ctx: ctx}.run(t, "repair") }()
	id := ""
	cluster.Eventually("the repair runs", func() bool { id = running(); return id != "" })
	interrupt()
	if r := <-ended; r.code != exitFailed || !strings.Contains(r.errors, "The task goes on") || !strings.Contains(r.errors, "starling task cancel "+id) {
		t.Errorf("interrupted: exit %d: %s", r.code, r.errors)
	}
	if running() != id {
		t.Error("the task did not go on")
	}
	c.must(t, "task", "cancel", id)
	if r := c.run(t, "task", "wait", id); r.code != exitFailed || !strings.Contains(r.out, "state     cancelled") {
		t.Errorf("cancelled: exit %d: %s%s", r.code, r.out, r.errors)
	}
	if r := c.run(t, "task", "cancel", id); r.code != exitDone || !strings.Contains(r.errors, "had ended already: cancelled") {
		t.Errorf("cancelled twice: exit %d: %s", r.code, r.errors)
	}
}
