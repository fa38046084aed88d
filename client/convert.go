package client

import (
	"time"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func dotFromProto(d *pb.Dot) Dot {
	return Dot{Actor: causal.Actor(d.GetActor()), HLC: causal.HLC(d.GetHlc())}
}

// timeToLive is d in whole milliseconds, rounded away from zero. What is no time that a value may live is for nodes to
// refuse.
func timeToLive(d time.Duration) *pb.TimeToLive {
	ms := d.Milliseconds()
	switch part := d % time.Millisecond; {
	case part > 0:
		ms++
	case part < 0:
		ms--
	}
	return &pb.TimeToLive{Kind: &pb.TimeToLive_Ms{Ms: ms}}
}

func noTimeToLive() *pb.TimeToLive {
	return &pb.TimeToLive{Kind: &pb.TimeToLive_None{None: true}}
}

// expiryFromProto is the zero time for never.
func expiryFromProto(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func versionsFromProto(versions []*pb.Version) []Version {
	out := make([]Version, len(versions))
	for i, v := range versions {
		out[i] = Version{
			Dot: dotFromProto(v.GetDot()), Value: v.GetValue(), Tombstone: v.GetTombstone(), Expires: expiryFromProto(v.GetExpiresAtMs()),
		}
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

// writtenFromPut is writtenFromProto, and says when the value expires.
func writtenFromPut(id RequestID, r *pb.PutResponse) *Written {
	w := writtenFromProto(id, r)
	w.Expires = expiryFromProto(r.GetExpiresAtMs())
	return w
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
