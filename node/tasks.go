package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/task"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/membership"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// openTasks makes what keeps this node's long operations.
func (n *Node) openTasks() error {
	var err error
	n.tasks, err = task.New(task.Options{Node: n.cfg.Name, Now: n.opts.Now})
	return err
}

// ListTasks lists the tasks of all nodes that answer.
func (s *clusterService) ListTasks(ctx context.Context, req *pb.ListTasksRequest) (*pb.ListTasksResponse, error) {
	out := s.n.ownTasks()
	if req.GetLocal() {
		return out, nil
	}
	out.Missing = s.n.askAll(ctx, &pb.PeerRequest{Body: &pb.PeerRequest_ListTasks{ListTasks: &pb.ListTasksRequest{}}},
		func(_ ring.NodeID, reply *pb.PeerReply) {
			out.Tasks = append(out.Tasks, reply.GetListTasks().GetTasks()...)
		})
	slices.SortStableFunc(out.Tasks, func(a, b *pb.Task) int { return cmp.Compare(b.StartedMs, a.StartedMs) })
	return out, nil
}

// ownTasks are this node's, without their parts: of some there are thousands.
func (n *Node) ownTasks() *pb.ListTasksResponse {
	out := &pb.ListTasksResponse{}
	for _, t := range n.tasks.List() {
		t.Parts = nil
		out.Tasks = append(out.Tasks, n.taskProto(t))
	}
	return out
}

// GetTask shows a task, wherever it runs.
func (s *clusterService) GetTask(ctx context.Context, req *pb.GetTaskRequest) (*pb.GetTaskResponse, error) {
	ctx, cancel := s.n.withDeadline(ctx)
	defer cancel()
	by, err := s.n.taskNode(req.GetId())
	if err != nil {
		return nil, err
	}
	if by == s.n.id {
		reply, err := s.n.getTask(ctx, req)
		return reply, taskFault(err)
	}
	reply, err := s.n.askTaskNode(ctx, by, &pb.PeerRequest{Body: &pb.PeerRequest_GetTask{GetTask: req}})
	return reply.GetGetTask(), err
}

// CancelTask ends a task, wherever it runs.
func (s *clusterService) CancelTask(ctx context.Context, req *pb.CancelTaskRequest) (*pb.CancelTaskResponse, error) {
	ctx, cancel := s.n.withDeadline(ctx)
	defer cancel()
	by, err := s.n.taskNode(req.GetId())
	if err != nil {
		return nil, err
	}
	if by == s.n.id {
		reply, err := s.n.cancelTask(req)
		return reply, taskFault(err)
	}
	reply, err := s.n.askTaskNode(ctx, by, &pb.PeerRequest{Body: &pb.PeerRequest_CancelTask{CancelTask: req}})
	return reply.GetCancelTask(), err
}

// taskNode is the node that an id of a task names. Ids that name none are of no task.
func (n *Node) taskNode(id string) (ring.NodeID, error) {
	name, ok := task.NodeOf(id)
	switch {
	case ok && name == n.cfg.Name:
		return n.id, nil
	case ok:
		for _, m := range n.state.Snapshot().Members() {
			if n.attributes(m.ID).Name == name {
				return m.ID, nil
			}
		}
	}
	return ring.NodeID{}, unknownTask(quoteShort(id) + " names no task of a member: see starling task list")
}

func unknownTask(message string) *fault {
	return &fault{code: codes.NotFound, reason: pb.Reason_REASON_UNKNOWN_TASK, message: message}
}

// askTaskNode hands a request about a task to the task's node.
func (n *Node) askTaskNode(ctx context.Context, by ring.NodeID, req *pb.PeerRequest) (*pb.PeerReply, error) {
	if n.detector.State(by) == membership.Dead {
		return nil, notReady("node %s, whose task it is, is dead: its tasks ended with it", n.name(by))
	}
	reply, err := peers{n}.call(ctx, by, req)
	if err == nil {
		return reply, nil
	}
	_, unreachable := errors.AsType[*transport.UnreachableError](err)
	_, expired := errors.AsType[*transport.ExpiredError](err)
	if unreachable || expired {
		return nil, notReady("node %s, whose task it is, can't be asked: %v", n.name(by), err)
	}
	return nil, taskFault(err)
}

// taskFault is an error about a task as clients are told it.
func taskFault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, task.ErrUnknown):
		return unknownTask(err.Error())
	case errors.Is(err, task.ErrTooMany):
		return &fault{code: codes.ResourceExhausted, reason: pb.Reason_REASON_OVERLOADED, message: err.Error()}
	case errors.Is(err, task.ErrClosed):
		return notReady("the node is stopping")
	}
	return toFault(err)
}

// Bounds of a wait for a task: the reply must be there well before nobody waits for it any more.
const (
	maxTaskWait = 30 * time.Second
	waitShare   = 4 // of the time until the deadline, one part in so many is left for the way back
)

// getTask waits for a task of this node, if that is wanted. A node that stops lets nobody wait.
func (n *Node) getTask(ctx context.Context, req *pb.GetTaskRequest) (*pb.GetTaskResponse, error) {
	wait := time.Duration(min(max(req.GetWaitMs(), 0), maxTaskWait.Milliseconds())) * time.Millisecond
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		wait = min(wait, left-left/waitShare)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer context.AfterFunc(n.stopping, cancel)()
	got, err := n.tasks.Wait(ctx, req.GetId(), req.GetKnownVersion())
	if err != nil {
		return nil, taskFault(err)
	}
	return &pb.GetTaskResponse{Task: n.taskProto(got)}, nil
}

func (n *Node) cancelTask(req *pb.CancelTaskRequest) (*pb.CancelTaskResponse, error) {
	got, err := n.tasks.Cancel(req.GetId())
	if err != nil {
		return nil, taskFault(err)
	}
	n.log.Info("a task was cancelled", "task", got.ID, "kind", got.Kind)
	return &pb.CancelTaskResponse{Task: n.taskProto(got)}, nil
}

var taskStates = map[task.State]pb.TaskState{
	task.Running: pb.TaskState_TASK_STATE_RUNNING, task.Done: pb.TaskState_TASK_STATE_DONE,
	task.Failed: pb.TaskState_TASK_STATE_FAILED, task.Cancelled: pb.TaskState_TASK_STATE_CANCELLED,
}

func (n *Node) taskProto(t task.Task) *pb.Task {
	out := &pb.Task{
		Id: t.ID, Kind: t.Kind, NodeId: n.id[:], Node: n.cfg.Name, State: taskStates[t.State], StartedMs: t.Started.UnixMilli(),
		Counters: countersProto(t.Counters), PartsLeftOut: uint32(t.PartsLeftOut), Error: t.Error, Version: t.Version,
	}
	if !t.Ended.IsZero() {
		out.EndedMs = t.Ended.UnixMilli()
	}
	for _, a := range t.Arguments {
		out.Arguments = append(out.Arguments, &pb.TaskArgument{Name: a.Name, Value: a.Value})
	}
	for _, p := range t.Parts {
		out.Parts = append(out.Parts, &pb.TaskPart{Nodes: p.Nodes, Counters: countersProto(p.Counters), Error: p.Error})
	}
	return out
}

func countersProto(counters []task.Counter) (out []*pb.TaskCounter) {
	for _, c := range counters {
		out = append(out, &pb.TaskCounter{Name: c.Name, Done: c.Done, Total: c.Total})
	}
	return out
}
