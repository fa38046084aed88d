package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/kvfake"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// TestScenarios runs the command lines of testdata/scenarios, each file against a cluster of five fake
// nodes, and compares what they print; -rewrite writes it anew. Commands:
//
//	starling [stdin=TEXT] [terminal]   runs the command line below it
//	say NODE LIVENESS                  makes all nodes say this of one
//	lag NODE SEVERITY AGE [rebuilding=N]
//	                                   makes all nodes say this of one, for the reason below it
//	advance TIME                       moves the time on by which values expire
//	fail METHOD REASON CODE            makes all nodes refuse a method
//	mend                               ends that
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenarios", func(t *testing.T, path string) {
		s := scenario{cluster: kvfake.Start(t, 5)}
		datadriven.RunTest(t, path, s.run)
	})
}

type scenario struct{ cluster *kvfake.Cluster }

func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "starling":
		return s.starling(t, d)
	case "say":
		liveness := pb.Liveness_value["LIVENESS_"+strings.ToUpper(d.CmdArgs[1].Key)]
		s.cluster.SetLiveness(d.CmdArgs[0].Key, pb.Liveness(liveness))
	case "lag":
		s.lag(t, d)
	case "advance":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		s.cluster.Advance(by)
	case "fail":
		method, reason := d.CmdArgs[0].Key, pb.Reason(pb.Reason_value["REASON_"+d.CmdArgs[1].Key])
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(`"` + d.CmdArgs[2].Key + `"`)); err != nil {
			t.Fatal(err)
		}
		s.cluster.Intercept(func(_ context.Context, called string, _ any) error {
			if called != method {
				return nil
			}
			return kvfake.Fault(code, reason, "the server says why", 2, 0, 1)
		})
	case "mend":
		s.cluster.Intercept(nil)
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return ""
}

func (s *scenario) lag(t *testing.T, d *datadriven.TestData) {
	age, err := time.ParseDuration(d.CmdArgs[2].Key)
	if err != nil {
		t.Fatal(err)
	}
	exchange := int64(5000)
	lag := &pb.NodeLag{
		Severity: pb.Severity(pb.Severity_value["SEVERITY_"+strings.ToUpper(d.CmdArgs[1].Key)]), ExchangeMs: &exchange, Mended: 7,
		Worst: &pb.PartitionLag{N: 3, Partition: 17, AgeMs: age.Milliseconds(), Reason: d.Input},
	}
	rebuilding := 0
	d.MaybeScanArgs(t, "rebuilding", &rebuilding)
	lag.Rebuilding = uint32(rebuilding)
	if d.Input != "" {
		lag.Setback, lag.SetbackPartitions = d.Input, 2
		lag.Findings = []*pb.LagFinding{{
			Severity: lag.Severity, Kind: pb.LagFinding_KIND_WATERMARK, What: "partition 17 (N=3) was not proved the same for " + age.String(), Why: d.Input,
		}}
	}
	if rebuilding > 0 {
		lag.Findings = append(lag.Findings, &pb.LagFinding{
			Severity: pb.Severity_SEVERITY_YELLOW, Kind: pb.LagFinding_KIND_REBUILDING, What: "some are rebuilt",
		})
	}
	s.cluster.SetLag(d.CmdArgs[0].Key, lag)
}

func (s *scenario) starling(t *testing.T, d *datadriven.TestData) string {
	c := cli{cluster: s.cluster, terminal: d.HasArg("terminal")}
	d.MaybeScanArgs(t, "stdin", &c.stdin)
	r := c.run(t, words(strings.TrimPrefix(d.Input, "starling "))...)
	var b strings.Builder
	b.WriteString(r.out)
	for line := range strings.Lines(r.errors) {
		b.WriteString("stderr: " + line)
	}
	if r.code != exitDone {
		fmt.Fprintf(&b, "exit %d\n", r.code)
	}
	return s.mask(b.String())
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

// mask replaces what differs from run to run, padding of columns included.
func (s *scenario) mask(text string) string {
	for _, n := range s.cluster.Nodes {
		text = strings.ReplaceAll(text, n.Addr, n.Name+":port")
	}
	text = regexp.MustCompile(`at n\d:port`).ReplaceAllString(text, "at NODE")
	text = regexp.MustCompile(`"addr":"n\d:port"`).ReplaceAllString(text, `"addr":"NODE"`)
	text = regexp.MustCompile(`in \d+\.\d s`).ReplaceAllString(text, "in TIME s")
	return uuid.ReplaceAllString(text, "REQUEST-ID")
}

// words splits a command line; '...' holds words together, and \n and \x00 in them are what they are in Go.
func words(line string) []string {
	var out []string
	quoted, open := false, false
	var b strings.Builder
	for _, r := range line + " " {
		switch {
		case r == '\'':
			quoted, open = !quoted, true
		case r == ' ' && !quoted:
			if b.Len() > 0 || open {
				out = append(out, strings.NewReplacer(`\n`, "\n", `\x00`, "\x00", `\xff`, "\xff").Replace(b.String()))
			}
			b.Reset()
			open = false
		default:
			b.WriteRune(r)
		}
	}
	return out
}
