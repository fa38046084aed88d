package decide

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/starling-db/starling/internal/paxos"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/state"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// largestEpoch encodes the joint epoch that takes the most bytes: the most partitions, members and owners, and marks of which
// no two neighbours are equal, of numbers as large as this one.
func largestEpoch(t *testing.T, number uint64) []byte {
	t.Helper()
	in := ring.PlanInput{Partitions: 4096, Replicas: ring.MaxReplicas}
	for i := range ring.MaxMembers {
		id := ring.NodeID{0: 1, 14: byte(i >> 8), 15: byte(i)}
		in.Members = append(in.Members, ring.Member{ID: id, Zone: fmt.Sprintf("zone-%05d", i), Weight: 1 << 20})
	}
	planned, err := ring.Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	base, err := ring.Split(planned, ring.MaxPartitions/2, 1)
	if err != nil {
		t.Fatal(err)
	}
	next, err := ring.Split(base, ring.MaxPartitions, 2)
	if err != nil {
		t.Fatal(err)
	}
	b := binary.AppendUvarint([]byte{1, 1}, number)
	for _, l := range []*ring.Layout{base, next} {
		whole := ring.AppendEpoch(nil, ring.Genesis(l))
		cells := binary.AppendUvarint(nil, uint64(l.Partitions()*ring.MaxReplicas))
		b = append(b, whole[3:len(whole)-2*(len(cells)+1)]...) // without format, kind and number, nor its two tables
	}
	for range 3 {
		for i := range ring.MaxPartitions * ring.MaxReplicas {
			b = binary.AppendUvarint(b, 1)
			b = binary.AppendUvarint(b, number-uint64(i&1))
		}
	}
	return b
}

// TestLargestEpoch: it fits into a value, and what carries values fits around it.
func TestLargestEpoch(t *testing.T) {
	b := largestEpoch(t, 1<<34)
	if e, err := ring.DecodeEpoch(b); err != nil || e.Number != 1<<34 {
		t.Fatalf("it is no epoch: %v", err)
	}
	t.Logf("%d bytes", len(b))
	if len(b) > paxos.MaxValueBytes {
		t.Errorf("%d bytes, but values have at most %d", len(b), paxos.MaxValueBytes)
	}
	const rest = 4 << 20 // of a document: 4,096 nodes and as many buckets
	if paxos.MaxValueBytes+rest > state.MaxDocumentBytes {
		t.Error("no room for it in a document")
	}
	if state.MaxDocumentBytes > storage.MaxMeta {
		t.Error("no room for a document on disk")
	}
	if limits := (transport.Options{}).EnsureDefaults(); 2*state.MaxDocumentBytes > limits.MessageBytes {
		t.Error("no room for it in a message")
	}
}
