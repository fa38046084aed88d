package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// reasonNotReady is what a node says of itself when it takes no requests; empty when it does.
func (c *cluster) reasonNotReady(i int) string {
	st, err := c.Status(i)
	if err != nil {
		return err.Error()
	}
	for _, n := range st.GetNodes() {
		if n.GetName() == c.Name(i) {
			return n.GetReason()
		}
	}
	return "it does not know itself"
}

// A node whose clock is off, from its start on or from one moment to the next, says so and takes no requests; the
// others go on by their own clocks, and it serves again when its clock is set right.
func TestClockOff(t *testing.T) {
	c := newCluster(t, testcluster.Options{})
	const wrong = 2
	for _, test := range []struct {
		name    string
		off     time.Duration
		restart bool // starts with the wrong clock
		again   bool // starts once more with the right one
	}{
		{"an hour ahead, at once", time.Hour, false, false},
		{"an hour ahead, from the start", time.Hour, true, false},
		{"an hour ahead, from one start to the next", time.Hour, true, true},
		{"an hour behind, at once", -time.Hour, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.in(t)
			if test.restart {
				c.Stop(wrong)
			}
			c.SetClock(wrong, test.off)
			if test.restart {
				c.Start(wrong)
			}
			c.Eventually("the node says that its clock is off", func() bool {
				return strings.Contains(c.reasonNotReady(wrong), "its clock is off by")
			})
			_, err := c.tryPut(wrong, &pb.PutRequest{Key: key("wrong", ""), Value: []byte("x")})
			wantReason(t, "a put at a node whose clock is off", err, pb.Reason_REASON_NOT_READY)
			_, err = c.tryGet(wrong, &pb.GetRequest{Key: key("wrong", "")})
			wantReason(t, "a get at a node whose clock is off", err, pb.Reason_REASON_NOT_READY)
			for i := range c.Size() {
				if i == wrong {
					continue
				}
				for n := range 20 {
					k := key(t.Name()+numbered(c.Name(i), n), "")
					resp := c.put(i, &pb.PutRequest{Key: k, Value: []byte("fine"), Options: &pb.WriteOptions{Explain: true}})
					if resp.GetExplain().GetCoordinator() == c.Name(wrong) {
						t.Errorf("the node whose clock is off coordinated a write")
					}
					got := c.get(i, &pb.GetRequest{Key: k})
					if have := valuesOf(got.GetVersions()); len(have) != 1 || have[0] != "fine" {
						t.Errorf("%q through %s: %q", k.GetPartitionKey(), c.Name(i), have)
					}
				}
				k := key(t.Name()+c.Name(i), "dated")
				if ahead := time.Until(dateOf(c.put(i, &pb.PutRequest{Key: k, Value: []byte("now")}))); ahead > time.Second || ahead < -time.Minute {
					t.Errorf("a write through %s is dated %v ahead", c.Name(i), ahead)
				}
			}
			if test.again {
				c.Crash(wrong)
			}
			c.SetClock(wrong, 0)
			if test.again {
				c.Start(wrong)
			}
			c.WaitReady()
			resp := c.put(wrong, &pb.PutRequest{Key: key(t.Name(), "after"), Value: []byte("right"), Options: &pb.WriteOptions{W: all}})
			if ahead := time.Until(dateOf(resp)); ahead > time.Second || ahead < -time.Minute {
				t.Errorf("a write of the node that was set right is dated %v ahead", ahead)
			}
		})
	}
}

func dateOf(resp *pb.PutResponse) time.Time {
	return time.UnixMilli(int64(resp.GetDot().GetHlc() >> 16))
}
