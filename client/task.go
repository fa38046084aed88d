package client

import (
	"context"
	"time"

	"google.golang.org/grpc"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// TaskState is how a task stands.
type TaskState uint8

// States of tasks. From TaskDone on they are final.
const (
	TaskUnknown TaskState = iota
	TaskRunning
	TaskDone
	// TaskFailed: some or all of it could not be done. Task.Error says why, the parts say what.
	TaskFailed
	// TaskCancelled: by CancelTask, or because the task's node stopped.
	TaskCancelled
)

// String returns "running", "done", "failed", "cancelled" or "unknown".
func (s TaskState) String() string {
	if s > TaskCancelled {
		s = TaskUnknown
	}
	return [...]string{"unknown", "running", "done", "failed", "cancelled"}[s]
}

// Task is a long operation that a node carries out by itself, as it is at a moment.
type Task struct {
	// ID is unique in the cluster, and names the task's node.
	ID string
	// Kind is what it does, such as "repair".
	Kind string
	// Node carries it out, and is called NodeName.
	Node     NodeID
	NodeName string
	// Arguments are what it was told.
	Arguments []TaskArgument
	State     TaskState
	// Started and Ended are by its node's clock; Ended is zero while it runs.
	Started, Ended time.Time
	// Counters are how far it has come.
	Counters []TaskCounter
	// Parts are what has ended of it; there are none in a list of tasks. PartsLeftOut counts those for which there was no room.
	Parts        []TaskPart
	PartsLeftOut int
	// Error says why it failed.
	Error string

	version uint64
}

// TaskArgument is one of the things that a task was told.
type TaskArgument struct{ Name, Value string }

// TaskCounter is how far a task has come in one respect. Total is 0 where it is not known.
type TaskCounter struct {
	Name        string
	Done, Total int64
}

// TaskPart is a piece of a task that has ended: of a repair, a pair of nodes.
type TaskPart struct {
	// Nodes are the names of the nodes that it was about.
	Nodes    []string
	Counters []TaskCounter
	// Error says why it was not done, or not to its end; empty if it was.
	Error string
}

// Counter is a counter by its name; zero if there is none.
func (t *Task) Counter(name string) TaskCounter { return counterOf(t.Counters, name) }

// Counter is a counter by its name; zero if there is none.
func (p *TaskPart) Counter(name string) TaskCounter { return counterOf(p.Counters, name) }

func counterOf(counters []TaskCounter, name string) TaskCounter {
	for _, c := range counters {
		if c.Name == name {
			return c
		}
	}
	return TaskCounter{Name: name}
}

// Tasks lists the tasks that live nodes keep.
type Tasks struct {
	// Tasks are in the order of their start, the last one first.
	Tasks []Task
	// Missing names nodes that did not answer, whose tasks are not listed.
	Missing []string
}

// RepairScope says what is to be repaired. The zero value is everything.
type RepairScope struct {
	// Bucket is the name of the only one to repair; empty: all.
	Bucket string
	// Partitions are the only ones; none: all.
	Partitions []int
	// Node restricts a repair to what this member owns with others; zero: all pairs.
	Node NodeID
}

// StartRepair has a node see to it that each two members compare what both own and mend what differs, as a task, and returns
// when the task has begun: WaitTask waits for its end. The task goes on when the caller has gone. Errors: ErrUnknownBucket,
// ErrInvalidArgument, ErrOverloaded where too many tasks run, ErrUnavailable. One whose outcome is unknown (ErrOutcomeUnknown)
// may run: Tasks tells. Options: Timeout.
func (c *Client) StartRepair(ctx context.Context, scope RepairScope, opts ...CallOption) (*Task, error) {
	o := newCallOptions(opts)
	req := &pb.StartRepairRequest{Bucket: scope.Bucket}
	if !scope.Node.IsZero() {
		req.NodeId = scope.Node[:]
	}
	for _, p := range scope.Partitions {
		req.Partitions = append(req.Partitions, uint32(p))
	}
	op := viewCall("start repair", &o)
	op.kind = kindOnce // two would do the work twice
	reply, err := invoke(ctx, c, op,
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.StartRepairResponse, error) {
			return e.cluster.StartRepair(ctx, req, opts...)
		})
	if err != nil {
		return nil, err
	}
	return taskFromProto(reply.GetTask()), nil
}

