package node

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/starling-db/starling/internal/task"
	"github.com/starling-db/starling/node/membership"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

const (
	// pairsAtOnce is how many pairs of nodes a repair has compare at once.
	pairsAtOnce = 4
	// rangesAtOnce is how many partitions a pair compares before it says how far it has come. A repair that is cancelled
	// goes on for so many, too: nobody tells the node that asks.
	rangesAtOnce = 16
	// rangesTime bounds those: a node that lost much takes its time.
	rangesTime = time.Hour
	// maxArgument bounds what is shown of a long list of partitions, in bytes.
	maxArgument = 1000
)

// repair is a task that has all pairs of members compare and mend what they own together.
type repair struct {
	n *Node
	// bucket is the only one; 0: all. partitions, ascending, are the only ones; nil: all. node is in each pair; zero: any.
	bucket     uint64
	partitions []int
	node       ring.NodeID
	progress   *task.Progress
}

// StartRepair begins a repair on this node.
func (s *clusterService) StartRepair(ctx context.Context, req *pb.StartRepairRequest) (*pb.StartRepairResponse, error) {
	n := s.n
	_, cancel, err := n.beginAdmin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	r := &repair{n: n}
	arguments, err := r.read(req)
	if err != nil {
		return nil, err
	}
	got, err := n.tasks.Start("repair", arguments, func(ctx context.Context, p *task.Progress) error {
		r.progress = p
		err := r.run(ctx)
		n.log.Info("a repair ended", "error", err)
		return err
	})
	if err != nil {
		return nil, taskFault(err)
	}
	n.log.Info("a repair began", "task", got.ID)
	return &pb.StartRepairResponse{Task: n.taskProto(got)}, nil
}

// read checks what a repair is told, and returns it as text.
func (r *repair) read(req *pb.StartRepairRequest) (arguments []task.Argument, err error) {
	if name := req.GetBucket(); name != "" {
		b, err := r.n.bucket(name)
		if err != nil {
			return nil, err
		}
		r.bucket = b.ID
		arguments = append(arguments, task.Argument{Name: "bucket", Value: name})
	}
	if all := r.n.epoch().Partitions(); len(req.GetPartitions()) > 0 {
		if len(req.GetPartitions()) > all {
			return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%d partitions are named, and there are %d", len(req.GetPartitions()), all)
		}
		r.partitions = slices.Compact(slices.Sorted(slices.Values(ints(req.GetPartitions()))))
		if last := r.partitions[len(r.partitions)-1]; last >= all {
			return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "there is no partition %d: they are 0 to %d", last, all-1)
		}
		texts := make([]string, len(r.partitions))
		for i, p := range r.partitions {
			texts[i] = strconv.Itoa(p)
		}
		arguments = append(arguments, task.Argument{Name: "partitions", Value: cut(strings.Join(texts, ","), maxArgument)})
	}
	if len(req.GetNodeId()) > 0 {
		if r.node, err = r.n.memberOf(req.GetNodeId()); err != nil {
			return nil, err
		}
		arguments = append(arguments, task.Argument{Name: "node", Value: r.n.name(r.node)})
	}
	return arguments, nil
}

