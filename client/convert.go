package client

import (
	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func dotFromProto(d *pb.Dot) Dot {
	return Dot{Actor: causal.Actor(d.GetActor()), HLC: causal.HLC(d.GetHlc())}
}

func versionsFromProto(versions []*pb.Version) []Version {
	out := make([]Version, len(versions))
	for i, v := range versions {
		out[i] = Version{Dot: dotFromProto(v.GetDot()), Value: v.GetValue(), Tombstone: v.GetTombstone()}
		// Not the server's to get wrong, but no reason to fail a read either: the id only informs.
		copy(out[i].RequestID[:], v.GetRequestId())
	}
	return out
}

func resultFromProto(r *pb.GetResponse) *Result {
	return &Result{
		Versions:  versionsFromProto(r.GetVersions()),
		Context:   ContextFromBytes(r.GetContext()),
		Answered:  int(r.GetAnswered()),
		Fallbacks: int(r.GetFallbacks()),
		Explain:   explainFromProto(r.GetExplain()),
	}
}

func itemFromProto(i *pb.Item) Item {
	return Item{
		Key:      Key{Partition: i.GetKey().GetPartitionKey(), Sort: i.GetKey().GetSortKey()},
		Versions: versionsFromProto(i.GetVersions()),
		Context:  ContextFromBytes(i.GetContext()),
	}
}

// writeReply is what PutResponse and DeleteResponse have in common.
type writeReply interface {
	GetDot() *pb.Dot
	GetContext() []byte
	GetAcknowledged() uint32
	GetFallbacks() uint32
	GetVersions() uint32
	GetRepeated() bool
	GetExplain() *pb.Explain
}

func writtenFromProto(id RequestID, r writeReply) *Written {
	return &Written{
		Dot:          dotFromProto(r.GetDot()),
		RequestID:    id,
		Context:      ContextFromBytes(r.GetContext()),
		Acknowledged: int(r.GetAcknowledged()),
		Fallbacks:    int(r.GetFallbacks()),
		Versions:     int(r.GetVersions()),
		Repeated:     r.GetRepeated(),
		Explain:      explainFromProto(r.GetExplain()),
	}
}
