package client

import (
	"slices"
	"testing"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]Level{
		"one": One, "Two": Two, "three": Three, "QUORUM": Quorum, "all": All, "1": One, "5": Replicas(5),
	} {
		got, err := ParseLevel(text)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if back, err := ParseLevel(got.String()); err != nil || back != want {
			t.Errorf("%q does not survive its text %q", text, got)
		}
		if back := levelFromProto(got.proto()); back != want {
			t.Errorf("%q becomes %v on the wire", text, back)
		}
	}
	for _, text := range []string{"", "0", "-1", "quorun", "99999999999", "1.5", "default"} {
		if got, err := ParseLevel(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	if Default.proto() != nil {
		t.Error("the default is not left to the bucket")
	}
	if n, ok := Replicas(0).proto().GetKind().(*pb.Consistency_Replicas); !ok || n.Replicas != 0 {
		t.Error("a wrong number must reach the server, which refuses it")
	}
}

func TestParsedNames(t *testing.T) {
	if d, err := ParseDurability("memory"); err != nil || d != DurabilityMemory || d.String() != "memory" {
		t.Error(d, err)
	}
	if _, err := ParseDurability("disk"); err == nil {
		t.Error("disk is a durability")
	}
	if c, err := ParseConflict("LWW"); err != nil || c != ConflictLWW || c.String() != "lww" {
		t.Error(c, err)
	}
	if _, err := ParseConflict("crdt"); err == nil {
		t.Error("crdt is a conflict policy")
	}
	if Mode(9).String() != "strict" || Durability(9).String() != "memory" || Liveness(9).String() != "unknown" {
		t.Error("values from newer servers must have a name")
	}
}

func FuzzParseContext(f *testing.F) {
	f.Add("")
	f.Add("AAEC_-8")
	f.Add("not base64!")
	f.Add("AAEC/+8=")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseContext(s)
		if err != nil {
			return
		}
		back, err := ParseContext(c.String())
		if err != nil || back != c || c.IsZero() != (len(c.Bytes()) == 0) {
			t.Fatalf("%q: %v, %v", s, back, err)
		}
	})
}

func FuzzTopology(f *testing.F) {
	f.Add([]byte{}, []byte("0123456789abcdef"), "addr")
	f.Add([]byte{1, 2, 3}, []byte("short"), "")
	f.Fuzz(func(t *testing.T, epoch, id []byte, addr string) {
		reply := &pb.RingResponse{
			Epoch:   epoch,
			Nodes:   []*pb.NodeAddress{{Id: id, ClientAddr: addr}, nil},
			Buckets: []*pb.Bucket{{Name: "b", Id: 1, N: 3}, nil},
		}
		topology, err := newTopology(reply, nil)
		if err != nil {
			return
		}
		topology.preference("b", []byte("k"))
		topology.preference("other", nil)
	})
}

func TestFailuresOf(t *testing.T) {
	low, high := ring.NodeID{1}, ring.NodeID{2}
	got := failuresOf(map[string]string{
		"required": "2", "failed-" + high.String(): "late", "failed-" + low.String(): "gone", "failed-nobody": "?", "failed-": "",
	})
	if want := []ReplicaFailure{{low, "gone"}, {high, "late"}}; !slices.Equal(got, want) {
		t.Fatal(got)
	}
	if failuresOf(nil) != nil {
		t.Fatal("failures of nothing")
	}
}

func TestBudget(t *testing.T) {
	var b budget
	for i := range budgetMax {
		if !b.take() {
			t.Fatalf("no retry after %d", i)
		}
	}
	if b.take() {
		t.Fatal("more retries than the budget has")
	}
	for range 5 {
		b.earn()
	}
	if !b.take() || b.take() {
		t.Fatal("five calls pay for one retry")
	}
}

func TestServerClock(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	c := serverClock{now: func() time.Time { return now }}
	if c.nowMillis() != 1_000_000 {
		t.Fatal("without a sample the local clock counts")
	}
	c.learn(5_000_000, now, now.Add(200*time.Millisecond))
	now = now.Add(1100 * time.Millisecond)
	if got := c.nowMillis(); got != 5_001_000 {
		t.Fatalf("%d", got)
	}
	c.learn(9_000_000, now, now.Add(5*time.Second))
	if got := c.nowMillis(); got != 5_001_000 {
		t.Fatalf("a sample that took 5 s moves the estimate to %d", got)
	}
	c.learn(0, now, now)
	if got := c.nowMillis(); got != 5_001_000 {
		t.Fatalf("no time moves the estimate to %d", got)
	}
}

func TestResultOfTombstones(t *testing.T) {
	r := Result{Versions: []Version{{Tombstone: true}, {Value: []byte("v")}}}
	if !r.Found() || !r.Siblings() {
		t.Errorf("%+v", r)
	}
	if k := NewKey("a\x00", "é").String(); k != `"a\x00"/"é"` {
		t.Error(k)
	}
}
