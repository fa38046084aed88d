package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// TestRepair has a node lose an item that nobody reads: verify finds it, repair mends it, and a node that is down is named.
func TestRepair(t *testing.T) {
	cluster := testcluster.New(t, testcluster.Options{
		Nodes: 3, Foreign: true, Configure: func(_ int, c *config.Config) { c.RepairInterval = 0 },
	})
	addrs := []string{cluster.ClientAddr(0), cluster.ClientAddr(1), cluster.ClientAddr(2)}
	c := cli{environ: []string{"STARLING_ADDR=" + strings.Join(addrs, ",")}}
	for i := range 20 {
		c.must(t, "put", fmt.Sprint("item-", i), "value", "-w", "all")
	}
	if out := c.must(t, "verify"); !strings.Contains(out, "3 pairs of nodes hold the same in the 192 partitions") {
		t.Errorf("verify: %s", out)
	}
	client := cluster.Client()
	view, err := client.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := view.Buckets[0].ID
	cluster.Crash(2)
	s := cluster.Storage(2)
	for _, item := range []string{"item-3", "item-7"} {
		key := storage.Key{Bucket: id, Token: uint64(ring.TokenOf(id, []byte(item))), Partition: []byte(item)}
		if err := s.Lose(context.Background(), key, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := c.run(t, "verify", "--node", cluster.Name(2)); r.code != exitFailed || strings.Count(r.errors, "Not compared: ") != 2 {
		t.Errorf("a node is down: exit %d: %s", r.code, r.errors)
	}
	cluster.Start(2)
	cluster.WaitReady()
	cluster.Eventually("all nodes are compared", func() bool { return c.run(t, "verify").code != exitFailed })

	r := c.run(t, "verify")
	if r.code != exitProblem || !strings.Contains(r.out, "item-3") || !strings.Contains(r.out, "item-7") || strings.Contains(r.out, "item-4") {
		t.Errorf("verify: exit %d: %s%s", r.code, r.out, r.errors)
	}
	var found []jsonComparison
	if r := c.run(t, "verify", "-o", "json"); json.Unmarshal([]byte(r.out), &found) != nil || len(found) != 3 {
		t.Errorf("verify in JSON: exit %d: %s", r.code, r.out)
	}
	unlike := 0
	for _, p := range found {
		unlike += int(p.Unlike)
		for _, k := range p.Keys {
			if k.Bucket != "default" {
				t.Errorf("an item of bucket %q", k.Bucket)
			}
		}
	}
	if unlike != 4 { // with each of the two others
		t.Errorf("%d items differ in all pairs: %+v", unlike, found)
	}
	out := c.must(t, "repair", "-o", "json")
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	mended := 0
	for _, p := range found {
		mended += int(p.Mended)
	}
	if mended != 2 {
		t.Errorf("%d copies were mended: %s", mended, out)
	}
	c.must(t, "verify")
	if out := c.must(t, "repair", "--partition", "0"); !strings.Contains(out, "MENDED") {
		t.Errorf("repair: %s", out)
	}
	for _, args := range [][]string{{"repair", "--partition", "256"}, {"repair", "--node", "nobody"}, {"verify", "a", "b"}, {"repair", ""}, {"task"}} {
		if r := c.run(t, args...); r.code != exitMisused {
			t.Errorf("%v: exit %d: %s", args, r.code, r.errors)
		}
	}
	for _, args := range [][]string{{"repair", "nothing"}, {"verify", "nothing"}, {"task", "show", "n1:1"}, {"task", "wait", "n1"}, {"task", "cancel", "nobody:1"}} {
		if r := c.run(t, args...); r.code != exitNotFound {
			t.Errorf("%v: exit %d: %s", args, r.code, r.errors)
		}
	}
}
