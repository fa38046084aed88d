package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/testcluster"
)

// Against real nodes, whose messages go so slowly that a repair takes its time.
func TestTasks(t *testing.T) {
	cluster := testcluster.New(t, testcluster.Options{Nodes: 3})
	c := cluster.Client()
	for want, scope := range map[error]client.RepairScope{
		client.ErrUnknownBucket:   {Bucket: "nothing"},
		client.ErrInvalidArgument: {Partitions: []int{1 << 20}},
	} {
		if _, err := c.StartRepair(t.Context(), scope); !errors.Is(err, want) {
			t.Errorf("%+v: %v", scope, err)
		}
	}
	for from := range 3 {
		for to := range 3 {
			cluster.Delay(from, to, 100*time.Millisecond)
		}
	}
	began, err := c.StartRepair(t.Context(), client.RepairScope{Bucket: "default"})
	if err != nil || began.State != client.TaskRunning || began.Kind != "repair" || began.Arguments[0] != (client.TaskArgument{Name: "bucket", Value: "default"}) {
		t.Fatalf("%+v, %v", began, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.WaitTask(ctx, began.ID, func(*client.Task) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits no longer is told %v", err)
	}
	// Each question is given less time than the task takes.
	last := int64(0)
	done, err := c.WaitTask(t.Context(), began.ID, func(now *client.Task) {
		ranges := now.Counter("ranges")
		if ranges.Done < last || ranges.Total != 3*64 {
			t.Errorf("%+v after %d", ranges, last)
		}
		last = ranges.Done
	}, client.Timeout(2*time.Second))
	if err != nil || done.State != client.TaskDone || last != 3*64 || len(done.Parts) != 3 || done.Ended.Before(done.Started) {
		t.Fatalf("%+v, %v", done, err)
	}
	if p := done.Parts[0]; len(p.Nodes) != 2 || p.Counter("ranges").Done != 64 || p.Counter("nothing").Done != 0 {
		t.Errorf("%+v", p)
	}
	list, err := c.Tasks(t.Context())
	if err != nil || len(list.Tasks) != 1 || list.Tasks[0].ID != began.ID || list.Tasks[0].NodeName != began.NodeName || len(list.Missing) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if got, err := c.CancelTask(t.Context(), began.ID); err != nil || got.State != client.TaskDone {
		t.Errorf("cancelled after its end: %+v, %v", got, err)
	}
	for _, id := range []string{"", "nobody:1", began.NodeName + ":nothing"} {
		_, got := c.Task(t.Context(), id)
		_, waited := c.WaitTask(t.Context(), id, nil)
		_, cancelled := c.CancelTask(t.Context(), id)
		if !errors.Is(got, client.ErrUnknownTask) || !errors.Is(waited, client.ErrUnknownTask) || !errors.Is(cancelled, client.ErrUnknownTask) {
			t.Errorf("%q: %v, %v, %v", id, got, waited, cancelled)
		}
	}
	if got := client.TaskState(9).String() + client.TaskCancelled.String(); got != "unknowncancelled" {
		t.Error(got)
	}
}
