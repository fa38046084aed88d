package node_test

import (
	"testing"
	"time"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Outside of their window nodes compare with nobody by themselves, nor lead rounds, and do compare when they are told to. With an
// interval of a second they would have begun long ago.
func TestNoRepairOutsideOfTheWindow(t *testing.T) {
	from := time.Now().Add(2 * time.Hour)
	later, err := config.ParseWindow(from.Format("15:04") + "-" + from.Add(time.Hour).Format("15:04"))
	if err != nil {
		t.Fatal(err)
	}
	c := besideOthers(t, testcluster.Options{Configure: func(_ int, cfg *config.Config) {
		cfg.RepairInterval, cfg.RepairWindow = time.Second, later
	}})
	exchanges := func(nodes ...int) (sum int) {
		for _, i := range nodes {
			sum += c.repairedBy(i, "exchanges_total")
		}
		return sum
	}
	time.Sleep(4 * time.Second)
	if n := exchanges(0, 1, 2, 3, 4); n != 0 {
		t.Errorf("%d exchanges outside of the window", n)
	}
	if got := c.ended(0, c.startRepair(0, &pb.StartRepairRequest{}).GetId()); got.GetState() != pb.TaskState_TASK_STATE_DONE || exchanges(0, 1) == 0 {
		t.Errorf("%v", got)
	}
}
