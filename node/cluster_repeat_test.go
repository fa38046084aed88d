package node_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// A put is repeated after somebody who had read it replaced it. The reply must not let the writer replace a value that
// it has never seen.
func TestContextOfARepeatedPut(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	k := key("repeated", "")
	id, err := causal.NewRequestID(time.Now().UnixMilli(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// At all owners, so that whoever is asked next knows of it.
	everywhere := &pb.WriteOptions{W: all, Mode: pb.QuorumMode_QUORUM_MODE_STRICT}
	mine := &pb.PutRequest{Key: k, Value: []byte("mine"), RequestId: id[:], Options: everywhere}
	c.put(0, mine)
	if again := c.put(1, mine); !again.GetRepeated() || len(again.GetContext()) == 0 {
		t.Errorf("a retry of a put that is still there, and alone, has its context: %v", again)
	}
	got := c.want(1, "", k, "mine")
	c.put(2, &pb.PutRequest{Key: k, Value: []byte("theirs"), Context: got.GetContext(), Options: everywhere})
	again := c.put(0, mine)
	if !again.GetRepeated() {
		t.Fatalf("the retry counts as a new write: %v", again)
	}
	next := c.put(0, &pb.PutRequest{Key: k, Value: []byte("my next"), Context: again.GetContext()})
	if next.GetVersions() != 2 {
		t.Errorf("the item has %d versions", next.GetVersions())
	}
	c.want(3, "", k, "theirs", "my next")
}
