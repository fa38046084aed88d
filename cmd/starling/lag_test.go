package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestWorstFirst(t *testing.T) {
	lag := func(s client.Severity, age time.Duration) *client.Lag {
		return &client.Lag{Severity: s, Worst: &client.PartitionLag{Age: age}}
	}
	node := func(name string, l client.Liveness, ready bool, lag *client.Lag) client.NodeStatus {
		return client.NodeStatus{Name: name, Liveness: l, Ready: ready, Lag: lag}
	}
	nodes := []client.NodeStatus{
		node("z-silent", client.Alive, true, nil),
		node("a-silent", client.Alive, true, nil),
		node("green", client.Alive, true, lag(client.Green, time.Minute)),
		node("yellow", client.Alive, true, lag(client.Yellow, time.Hour)),
		node("green-older", client.Alive, true, lag(client.Green, 2*time.Minute)),
		node("owns-nothing", client.Alive, true, &client.Lag{Severity: client.Green}),
		node("red", client.Alive, true, lag(client.Red, time.Second)),
		node("yellow-older", client.Alive, true, lag(client.Yellow, 2*time.Hour)),
		node("not-ready", client.Alive, false, lag(client.Green, 0)),
		node("suspect-red", client.Suspect, true, lag(client.Red, time.Hour)),
		node("dead", client.Dead, false, nil),
		node("b-dead", client.Dead, false, nil),
	}
	before := slices.Clone(nodes)
	var got []string
	for _, n := range worstFirst(nodes) {
		got = append(got, n.Name)
	}
	want := "b-dead dead suspect-red not-ready red yellow-older yellow green-older green a-silent owns-nothing z-silent"
	if strings.Join(got, " ") != want {
		t.Errorf("%v\nwant %v", got, want)
	}
	for i := range nodes {
		if nodes[i].Name != before[i].Name {
			t.Fatal("the caller's list is sorted")
		}
	}
}

func TestLagText(t *testing.T) {
	worst := func(age time.Duration) *client.PartitionLag { return &client.PartitionLag{Age: age} }
	for want, lag := range map[string]*client.Lag{
		"0s":            {Worst: worst(0)},
		"1m20s":         {Worst: worst(80*time.Second + time.Millisecond)},
		"rebuilding 12": {Worst: worst(time.Hour), Rebuilding: 12},
	} {
		if got := lagText(lag); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, lag := range []*client.Lag{nil, {}} {
		if got := lagText(lag); got != "-" {
			t.Errorf("%q for %v", got, lag)
		}
	}
}

// Scripts get everything: of nodes that tell nothing no lag, and of partitions all.
func TestLagInJSON(t *testing.T) {
	cluster := kvfake.Start(t, 2)
	exchange := int64(0)
	cluster.SetLag("n2", &pb.NodeLag{
		Severity: pb.Severity_SEVERITY_YELLOW, Rebuilding: 3, Hints: 4, OldestHintMs: 5, ExchangeMs: &exchange, Mended: 6,
		Setback: "n1 does not attest", SetbackPartitions: 7,
		Worst:    &pb.PartitionLag{N: 3, Partition: 17, AgeMs: 1500, Rebuilding: true, Reason: "n1 does not attest"},
		Findings: []*pb.LagFinding{{Severity: pb.Severity_SEVERITY_YELLOW, What: "so it is", Why: "because"}},
	})
	c := cli{cluster: cluster}
	var got struct {
		Nodes []struct {
			Name string          `json:"name"`
			Lag  json.RawMessage `json:"lag"`
		} `json:"nodes"`
		Lags []jsonPartitionLag `json:"partition_lags"`
	}
	if err := json.Unmarshal([]byte(c.must(t, "status", "--partitions", "-o", "json")), &got); err != nil {
		t.Fatal(err)
	}
	const want = `{"severity":"yellow","findings":[{"severity":"yellow","what":"so it is","why":"because"}],` +
		`"worst":{"n":3,"partition":17,"age_ms":1500,"rebuilding":true,"reason":"n1 does not attest"},` +
		`"rebuilding":3,"hints":4,"oldest_hint_ms":5,"exchange_ms":0,"mended":6,"setback":"n1 does not attest","setback_partitions":7}`
	if got.Nodes[0].Lag != nil || string(got.Nodes[1].Lag) != want {
		t.Errorf("%s\nand %s\nwant nothing and %s", got.Nodes[0].Lag, got.Nodes[1].Lag, want)
	}
	first := jsonPartitionLag{N: 3, Partition: 17, AgeMS: 1_860_000, Reason: "n2 does not attest: it is away"}
	if len(got.Lags) <= worstPartitions || got.Lags[0] != first {
		t.Errorf("%d partitions: %+v", len(got.Lags), got.Lags)
	}
	if out := c.must(t, "status", "-o", "json"); strings.Contains(out, "partition_lags") {
		t.Errorf("partitions that nobody asked for: %s", out)
	}
}
