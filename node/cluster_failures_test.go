package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// The link between two nodes is cut while all others relay that both live. Gossip has nothing to say, but requests do:
// each goes round the other, its part is taken by a stand-in, and when the link is whole all is handed over.
func TestCutBetweenTwoNodes(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	k := key("cut", "")
	owners, others := c.Owners("", k.GetPartitionKey())
	a, gone := owners[0], owners[2]
	c.put(a, &pb.PutRequest{Key: k, Value: []byte("before"), Options: &pb.WriteOptions{W: all}})
	c.CutBoth(a, gone)
	probes := []*pb.ItemKey{k}
	c.Eventually("writes go round the other side of the cut", func() bool {
		probe := key("cut", numbered("probe", len(probes)))
		probes = append(probes, probe)
		resp, err := c.tryPut(a, &pb.PutRequest{Key: probe, Value: []byte("x"), Options: &pb.WriteOptions{Explain: true}})
		return err == nil && resp.GetExplain().GetCoordinator() == c.Name(a) && c.traceOf(resp.GetExplain(), gone, "write") == nil
	})
	for range 20 {
		got := c.get(a, &pb.GetRequest{Key: k, Options: &pb.ReadOptions{R: quorum}})
		began := time.Now()
		resp := c.put(a, &pb.PutRequest{Key: k, Value: []byte("meanwhile"), Context: got.GetContext(), Options: &pb.WriteOptions{W: all}})
		if resp.GetAcknowledged() != 3 {
			t.Errorf("%d acknowledged, want 3", resp.GetAcknowledged())
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a write took %v: it has waited for the cut", took)
		}
	}
	for _, by := range append(slices.Clone(others), owners[1]) {
		for _, of := range []int{a, gone} {
			if l := c.Liveness(of, by); l == pb.Liveness_LIVENESS_DEAD {
				t.Errorf("%s takes %s for dead", c.Name(by), c.Name(of))
			}
		}
	}
	c.Heal()
	c.drained()
	for i := range c.Size() {
		c.want(i, "", k, "meanwhile")
	}
	c.checkDisks(probes...)
}

// Stand-ins without room for hints refuse to be one. A sloppy write that can't do without is refused, or unknown, never
// acknowledged; one that can, and strict ones, go on, and the owner that was away gets all of them.
func TestHintBudgetsAreSpent(t *testing.T) {
	c := newCluster(t, testcluster.Options{Configure: func(_ int, cfg *config.Config) {
		cfg.HintBytes, cfg.HintBytesPerTarget = 1, 1
	}})
	k := func(sort string) *pb.ItemKey { return key("budget", sort) }
	owners, _ := c.Owners("", k("").GetPartitionKey())
	c.lose(owners[2])
	_, err := c.tryPut(owners[0], &pb.PutRequest{Key: k("all"), Value: []byte("x"), Options: &pb.WriteOptions{W: all}})
	if reason := reasonOf(err); reason != "OUTCOME_UNKNOWN" && reason != "QUORUM_UNAVAILABLE" {
		t.Errorf("a write that needs a stand-in: %v (reason %q)", err, reason)
	}
	sloppy := c.put(owners[0], &pb.PutRequest{Key: k("sloppy"), Value: []byte("sloppy")})
	strict := c.put(owners[0], &pb.PutRequest{
		Key: k("strict"), Value: []byte("strict"), Options: &pb.WriteOptions{Mode: pb.QuorumMode_QUORUM_MODE_STRICT},
	})
	for _, resp := range []*pb.PutResponse{sloppy, strict} {
		if resp.GetAcknowledged() != 2 || resp.GetFallbacks() != 0 {
			t.Errorf("%d acknowledged, %d of fallbacks; want the two owners", resp.GetAcknowledged(), resp.GetFallbacks())
		}
	}
	c.Eventually("the debts are on record", func() bool { return c.hints(owners[0]) >= 2 })
	c.bring(owners[2])
	c.drained()
	c.checkDisks(k("sloppy"), k("strict"))
}

// Limits are those of the node that takes a request in. A replica with smaller ones takes what another has accepted:
// otherwise the copy could never be made.
func TestReplicasWithSmallerLimits(t *testing.T) {
	const large = 512 << 10
	c := newCluster(t, testcluster.Options{Nodes: 3, Configure: func(i int, cfg *config.Config) {
		if i > 0 {
			cfg.MaxValueBytes, cfg.MaxStateBytes, cfg.MaxSiblings = 1<<10, 2<<10, 2
		}
	}})
	k := key("limits", "")
	var want []string
	for n := range 4 {
		value := strings.Repeat(string(rune('a'+n)), large)
		want = append(want, value)
		resp := c.put(0, &pb.PutRequest{Key: k, Value: []byte(value), Options: &pb.WriteOptions{W: all, Explain: true}})
		if x := resp.GetExplain(); x.GetCoordinator() != c.Name(0) {
			t.Fatalf("%s coordinated, want %s", x.GetCoordinator(), c.Name(0))
		}
	}
	got := c.get(1, &pb.GetRequest{Key: k, Options: &pb.ReadOptions{R: all}})
	if !slices.Equal(valuesOf(got.GetVersions()), want) {
		t.Errorf("%d versions at a node with smaller limits, want %d", len(got.GetVersions()), len(want))
	}
	_, err := c.tryPut(1, &pb.PutRequest{Key: k, Value: []byte(want[0])})
	wantReason(t, "a put of a large value at that node", err, pb.Reason_REASON_VALUE_TOO_LARGE)
	c.checkDisks(k)
}
