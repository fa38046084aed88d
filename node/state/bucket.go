package state

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spaolacci/murmur3"
	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

const (
	// DefaultBucket exists from the founding on and can't be dropped.
	DefaultBucket = "default"
	// MaxBucketName bounds a bucket's name, in bytes.
	MaxBucketName = 255
	// MaxReplicas bounds a bucket's N.
	MaxReplicas = 7
	// MaxBuckets bounds how many names of buckets a cluster may have used, those of dropped ones included.
	MaxBuckets = 4096

	// defaultReplicas is N when a request to create a bucket does not say.
	defaultReplicas = 3
	// maxGeneration bounds how often one name may be dropped and created again.
	maxGeneration = 1 << 16
)

// Bucket is a namespace with its settings resolved: R and W are numbers of replicas. Shared and immutable.
type Bucket struct {
	ID         uint64
	Name       string
	Generation uint64
	N, R, W    int
	Policy     causal.Policy
	// Sync: a replica acknowledges a write after its fsync, unless the request asks otherwise.
	Sync bool
	// TTL is how long a value lives whose put doesn't say; 0: for ever.
	TTL time.Duration

	wire *pb.Bucket
}

// Proto returns a copy of the bucket as clients see it, its R and W as they were asked for.
func (b *Bucket) Proto() *pb.Bucket { return proto.CloneOf(b.wire) }

// BucketID is the id of the bucket that has this name in this generation: never 0, the same on every node,
// and another one after a drop, so that what is left of the dropped bucket's data can't be taken for new.
func BucketID(name string, generation uint64) uint64 {
	b := make([]byte, 8, 8+len(name))
	binary.BigEndian.PutUint64(b, generation)
	if id := murmur3.Sum64(append(b, name...)); id != 0 {
		return id
	}
	return 1
}

// newBucket resolves a valid entry of the document.
func newBucket(e *pb.BucketEntry) *Bucket {
	w := e.GetBucket()
	n := int(w.GetN())
	r, _ := Resolve(w.GetR(), n)
	wq, _ := Resolve(w.GetW(), n)
	b := &Bucket{
		ID: w.GetId(), Name: w.GetName(), Generation: e.GetGeneration(),
		N: n, R: r, W: wq,
		Policy: causal.Siblings,
		Sync:   w.GetDurability() == pb.Durability_DURABILITY_SYNC,
		TTL:    millis(w.GetTtlMs()),
		wire:   w,
	}
	if w.GetConflict() == pb.ConflictPolicy_CONFLICT_POLICY_LWW {
		b.Policy = causal.LastWriteWins
	}
	return b
}

// Resolve turns a consistency into a number of replicas. ok is false when there is no such number between 1
// and n.
func Resolve(c *pb.Consistency, n int) (replicas int, ok bool) {
	switch k := c.GetKind().(type) {
	case *pb.Consistency_Replicas:
		if k.Replicas > MaxReplicas {
			return 0, false
		}
		replicas = int(k.Replicas)
	case *pb.Consistency_Level:
		switch k.Level {
		case pb.Level_LEVEL_ONE:
			replicas = 1
		case pb.Level_LEVEL_TWO:
			replicas = 2
		case pb.Level_LEVEL_THREE:
			replicas = 3
		case pb.Level_LEVEL_QUORUM:
			replicas = n/2 + 1
		case pb.Level_LEVEL_ALL:
			replicas = n
		}
	}
	return replicas, replicas >= 1 && replicas <= n
}

// ResolveTTL turns what a request says of a time to live into one, 0 for none; def is what it gets that says nothing. ok
// is false when there is no such time.
func ResolveTTL(t *pb.TimeToLive, def time.Duration) (ttl time.Duration, ok bool) {
	switch k := t.GetKind().(type) {
	case *pb.TimeToLive_Ms:
		if !causal.CheckTTL(k.Ms) {
			return 0, false
		}
		return millis(k.Ms), true
	case *pb.TimeToLive_None:
		return 0, k.None
	default:
		return def, true
	}
}

// millis is a duration of so many milliseconds, which causal.CheckTTL has passed.
func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// ttlBounds is what a bucket's time to live must be, for messages.
const ttlBounds = "must be 1 ms to 36,500 days, or none"

