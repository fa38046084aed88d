package client

import (
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Severity is a node's verdict on its lag, by its own thresholds (--lag-warn, --lag-alarm). A higher one is worse.
type Severity uint8

// Severities.
const (
	SeverityUnknown Severity = iota
	Green
	// Yellow deserves a look.
	Yellow
	// Red wants somebody to act.
	Red
)

// String returns "green", "yellow", "red" or "unknown".
func (s Severity) String() string {
	if s > Red {
		s = SeverityUnknown
	}
	return [...]string{"unknown", "green", "yellow", "red"}[s]
}

// Lag is how far a node's data lies behind, as the node itself says.
type Lag struct {
	// Severity is the worst of Findings; Green if there are none.
	Severity Severity
	// Findings are what is yellow or red, the worst first.
	Findings []LagFinding
	// Worst is, of the partitions that the node owns, the one that all its owners were last proved to hold alike the longest ago;
	// nil if it owns none.
	Worst *PartitionLag
	// Rebuilding counts partitions whose copy on the node has no vote until it has been compared with all others.
	Rebuilding int
	// Hints is how many items the node keeps for others, OldestHint the age of the oldest.
	Hints      uint64
	OldestHint time.Duration
	// Exchange is how long ago that of the comparisons which the node begins ended that lies back farthest. Of two owners one begins:
	// HasExchange is false if the node is never that one.
	Exchange    time.Duration
	HasExchange bool
	// Mended counts the copies that the node's comparisons have mended since it started, on either side.
	Mended uint64
	// Setback is why most of those rounds come to nothing that the node leads, and SetbackPartitions for how many partitions; empty
	// if none does. A round is what proves that all owners of a partition hold the same.
	Setback           string
	SetbackPartitions int
}

// LagFinding is one thing about a node's lag that is yellow or red.
type LagFinding struct {
	Severity Severity
	// What is it, in words, and Why, where that is known.
	What, Why string
}

// String returns What, and Why if that is known.
func (f LagFinding) String() string {
	if f.Why == "" {
		return f.What
	}
	return f.What + ": " + f.Why
}

// PartitionLag is how far one partition lies behind, as the buckets with N replicas see it.
type PartitionLag struct {
	N, Partition int
	// Age is how old the time is up to which all owners were proved to hold the same. Without a proof it is how long the node serves.
	Age time.Duration
	// Rebuilding: the copy has no vote until it has been compared with all others.
	Rebuilding bool
	// Reason is why the last round came to nothing; empty if it did not, or if the node that led it did not say.
	Reason string
}

// lagFromProto is nil for a node that told nothing.
func lagFromProto(l *pb.NodeLag) *Lag {
	if l == nil {
		return nil
	}
	out := &Lag{
		Severity: Severity(l.GetSeverity()), Rebuilding: int(l.GetRebuilding()),
		Hints: l.GetHints(), OldestHint: milliseconds(l.GetOldestHintMs()),
		Exchange: milliseconds(l.GetExchangeMs()), HasExchange: l.ExchangeMs != nil,
		Mended: l.GetMended(), Setback: l.GetSetback(), SetbackPartitions: int(l.GetSetbackPartitions()),
	}
	for _, f := range l.GetFindings() {
		out.Findings = append(out.Findings, LagFinding{Severity: Severity(f.GetSeverity()), What: f.GetWhat(), Why: f.GetWhy()})
	}
	if w := l.GetWorst(); w != nil {
		worst := partitionLagFromProto(w)
		out.Worst = &worst
	}
	return out
}

func partitionLagFromProto(p *pb.PartitionLag) PartitionLag {
	return PartitionLag{
		N: int(p.GetN()), Partition: int(p.GetPartition()), Age: milliseconds(p.GetAgeMs()), Rebuilding: p.GetRebuilding(),
		Reason: p.GetReason(),
	}
}
