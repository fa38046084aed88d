package node

import (
	"slices"
	"testing"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestJudge(t *testing.T) {
	const (
		green  = pb.Severity_SEVERITY_GREEN
		yellow = pb.Severity_SEVERITY_YELLOW
		red    = pb.Severity_SEVERITY_RED
	)
	limits := lagLimits{warn: 30 * time.Minute, alarm: 24 * time.Hour}
	at := func(age time.Duration, why string) *pb.PartitionLag {
		return &pb.PartitionLag{N: 3, Partition: 17, AgeMs: age.Milliseconds(), Reason: why}
	}
	hint := func(target string, age time.Duration) *pb.HintStatus {
		return &pb.HintStatus{Target: target, Items: 12, OldestMs: age.Milliseconds()}
	}
	for name, c := range map[string]struct {
		facts lagFacts
		want  pb.Severity
		lines []string
	}{
		"nothing is owned":        {lagFacts{rounds: true}, green, nil},
		"all is fresh":            {lagFacts{rounds: true, worst: at(time.Minute, "")}, green, nil},
		"at the limit":            {lagFacts{rounds: true, worst: at(30*time.Minute, "")}, green, nil},
		"a failure, but no delay": {lagFacts{rounds: true, worst: at(time.Minute, "n4 does not attest")}, green, nil},
		"above the limit": {
			lagFacts{rounds: true, worst: at(30*time.Minute+time.Millisecond, "")}, yellow,
			[]string{"partition 17 (N=3) was not proved the same for 30m0s"},
		},
		"with a reason": {
			lagFacts{rounds: true, worst: at(31*time.Minute, "n4 does not attest: gone")}, yellow,
			[]string{"partition 17 (N=3) was not proved the same for 31m0s: n4 does not attest: gone"},
		},
		"at the alarm": {
			lagFacts{rounds: true, worst: at(24*time.Hour, "")}, yellow,
			[]string{"partition 17 (N=3) was not proved the same for 24h0m0s"},
		},
		"above the alarm": {
			lagFacts{rounds: true, worst: at(25*time.Hour, "")}, red,
			[]string{"partition 17 (N=3) was not proved the same for 25h0m0s"},
		},
		"no rounds, no colour by age": {lagFacts{worst: at(1000*time.Hour, "")}, green, nil},
		"rebuilding": {
			lagFacts{rounds: true, worst: at(0, ""), rebuilding: 12}, yellow,
			[]string{"12 partitions are rebuilt here, and have no vote until then"},
		},
		"rebuilding without rounds": {
			lagFacts{rebuilding: 1}, yellow, []string{"a partition is rebuilt here, and has no vote until then"},
		},
		"fresh hints": {lagFacts{hints: []*pb.HintStatus{hint("n4", time.Second)}}, green, nil},
		"old hints without rounds": {
			lagFacts{hints: []*pb.HintStatus{hint("n4", time.Hour)}}, yellow, []string{"hints for n4 (12) are up to 1h0m0s old"},
		},
		"very old hints": {
			lagFacts{hints: []*pb.HintStatus{hint("n4", 25*time.Hour)}}, red, []string{"hints for n4 (12) are up to 25h0m0s old"},
		},
		"all at once, the worst first": {
			lagFacts{rounds: true, worst: at(time.Hour, ""), rebuilding: 2, hints: []*pb.HintStatus{hint("n4", 25*time.Hour), hint("n5", time.Hour)}}, red,
			[]string{
				"hints for n4 (12) are up to 25h0m0s old",
				"partition 17 (N=3) was not proved the same for 1h0m0s",
				"2 partitions are rebuilt here, and have no vote until then",
				"hints for n5 (12) are up to 1h0m0s old",
			},
		},
	} {
		got, findings := judge(c.facts, limits)
		var lines []string
		for _, f := range findings {
			lines = append(lines, findingText(f))
		}
		if got != c.want || !slices.Equal(lines, c.lines) {
			t.Errorf("%s: %v %q, want %v %q", name, got, lines, c.want, c.lines)
		}
	}
}
