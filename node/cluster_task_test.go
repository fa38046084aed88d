package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// task asks a node for a task as it is.
func (c *cluster) task(at int, id string) (*pb.Task, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	reply, err := c.Admin(at).GetTask(ctx, &pb.GetTaskRequest{Id: id})
	return reply.GetTask(), err
}

// ended waits for the end of a task by asking a node again and again to wait for it.
func (c *cluster) ended(at int, id string) *pb.Task {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for known := uint64(0); ; {
		reply, err := c.Admin(at).GetTask(ctx, &pb.GetTaskRequest{Id: id, WaitMs: 5000, KnownVersion: known})
		if err != nil {
			c.t.Fatal(err)
		}
		if known = reply.GetTask().GetVersion(); reply.GetTask().GetState() != pb.TaskState_TASK_STATE_RUNNING {
			return reply.GetTask()
		}
	}
}

func (c *cluster) startRepair(at int, req *pb.StartRepairRequest) *pb.Task {
	c.t.Helper()
	reply, err := c.Admin(at).StartRepair(c.t.Context(), req)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply.GetTask()
}

func figure(counters []*pb.TaskCounter, name string) *pb.TaskCounter {
	for _, k := range counters {
		if k.GetName() == name {
			return k
		}
	}
	return nil
}

// A node loses items of two buckets behind everybody's back. A repair of one bucket mends that and leaves the other alone; one
// of a single node and of all mends the rest. Any node shows the task.
func TestRepairIsATask(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Nodes: 3, Configure: func(_ int, cfg *config.Config) { cfg.RepairInterval = 0 }})
	c.createBucket(&pb.Bucket{Name: "other"})
	buckets := []string{"default", "other"}
	const items = 10
	for _, b := range buckets {
		for i := range items {
			c.put(0, &pb.PutRequest{Bucket: b, Key: key(fmt.Sprint("item-", i), ""), Value: []byte("v"), Options: &pb.WriteOptions{W: all}})
		}
	}
	ids := []uint64{c.bucket(0, "default").GetId(), c.bucket(0, "other").GetId()}
	c.lose(2)
	s := c.Storage(2)
	for _, id := range ids {
		for i := range items {
			part := fmt.Append(nil, "item-", i)
			k := storage.Key{Bucket: id, Token: uint64(ring.TokenOf(id, part)), Partition: part}
			if err := s.Lose(context.Background(), k, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	t.Run("a node that is down is named", func(t *testing.T) {
		c := c.in(t)
		got := c.ended(1, c.startRepair(0, &pb.StartRepairRequest{}).GetId())
		if got.GetState() != pb.TaskState_TASK_STATE_FAILED || len(got.GetParts()) != 3 || !strings.Contains(got.GetError(), "2 of 3 pairs") {
			t.Fatalf("%v", got)
		}
		for _, p := range got.GetParts() {
			if away := strings.Contains(strings.Join(p.GetNodes(), " "), c.Name(2)); away != strings.Contains(p.GetError(), "is dead") {
				t.Errorf("%v", p)
			}
		}
	})
	c.bring(2)
	c.Eventually("all see each other", func() bool {
		for of := range 3 {
			for by := range 3 {
				if of != by && c.Liveness(of, by) != pb.Liveness_LIVENESS_ALIVE {
					return false
				}
			}
		}
		return true
	})

	t.Run("one bucket", func(t *testing.T) {
		c := c.in(t)
		task := c.startRepair(1, &pb.StartRepairRequest{Bucket: "other"})
		got := c.ended(2, task.GetId())
		if got.GetState() != pb.TaskState_TASK_STATE_DONE || figure(got.GetCounters(), "mended").GetDone() != items {
			t.Fatalf("%v", got)
		}
		if k := figure(got.GetCounters(), "ranges"); k.GetDone() != k.GetTotal() || k.GetTotal() != 3*64 {
			t.Errorf("%v", k)
		}
		if k := figure(got.GetCounters(), "pairs"); k.GetDone() != 3 || k.GetTotal() != 3 {
			t.Errorf("%v", k)
		}
		if a := got.GetArguments(); len(a) != 1 || a[0].GetValue() != "other" || got.GetNode() != c.Name(1) {
			t.Errorf("%v", got)
		}
	})
	t.Run("one node", func(t *testing.T) {
		c := c.in(t)
		id := c.ID(2)
		got := c.ended(0, c.startRepair(0, &pb.StartRepairRequest{NodeId: id[:]}).GetId())
		if got.GetState() != pb.TaskState_TASK_STATE_DONE || figure(got.GetCounters(), "mended").GetDone() != items || len(got.GetParts()) != 2 {
			t.Fatalf("%v", got)
		}
	})
	t.Run("some partitions, and nothing to do", func(t *testing.T) {
		c := c.in(t)
		got := c.ended(0, c.startRepair(0, &pb.StartRepairRequest{Partitions: []uint32{63, 0, 7, 7}}).GetId())
		if figure(got.GetCounters(), "ranges").GetDone() != 3*3 || figure(got.GetCounters(), "mended").GetDone() != 0 || got.GetArguments()[0].GetValue() != "0,7,63" {
			t.Fatalf("%v", got)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		c := c.in(t)
		for reason, req := range map[pb.Reason]*pb.StartRepairRequest{
			pb.Reason_REASON_UNKNOWN_BUCKET:   {Bucket: "nothing"},
			pb.Reason_REASON_INVALID_ARGUMENT: {Partitions: []uint32{64}},
		} {
			_, err := c.Admin(0).StartRepair(t.Context(), req)
			wantReason(t, "repair", err, reason)
		}
		_, err := c.Admin(0).StartRepair(t.Context(), &pb.StartRepairRequest{Partitions: make([]uint32, 65)})
		wantReason(t, "repair of more than there is", err, pb.Reason_REASON_INVALID_ARGUMENT)
		_, err = c.Admin(0).StartRepair(t.Context(), &pb.StartRepairRequest{NodeId: make([]byte, 16)})
		wantReason(t, "repair of nobody", err, pb.Reason_REASON_INVALID_ARGUMENT)
		for _, id := range []string{"", "n1", "n1:", ":1", "n1:nothing", "n2:nothing", "nobody:1"} {
			_, err := c.task(0, id)
			wantReason(t, "get "+id, err, pb.Reason_REASON_UNKNOWN_TASK)
			_, err = c.Admin(0).CancelTask(t.Context(), &pb.CancelTaskRequest{Id: id})
			wantReason(t, "cancel "+id, err, pb.Reason_REASON_UNKNOWN_TASK)
			if status.Code(err) != codes.NotFound {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
	t.Run("lists", func(t *testing.T) {
		c := c.in(t)
		list, err := c.Admin(2).ListTasks(t.Context(), &pb.ListTasksRequest{})
		if err != nil || len(list.GetTasks()) != 4 || len(list.GetMissing()) != 0 {
			t.Fatalf("%v, %v", list, err)
		}
		for i, got := range list.GetTasks() {
			if len(got.GetParts()) != 0 || i > 0 && got.GetStartedMs() > list.GetTasks()[i-1].GetStartedMs() {
				t.Errorf("%v", got)
			}
		}
		if own, err := c.Admin(1).ListTasks(t.Context(), &pb.ListTasksRequest{Local: true}); err != nil || len(own.GetTasks()) != 1 {
			t.Errorf("%v, %v", own, err)
		}
	})
	t.Run("cancelled by way of another node", func(t *testing.T) {
		c := c.in(t)
		for from := range 3 {
			for to := range 3 {
				c.Delay(from, to, 200*time.Millisecond)
			}
		}
		defer c.Heal()
		task := c.startRepair(2, &pb.StartRepairRequest{})
		if got, err := c.Admin(0).CancelTask(t.Context(), &pb.CancelTaskRequest{Id: task.GetId()}); err != nil || got.GetTask().GetId() != task.GetId() {
			t.Fatalf("%v, %v", got, err)
		}
		if got := c.ended(1, task.GetId()); got.GetState() != pb.TaskState_TASK_STATE_CANCELLED || len(got.GetParts()) > 1 || got.GetEndedMs() == 0 {
			t.Errorf("%v", got)
		}
	})
	t.Run("a task whose node is away", func(t *testing.T) {
		c := c.in(t)
		task := c.startRepair(1, &pb.StartRepairRequest{})
		c.ended(1, task.GetId())
		c.lose(1)
		_, err := c.task(0, task.GetId())
		wantReason(t, "get", err, pb.Reason_REASON_NOT_READY)
		if !strings.Contains(err.Error(), c.Name(1)) {
			t.Error(err)
		}
		if list, err := c.Admin(0).ListTasks(t.Context(), &pb.ListTasksRequest{}); err != nil || len(list.GetMissing()) != 1 || list.GetMissing()[0] != c.Name(1) {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// A node that stops waits neither for its tasks nor for those who wait for one.
func TestStopEndsTasks(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Nodes: 3, Configure: func(_ int, cfg *config.Config) { cfg.RepairInterval = 0 }})
	for from := range 3 {
		for to := range 3 {
			c.Delay(from, to, 300*time.Millisecond)
		}
	}
	task := c.startRepair(0, &pb.StartRepairRequest{})
	waited := make(chan error, 1)
	conn := c.Admin(0)
	go func() {
		for known := uint64(0); ; {
			reply, err := conn.GetTask(t.Context(), &pb.GetTaskRequest{Id: task.GetId(), WaitMs: 30_000, KnownVersion: known})
			if err != nil {
				waited <- err
				return
			}
			known = reply.GetTask().GetVersion()
		}
	}()
	began := time.Now()
	c.Stop(0)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := <-waited; status.Code(err) != codes.Unavailable {
		t.Errorf("who waited was told %v", err)
	}
}
