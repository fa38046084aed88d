package client

import (
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Explain tells what the coordinator did for one call.
type Explain struct {
	// Coordinator ran the call; ReceivedBy took it from the client, if that is another node.
	Coordinator, ReceivedBy string
	// Token and Partition say where on the ring the item lies, Epoch is the number of the ring that was used.
	Token     uint64
	Partition int
	Epoch     uint64
	// N is the bucket's, Required the R or W of the call, Received what it got.
	N, Required, Received int
	// Mode says whether fallbacks could count.
	Mode Mode
	// Duration is from the start of the coordination to the reply.
	Duration time.Duration
	// Replicas are in the order in which they were asked.
	Replicas []ReplicaTrace
}

// ReplicaTrace is what one replica was asked, and did.
type ReplicaTrace struct {
	// Node and Zone are names.
	Node, Zone string
	// Fallback: the node is no owner of the item.
	Fallback bool
	// HintFor is the owner for which the node keeps a hint.
	HintFor string
	// Hedged: asked because another was slow.
	Hedged bool
	// Action is "read", "digest", "write", "write-back", "repair" or "hint".
	Action string
	// Asked and Answered count from the start of the coordination; Answered is 0 when no answer came
	// before the reply.
	Asked, Answered time.Duration
	// Outcome is "ok", "pending", or the reason of the failure.
	Outcome string
	// Versions are those that it held or was sent.
	Versions []Dot
	// Repaired: its answer was stale, and it was sent the newer state.
	Repaired bool
}

func explainFromProto(x *pb.Explain) *Explain {
	if x == nil {
		return nil
	}
	out := &Explain{
		Coordinator: x.GetCoordinator(),
		ReceivedBy:  x.GetReceivedBy(),
		Token:       x.GetToken(),
		Partition:   int(x.GetPartition()),
		Epoch:       x.GetEpoch(),
		N:           int(x.GetN()),
		Required:    int(x.GetRequired()),
		Received:    int(x.GetReceived()),
		Mode:        modeFromProto(x.GetMode()),
		Duration:    microseconds(x.GetDurationUs()),
		Replicas:    make([]ReplicaTrace, len(x.GetReplicas())),
	}
	for i, r := range x.GetReplicas() {
		out.Replicas[i] = ReplicaTrace{
			Node: r.GetNode(), Zone: r.GetZone(),
			Fallback: r.GetFallback(), HintFor: r.GetHintFor(), Hedged: r.GetHedged(),
			Action: r.GetAction(), Outcome: r.GetOutcome(), Repaired: r.GetRepaired(),
			Asked: microseconds(r.GetAskedUs()), Answered: microseconds(r.GetAnsweredUs()),
			Versions: dotsFromProto(r.GetVersions()),
		}
	}
	return out
}

func modeFromProto(m pb.QuorumMode) Mode {
	switch m {
	case pb.QuorumMode_QUORUM_MODE_SLOPPY:
		return ModeSloppy
	case pb.QuorumMode_QUORUM_MODE_STRICT:
		return ModeStrict
	}
	return ModeDefault
}

func dotsFromProto(dots []*pb.Dot) []Dot {
	out := make([]Dot, len(dots))
	for i, d := range dots {
		out[i] = dotFromProto(d)
	}
	return out
}

// microseconds converts a count from the wire; absurd ones are cut to the longest Duration.
func microseconds(us uint64) time.Duration {
	const longest = uint64(1<<63-1) / uint64(time.Microsecond)
	return time.Duration(min(us, longest)) * time.Microsecond
}
