package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestBucketIDs(t *testing.T) {
	seen := make(map[uint64]string)
	for i := range 1000 {
		for g := uint64(1); g < 5; g++ {
			name := fmt.Sprint("bucket", i)
			id := BucketID(name, g)
			if id == 0 || seen[id] != "" || id != BucketID(name, g) {
				t.Fatalf("the id of (%s, %d) is %d, as of %q", name, g, id, seen[id])
			}
			seen[id] = name
		}
	}
	// Data on disk stands under these ids: they must never change.
	if id := BucketID("default", 1); id != goldenDefaultID {
		t.Errorf("the id of default is %#x", id)
	}
}

func TestBucketsAreResolved(t *testing.T) {
	w, err := normalize(&pb.Bucket{Name: "b", N: 5, R: numbered(1), Conflict: pb.ConflictPolicy_CONFLICT_POLICY_LWW, Durability: pb.Durability_DURABILITY_MEMORY, TtlMs: 1500}, 5)
	if err != nil {
		t.Fatal(err)
	}
	b := newBucket(&pb.BucketEntry{Bucket: w, Generation: 3})
	if b.N != 5 || b.R != 1 || b.W != 3 || b.Policy != causal.LastWriteWins || b.Sync || b.Generation != 3 || b.TTL != 1500*time.Millisecond {
		t.Errorf("resolved to %+v", b)
	}
	p := b.Proto()
	p.Name = "changed"
	if b.Name != "b" || b.Proto().GetName() != "b" {
		t.Error("the caller of Proto can change the bucket")
	}
}

func TestImpossibleSettingsAreRefused(t *testing.T) {
	for what, in := range map[string]*pb.Bucket{
		"no name":         {},
		"a long name":     {Name: strings.Repeat("x", 256)},
		"invalid UTF-8":   {Name: "a\xff"},
		"a control":       {Name: "a\nb"},
		"n above members": {Name: "b", N: 6},
		"n above 7":       {Name: "b", N: 1 << 31},
		"r above n":       {Name: "b", N: 2, R: numbered(3)},
		"w of 0":          {Name: "b", W: numbered(0)},
		"w three of one":  {Name: "b", N: 1, W: leveled(pb.Level_LEVEL_THREE)},
		"unknown level":   {Name: "b", R: leveled(77)},
		"huge r":          {Name: "b", R: numbered(1<<32 - 1)},
		"conflict":        {Name: "b", Conflict: 9},
		"durability":      {Name: "b", Durability: 9},
		"negative ttl":    {Name: "b", TtlMs: -1},
		"ttl beyond":      {Name: "b", TtlMs: causal.MaxTTL.Milliseconds() + 1},
		"huge ttl":        {Name: "b", TtlMs: 1<<63 - 1},
	} {
		if _, err := normalize(in, 5); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"b", strings.Repeat("x", 255), "größe 🐦", "\ufffd"} {
		if _, err := normalize(&pb.Bucket{Name: name}, 5); err != nil {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func numbered(n uint32) *pb.Consistency {
	return &pb.Consistency{Kind: &pb.Consistency_Replicas{Replicas: n}}
}

func leveled(l pb.Level) *pb.Consistency {
	return &pb.Consistency{Kind: &pb.Consistency_Level{Level: l}}
}

func TestResolveTTL(t *testing.T) {
	ms := func(n int64) *pb.TimeToLive { return &pb.TimeToLive{Kind: &pb.TimeToLive_Ms{Ms: n}} }
	none := func(b bool) *pb.TimeToLive { return &pb.TimeToLive{Kind: &pb.TimeToLive_None{None: b}} }
	for _, c := range []struct {
		in   *pb.TimeToLive
		want time.Duration
		ok   bool
	}{
		{nil, time.Hour, true},
		{&pb.TimeToLive{}, time.Hour, true},
		{none(true), 0, true},
		{none(false), 0, false},
		{ms(1), time.Millisecond, true},
		{ms(causal.MaxTTL.Milliseconds()), causal.MaxTTL, true},
		{ms(causal.MaxTTL.Milliseconds() + 1), 0, false},
		{ms(0), 0, false},
		{ms(-1), 0, false},
		{ms(-1 << 63), 0, false},
		{ms(1<<63 - 1), 0, false},
	} {
		if got, ok := ResolveTTL(c.in, time.Hour); got != c.want || ok != c.ok {
			t.Errorf("%v: %v, %t", c.in, got, ok)
		}
	}
}
