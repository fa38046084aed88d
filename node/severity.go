package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// lagFacts are what a node's verdict on its lag rests on.
type lagFacts struct {
	// worst is the partition that was last proved the same the longest ago; nil: the node owns none.
	worst *pb.PartitionLag
	// rounds: there are some, so that the age of a watermark means something.
	rounds     bool
	rebuilding int
	// hints are what is kept here, by target.
	hints []*pb.HintStatus
}

// lagLimits are the ages above which something is yellow, and red.
type lagLimits struct{ warn, alarm time.Duration }

func (l lagLimits) of(age time.Duration) pb.Severity {
	switch {
	case age > l.alarm:
		return pb.Severity_SEVERITY_RED
	case age > l.warn:
		return pb.Severity_SEVERITY_YELLOW
	}
	return pb.Severity_SEVERITY_GREEN
}

// judge is a node's verdict on its lag, and what is yellow or red of it, the worst first. It is pure.
func judge(f lagFacts, limits lagLimits) (pb.Severity, []*pb.LagFinding) {
	var found []*pb.LagFinding
	add := func(s pb.Severity, kind pb.LagFinding_Kind, why, format string, args ...any) {
		if s > pb.Severity_SEVERITY_GREEN {
			found = append(found, &pb.LagFinding{Severity: s, Kind: kind, What: fmt.Sprintf(format, args...), Why: why})
		}
	}
	if f.worst != nil && f.rounds {
		age := milliseconds(f.worst.GetAgeMs())
		add(limits.of(age), pb.LagFinding_KIND_WATERMARK, f.worst.GetReason(),
			"partition %d (N=%d) was not proved the same for %s", f.worst.GetPartition(), f.worst.GetN(), roundAge(age))
	}
	if f.rebuilding > 0 {
		what := "a partition is rebuilt here, and has no vote until then"
		if f.rebuilding > 1 {
			what = fmt.Sprintf("%d partitions are rebuilt here, and have no vote until then", f.rebuilding)
		}
		add(pb.Severity_SEVERITY_YELLOW, pb.LagFinding_KIND_REBUILDING, "", "%s", what)
	}
	for _, h := range f.hints {
		age := milliseconds(h.GetOldestMs())
		add(limits.of(age), pb.LagFinding_KIND_HINTS, "", "hints for %s (%d) are up to %s old", h.GetTarget(), h.GetItems(), roundAge(age))
	}
	slices.SortStableFunc(found, func(a, b *pb.LagFinding) int { return cmp.Compare(b.GetSeverity(), a.GetSeverity()) })
	if len(found) == 0 {
		return pb.Severity_SEVERITY_GREEN, nil
	}
	return found[0].GetSeverity(), found
}

func milliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// roundAge is an age as people want it.
func roundAge(age time.Duration) time.Duration {
	if age < time.Minute {
		return age.Round(100 * time.Millisecond)
	}
	return age.Round(time.Second)
}

// findingText is a finding in one line.
func findingText(f *pb.LagFinding) string {
	if f.GetWhy() == "" {
		return f.GetWhat()
	}
	return f.GetWhat() + ": " + f.GetWhy()
}

func severityName(s pb.Severity) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "SEVERITY_"))
}