// normalize fills what a request to create a bucket leaves out and checks the rest against a cluster of so
// many members. Id and times stay unset.
func normalize(in *pb.Bucket, members int) (*pb.Bucket, error) {
	out := &pb.Bucket{
		Name: in.GetName(), N: in.GetN(),
		R: level(in.GetR()), W: level(in.GetW()),
		Conflict: in.GetConflict(), Durability: in.GetDurability(), TtlMs: in.GetTtlMs(),
	}
	if out.N == 0 {
		out.N = uint32(min(defaultReplicas, members))
	}
	if out.Conflict == pb.ConflictPolicy_CONFLICT_POLICY_UNSPECIFIED {
		out.Conflict = pb.ConflictPolicy_CONFLICT_POLICY_SIBLINGS
	}
	if out.Durability == pb.Durability_DURABILITY_UNSPECIFIED {
		out.Durability = pb.Durability_DURABILITY_SYNC
	}
	if int64(out.N) > int64(members) {
		return nil, &InvalidError{out.Name, "n", "is more than the cluster has members"}
	}
	return out, checkSettings(out)
}

// level returns c, or quorum when c says nothing.
func level(c *pb.Consistency) *pb.Consistency {
	if unset(c) {
		return &pb.Consistency{Kind: &pb.Consistency_Level{Level: pb.Level_LEVEL_QUORUM}}
	}
	return proto.CloneOf(c)
}

func unset(c *pb.Consistency) bool {
	k, isLevel := c.GetKind().(*pb.Consistency_Level)
	return c.GetKind() == nil || isLevel && k.Level == pb.Level_LEVEL_UNSPECIFIED
}

// checkSettings checks a bucket's name and settings, all of which must be set.
func checkSettings(b *pb.Bucket) error {
	if err := checkName(b.GetName()); err != nil {
		return err
	}
	invalid := func(setting, why string) error { return &InvalidError{b.GetName(), setting, why} }
	n := int(min(b.GetN(), MaxReplicas+1))
	if n < 1 || n > MaxReplicas {
		return invalid("n", "must be 1 to 7")
	}
	if _, ok := Resolve(b.GetR(), n); !ok {
		return invalid("r", "must be a known level, or 1 to n replicas")
	}
	if _, ok := Resolve(b.GetW(), n); !ok {
		return invalid("w", "must be a known level, or 1 to n replicas")
	}
	switch b.GetConflict() {
	case pb.ConflictPolicy_CONFLICT_POLICY_SIBLINGS, pb.ConflictPolicy_CONFLICT_POLICY_LWW:
	default:
		return invalid("conflict", "must be siblings or lww")
	}
	switch b.GetDurability() {
	case pb.Durability_DURABILITY_SYNC, pb.Durability_DURABILITY_MEMORY:
	default:
		return invalid("durability", "must be sync or memory")
	}
	if ms := b.GetTtlMs(); ms != 0 && !causal.CheckTTL(ms) {
		return invalid("ttl", ttlBounds)
	}
	return nil
}

// checkName checks a bucket's name.
func checkName(name string) error {
	if name == "" || len(name) > MaxBucketName {
		return &InvalidError{name, "name", "must have 1 to 255 bytes"}
	}
	if !utf8.ValidString(name) {
		return &InvalidError{name, "name", "must be valid UTF-8"}
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return &InvalidError{name, "name", "must not contain control characters"}
	}
	return nil
}

// sameSettings reports whether two normalized buckets of one name were asked for alike.
func sameSettings(a, b *pb.Bucket) bool {
	n := int(a.GetN())
	ar, _ := Resolve(a.GetR(), n)
	br, _ := Resolve(b.GetR(), n)
	aw, _ := Resolve(a.GetW(), n)
	bw, _ := Resolve(b.GetW(), n)
	return a.GetN() == b.GetN() && ar == br && aw == bw &&
		a.GetConflict() == b.GetConflict() && a.GetDurability() == b.GetDurability() &&
		a.GetTtlMs() == b.GetTtlMs()
}