// Tasks lists the tasks of all live nodes. Options: Timeout, LocalOnly.
func (c *Client) Tasks(ctx context.Context, opts ...CallOption) (*Tasks, error) {
	o := newCallOptions(opts)
	reply, err := invoke(ctx, c, viewCall("tasks", &o),
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.ListTasksResponse, error) {
			return e.cluster.ListTasks(ctx, &pb.ListTasksRequest{Local: o.local}, opts...)
		})
	if err != nil {
		return nil, err
	}
	out := &Tasks{Missing: reply.GetMissing()}
	for _, t := range reply.GetTasks() {
		out.Tasks = append(out.Tasks, *taskFromProto(t))
	}
	return out, nil
}

// Task shows a task. Errors: ErrUnknownTask; ErrUnavailable when its node can't be asked. Options: Timeout.
func (c *Client) Task(ctx context.Context, id string, opts ...CallOption) (*Task, error) {
	o := newCallOptions(opts)
	return c.getTask(ctx, &pb.GetTaskRequest{Id: id}, &o)
}

func (c *Client) getTask(ctx context.Context, req *pb.GetTaskRequest, o *callOptions) (*Task, error) {
	reply, err := invoke(ctx, c, viewCall("task", o),
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.GetTaskResponse, error) {
			return e.cluster.GetTask(ctx, req, opts...)
		})
	if err != nil {
		return nil, err
	}
	return taskFromProto(reply.GetTask()), nil
}

const (
	// taskWait is how long a node is asked to wait for a task to change, taskCall the time limit of such a call when no
	// option sets one, taskWaitShare the part of it that is waited at most: another node may have to be asked yet.
	taskWait      = 5 * time.Second
	taskCall      = 20 * time.Second
	taskWaitShare = 4
	// taskPace is the shortest time between two questions about a task: one that changes all the time is no reason to ask
	// all the time.
	taskPace = 100 * time.Millisecond
)

// WaitTask waits for the end of a task, for as long as ctx allows, and returns it as it was then: Task.State tells what came
// of it. seen is called with the task as it is at first and after changes; nil: nobody wants to know. When ctx ends first, the task
// goes on. Errors are those of Task. Options: Timeout, of each question.
func (c *Client) WaitTask(ctx context.Context, id string, seen func(*Task), opts ...CallOption) (*Task, error) {
	o := newCallOptions(opts)
	if o.timeout <= 0 {
		o.timeout = taskCall
	}
	req := &pb.GetTaskRequest{Id: id, WaitMs: min(taskWait, o.timeout/taskWaitShare).Milliseconds()}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		t, err := c.getTask(ctx, req, &o)
		if err != nil {
			return nil, err
		}
		if seen != nil && (t.version != req.KnownVersion || t.State != TaskRunning) {
			seen(t)
		}
		if t.State != TaskRunning {
			return t, nil
		}
		req.KnownVersion = t.version
		pause.Reset(taskPace)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, contextError(ctx, "task")
		}
	}
}

// CancelTask asks a task to end, and returns it as it is: it may run on for a moment, which WaitTask tells. A task that has
// ended stays as it is. Errors are those of Task. Options: Timeout.
func (c *Client) CancelTask(ctx context.Context, id string, opts ...CallOption) (*Task, error) {
	o := newCallOptions(opts)
	op := viewCall("cancel task", &o)
	op.kind = kindWrite
	reply, err := invoke(ctx, c, op,
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.CancelTaskResponse, error) {
			return e.cluster.CancelTask(ctx, &pb.CancelTaskRequest{Id: id}, opts...)
		})
	if err != nil {
		return nil, err
	}
	return taskFromProto(reply.GetTask()), nil
}

func taskFromProto(t *pb.Task) *Task {
	out := &Task{
		ID: t.GetId(), Kind: t.GetKind(), Node: nodeID(t.GetNodeId()), NodeName: t.GetNode(), State: TaskState(t.GetState()),
		Started: time.UnixMilli(t.GetStartedMs()), Counters: countersFromProto(t.GetCounters()),
		PartsLeftOut: int(t.GetPartsLeftOut()), Error: t.GetError(), version: t.GetVersion(),
	}
	if t.GetEndedMs() != 0 {
		out.Ended = time.UnixMilli(t.GetEndedMs())
	}
	for _, a := range t.GetArguments() {
		out.Arguments = append(out.Arguments, TaskArgument{a.GetName(), a.GetValue()})
	}
	for _, p := range t.GetParts() {
		out.Parts = append(out.Parts, TaskPart{Nodes: p.GetNodes(), Counters: countersFromProto(p.GetCounters()), Error: p.GetError()})
	}
	return out
}

func countersFromProto(counters []*pb.TaskCounter) (out []TaskCounter) {
	for _, c := range counters {
		out = append(out, TaskCounter{c.GetName(), c.GetDone(), c.GetTotal()})
	}
	return out
}
