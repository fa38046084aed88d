package client_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestLagOfStatus(t *testing.T) {
	cluster := kvfake.Start(t, 2)
	c := open(t, cluster)
	exchange := int64(1000)
	cluster.SetLag("n2", &pb.NodeLag{
		Severity: pb.Severity_SEVERITY_RED, Rebuilding: 3, Hints: 4, OldestHintMs: 5000, ExchangeMs: &exchange, Mended: 6,
		Setback: "n1 is away", SetbackPartitions: 7,
		Worst:    &pb.PartitionLag{N: 3, Partition: 17, AgeMs: 2000, Rebuilding: true, Reason: "n1 is away"},
		Findings: []*pb.LagFinding{{Severity: pb.Severity_SEVERITY_RED, What: "so it is", Why: "because"}, {What: "alone"}},
	})
	s, err := c.Status(t.Context(), client.PartitionLags())
	if err != nil {
		t.Fatal(err)
	}
	want := &client.Lag{
		Severity: client.Red, Rebuilding: 3, Hints: 4, OldestHint: 5 * time.Second, Exchange: time.Second, HasExchange: true, Mended: 6,
		Setback: "n1 is away", SetbackPartitions: 7,
		Worst:    &client.PartitionLag{N: 3, Partition: 17, Age: 2 * time.Second, Rebuilding: true, Reason: "n1 is away"},
		Findings: []client.LagFinding{{Severity: client.Red, What: "so it is", Why: "because"}, {What: "alone"}},
	}
	if got := s.Nodes[1].Lag; s.Nodes[0].Lag != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v and %+v, want nothing and %+v", s.Nodes[0].Lag, got, want)
	}
	if a, b := want.Findings[0].String(), want.Findings[1].String(); a != "so it is: because" || b != "alone" {
		t.Errorf("%q, %q", a, b)
	}
	if len(s.Lags) == 0 || s.Lags[0].Age != 31*time.Minute {
		t.Errorf("%+v", s.Lags)
	}
	if s, err = c.Status(t.Context()); err != nil || s.Lags != nil {
		t.Errorf("partitions that nobody asked for: %+v, %v", s, err)
	}
	if got := []string{client.Green.String(), client.Yellow.String(), client.Severity(9).String()}; got[0] != "green" || got[1] != "yellow" || got[2] != "unknown" {
		t.Errorf("%q", got)
	}
}
