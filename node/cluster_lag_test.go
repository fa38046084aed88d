package node_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// status is what a node says of the cluster, by name.
func (c *cluster) status(at int, req *pb.StatusRequest) (*pb.StatusResponse, map[string]*pb.NodeStatus) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	s, err := c.Admin(at).Status(ctx, req)
	if err != nil {
		c.t.Fatal(err)
	}
	byName := make(map[string]*pb.NodeStatus)
	for _, n := range s.GetNodes() {
		byName[n.GetName()] = n
	}
	return s, byName
}

// probe is what a node's /readyz says.
func (c *cluster) probe(i int) (code int, body string) {
	c.t.Helper()
	resp, err := http.Get("http://" + c.HTTPAddr(i) + "/readyz")
	if err != nil {
		c.t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// With one of five nodes stopped no round can end: it guards every partition. Each of the others is yellow then, and the reason
// names that node, whoever leads the rounds and whoever is asked.
func TestLagNamesTheStoppedNode(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Nodes: 5, Configure: func(_ int, cfg *config.Config) {
		cfg.RepairInterval, cfg.LagWarn = time.Second, 100*time.Millisecond
	}})
	const stopped = 3
	c.Eventually("every node tells its lag", func() bool {
		_, nodes := c.status(0, &pb.StatusRequest{})
		exchange := 0 // one of two owners begins
		for i := range c.Size() {
			lag := nodes[c.Name(i)].GetLag()
			if lag.GetWorst() == nil {
				return false
			}
			if lag.ExchangeMs != nil {
				exchange++
			}
		}
		return exchange >= c.Size()-1
	})
	if _, nodes := c.status(0, &pb.StatusRequest{Local: true}); nodes[c.Name(0)].GetLag() == nil || nodes[c.Name(1)].GetLag() != nil {
		t.Errorf("by itself a node tells its own lag alone: %v", nodes)
	}
	c.Stop(stopped)
	for i := range c.Size() {
		if i != stopped {
			c.Eventually(c.Name(i)+" hears why all others are yellow", func() bool { return c.blames(i, stopped) })
		}
	}
	c.checkBlame(0, stopped)
}

// blames says whether a node shows all that run yellow, because of one that doesn't.
func (c *cluster) blames(at, stopped int) bool {
	_, nodes := c.status(at, &pb.StatusRequest{})
	for i := range c.Size() {
		lag := nodes[c.Name(i)].GetLag()
		if i == stopped {
			if lag != nil {
				return false
			}
			continue
		}
		f := lag.GetFindings()
		if lag.GetSeverity() != pb.Severity_SEVERITY_YELLOW || len(f) == 0 || f[0].GetKind() != pb.LagFinding_KIND_WATERMARK ||
			!strings.HasPrefix(f[0].GetWhy(), c.Name(stopped)+" does not attest") || f[0].GetWhy() != lag.GetWorst().GetReason() {
			return false
		}
	}
	return true
}

// checkBlame checks what the node asked says of its own partitions, and of itself.
func (c *cluster) checkBlame(at, stopped int) {
	c.t.Helper()
	all, nodes := c.status(at, &pb.StatusRequest{Partitions: true})
	if want := int(nodes[c.Name(at)].GetPartitions()); len(all.GetLags()) != want {
		c.t.Errorf("%d partitions, and it owns %d", len(all.GetLags()), want)
	}
	last := all.GetLags()[0].GetAgeMs()
	for _, p := range all.GetLags() {
		if p.GetAgeMs() > last || !strings.Contains(p.GetReason(), c.Name(stopped)) {
			c.t.Errorf("after one of %d ms: %v", last, p)
		}
		last = p.GetAgeMs()
	}
	leads := 0
	own, nodes := c.status(at, &pb.StatusRequest{Partitions: true, Local: true})
	for _, p := range own.GetLags() {
		if p.GetReason() != "" {
			leads++
		}
	}
	lag := nodes[c.Name(at)].GetLag()
	if leads == 0 || leads == len(own.GetLags()) || int(lag.GetSetbackPartitions()) != leads || !strings.Contains(lag.GetSetback(), c.Name(stopped)) {
		c.t.Errorf("by itself it knows the reason of the %d of %d that it leads: %v", leads, len(own.GetLags()), lag)
	}
	code, body := c.probe(at)
	if code != http.StatusOK || !strings.HasPrefix(body, "ready\nyellow: partition ") || !strings.Contains(body, c.Name(stopped)+" does not attest") {
		c.t.Errorf("/readyz: %d %q", code, body)
	}
}
