package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// The clock of a node that takes writes jumps an hour ahead, and is set right again. Nothing is ever dated ahead, other nodes
// take the writes, and afterwards the node serves as before.
func TestClockJump(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	owners, _ := c.Owners("", key("jump", "").GetPartitionKey())
	wrong := owners[0]
	c.put(wrong, &pb.PutRequest{Key: key("jump", "before"), Value: []byte("x")})
	c.SetClock(wrong, time.Hour)
	for i := range 20 {
		resp, err := c.tryPut(wrong, &pb.PutRequest{Key: key("jump", fmt.Sprint(i)), Value: []byte("x")})
		if err != nil {
			wantReason(t, "a put at the node whose clock jumped", err, pb.Reason_REASON_NOT_READY)
		} else if ahead := time.Until(dateOf(resp)); ahead > 2*time.Second {
			t.Fatalf("a write is dated %v ahead", ahead)
		}
		other := owners[1]
		resp = c.put(other, &pb.PutRequest{Key: key("jump", fmt.Sprint("other", i)), Value: []byte("x")})
		if ahead := time.Until(dateOf(resp)); ahead > 2*time.Second {
			t.Fatalf("a write through another node is dated %v ahead", ahead)
		}
	}
	c.SetClock(wrong, 0)
	c.WaitReady()
	resp := c.put(wrong, &pb.PutRequest{Key: key("jump", "after"), Value: []byte("x"), Options: &pb.WriteOptions{W: all}})
	if ahead := time.Until(dateOf(resp)); ahead > 2*time.Second || ahead < -time.Minute {
		t.Errorf("a write after the clock was set right is dated %v ahead", ahead)
	}
	c.want(owners[1], "", key("jump", "after"), "x")
}