// run has all pairs compare, some at a time. A pair that can't is named, and the others go on.
func (r *repair) run(ctx context.Context) error {
	members := make([]ring.NodeID, 0)
	for _, m := range r.n.state.Snapshot().Members() {
		members = append(members, m.ID)
	}
	pairs := pairsOf(members, r.node)
	ranges := 0
	for _, pair := range pairs {
		_, count := r.ranges(pair)
		ranges += count
	}
	r.progress.Total("pairs", int64(len(pairs)))
	r.progress.Total("ranges", int64(ranges))
	waiting := newPairing(pairs, pairsAtOnce)
	type ended struct {
		pair nodePair
		err  error
	}
	came := make(chan ended, pairsAtOnce)
	failed := 0
	for !waiting.ended() {
		if ctx.Err() != nil {
			waiting.drop()
		}
		if pair, ok := waiting.next(); ok {
			go func() { came <- ended{pair, r.compare(ctx, pair)} }() // waited for below, whatever becomes of ctx
			continue
		}
		if waiting.ended() {
			break
		}
		got := <-came
		waiting.done(got.pair)
		if got.err != nil {
			failed++
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d pairs of nodes were not compared: see what is said of each, and repeat the repair", failed, len(pairs))
	}
	return nil
}

// ranges are the partitions that a pair is to compare, and how many there are to be counted: one is compared once for each N
// of buckets.
func (r *repair) ranges(pair nodePair) (partitions []int, count int) {
	for _, share := range r.n.shared(pair[0], pair[1]).Only(r.bucket).Shares {
		for _, p := range share.Partitions {
			if _, wanted := slices.BinarySearch(r.partitions, p); r.partitions == nil || wanted {
				partitions = append(partitions, p)
				count++
			}
		}
	}
	slices.Sort(partitions)
	return slices.Compact(partitions), count
}

// compare has a pair compare, some partitions after the other, and notes what came of it.
func (r *repair) compare(ctx context.Context, pair nodePair) error {
	var sum pb.CompareResponse
	partitions, _ := r.ranges(pair)
	err := r.reachable(pair)
	for some := range slices.Chunk(partitions, rangesAtOnce) {
		if err != nil {
			break
		}
		var got *pb.CompareResponse
		if got, err = r.compareSome(ctx, pair, some); err != nil {
			break
		}
		sum.Partitions += got.GetPartitions()
		sum.PartitionsDiffered += got.GetPartitionsDiffered()
		sum.Items += got.GetItems()
		sum.Fetched += got.GetFetched()
		sum.Pushed += got.GetPushed()
		sum.Refused += got.GetRefused()
		sum.Bytes += got.GetBytes()
		r.progress.Add(repairCounters(got)...)
	}
	part := task.Part{Nodes: []string{r.n.name(pair[0]), r.n.name(pair[1])}, Counters: repairCounters(&sum)}
	part.Counters = append(part.Counters, task.Counter{Name: "differed", Done: int64(sum.PartitionsDiffered)})
	switch {
	case ctx.Err() != nil:
		part.Error = "the task was cancelled"
	case err != nil:
		part.Error = err.Error()
	}
	r.progress.Add(task.Counter{Name: "pairs", Done: 1})
	r.progress.End(part)
	return err
}

// compareSome has the first of a pair compare some partitions with the second.
func (r *repair) compareSome(ctx context.Context, pair nodePair, partitions []int) (*pb.CompareResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, rangesTime)
	defer cancel()
	return r.n.compareBy(ctx, pair[0], &pb.CompareRequest{
		NodeId: pair[0][:], WithId: pair[1][:], Partitions: uint32s(partitions), BucketId: r.bucket,
	})
}

// reachable says of a pair one of which is known to be away what is wrong, before anybody waits for it.
func (r *repair) reachable(pair nodePair) error {
	for _, id := range pair {
		if id == r.n.id {
			continue
		}
		switch r.n.detector.State(id) {
		case membership.Dead:
			return notReady("node %s is dead", r.n.name(id))
		case membership.Left:
			return notReady("node %s has left", r.n.name(id))
		}
	}
	return nil
}

// repairCounters are the figures of a comparison that tasks show.
func repairCounters(c *pb.CompareResponse) []task.Counter {
	return []task.Counter{
		{Name: "ranges", Done: int64(c.GetPartitions())}, {Name: "items", Done: int64(c.GetItems())},
		{Name: "mended", Done: int64(c.GetFetched() + c.GetPushed())}, {Name: "refused", Done: int64(c.GetRefused())},
		{Name: "bytes", Done: int64(c.GetBytes())},
	}
}
