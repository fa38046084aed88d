package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/antientropy/merkle"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/telemetry"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// openRepairs makes what compares this node's data with that of other owners.
func (n *Node) openRepairs() error {
	rng, err := n.seeded()
	if err != nil {
		return err
	}
	n.repairs, err = antientropy.New(antientropy.Options{
		Store: n.store, Peer: peers{n}.comparing(), Plan: n.sharedWith, Peers: n.compareWith,
		Up:       func(id ring.NodeID) bool { return n.healthOf(id) == coordinator.Up },
		Stale:    n.staleAt,
		Interval: n.repairInterval(), BytesPerSecond: int64(n.cfg.RepairRate), Now: n.opts.Now, Logger: n.log,
		Window: n.inRepairWindow, Pause: n.foreground.wait, Slowed: n.foreground.slowed, Rand: rng,
	})
	return err
}

// seeded is randomness that spreads what all nodes do.
func (n *Node) seeded() (*rand.Rand, error) {
	var seed [16]byte
	if _, err := io.ReadFull(n.opts.Rand, seed[:]); err != nil {
		return nil, err
	}
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:]), binary.BigEndian.Uint64(seed[8:]))), nil
}

// repairInterval is the setting in the terms of antientropy, where 0 is its default.
func (n *Node) repairInterval() time.Duration {
	if n.cfg.RepairInterval == 0 {
		return -1
	}
	return n.cfg.RepairInterval
}

func (n *Node) inRepairWindow(t time.Time) bool { return n.cfg.RepairWindow.Contains(t.Local()) }

// repairLoop compares once the node serves, after it has made sure of what it compares.
func (n *Node) repairLoop(ctx context.Context) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return
	}
	n.lookThroughTrees(ctx)
	if n.store.TreesSuspect() { // some could not be: rounds wait for that, comparing need not
		n.loops.Go(func() {
			for wait := treesFirst; n.store.TreesSuspect() && sleep(ctx, wait); wait = min(2*wait, treesMost) {
				n.lookThroughTrees(ctx)
			}
		})
	}
	n.stopOn("repair", ctx, n.repairs.Run(ctx))
}

// Between two tries to look through the trees, of which some items could not be read, there are treesFirst, and then twice as much
// each time, up to treesMost.
const treesFirst, treesMost = 5 * time.Second, 10 * time.Minute

// lookThroughTrees makes sure, after an unclean stop, that what is compared is what is stored.
func (n *Node) lookThroughTrees(ctx context.Context) {
	if !n.store.TreesSuspect() {
		return
	}
	found, err := n.store.Recount(ctx, storage.LeafRange{All: true}, n.recountPace(ctx))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		n.log.Warn("the trees could not be looked through", "error", err)
	default:
		n.log.Info("the trees were looked through", "items", found.Items, "wrong", found.Wrong, "corrupt", found.Corrupt)
	}
}

// recountPace spreads the reading of a recount: it takes four times as long as it reads.
func (n *Node) recountPace(ctx context.Context) func(int) error {
	last := time.Now()
	return func(int) error {
		took := time.Since(last)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(3*took, time.Second)):
		}
		last = time.Now()
		return nil
	}
}

// compareWith lists the owners that this node asks: of each pair the one with the lower id does.
func (n *Node) compareWith() []ring.NodeID {
	snap := n.state.Snapshot()
	if !snap.Founded() || len(snap.Buckets()) == 0 {
		return nil
	}
	var out []ring.NodeID
	for _, m := range snap.Members() {
		if slices.Compare(n.id[:], m.ID[:]) < 0 {
			out = append(out, m.ID)
		}
	}
	return out
}

// sharedWith is what this node and another own together.
func (n *Node) sharedWith(id ring.NodeID) antientropy.Plan { return n.shared(n.id, id) }

// shared is what two nodes own together, in a move by the old layout or by the next one: what an owner of the old one alone and
// one of the next alone have in common is the business of those who pull.
func (n *Node) shared(one, other ring.NodeID) antientropy.Plan {
	snap := n.state.Snapshot()
	if !snap.Founded() {
		return antientropy.Plan{}
	}
	epoch := snap.Epoch
	plan := antientropy.Plan{Epoch: epoch.Number, PartitionBits: bits.Len(uint(epoch.Partitions())) - 1}
	byN := make(map[int]*antientropy.Share)
	for _, b := range snap.Buckets() {
		if byN[b.N] == nil {
			byN[b.N] = &antientropy.Share{N: b.N}
		}
		byN[b.N].Buckets = append(byN[b.N].Buckets, b.ID)
	}
	for count, share := range byN {
		slices.Sort(share.Buckets)
		for _, bucket := range share.Buckets {
			b, _ := snap.BucketByID(bucket)
			share.Policies = append(share.Policies, b.Policy)
		}
		for p := range epoch.Partitions() {
			if epoch.Shares(p, count, one, other) {
				share.Partitions = append(share.Partitions, p)
			}
		}
		if len(share.Partitions) > 0 {
			plan.Shares = append(plan.Shares, *share)
		}
	}
	slices.SortFunc(plan.Shares, func(a, b antientropy.Share) int { return a.N - b.N })
	return plan
}

func (n *Node) repairFigures() telemetry.Repairs {
	t := n.repairs.Totals()
	out := telemetry.Repairs{
		Exchanges: t.Exchanges, Failed: t.Failed,
		Partitions: uint64(t.Partitions), Differed: uint64(t.Differed), Leaves: uint64(t.Leaves), Items: uint64(t.Items),
		Fetched: uint64(t.Fetched), Pushed: uint64(t.Pushed), Refused: uint64(t.Refused), Recounted: uint64(t.Recounted),
		Bytes: uint64(t.Bytes), Held: t.Held, Rate: n.foreground.bytesPerSecond(),
	}
	if oldest, ok := n.repairs.Oldest(); ok {
		out.Oldest = n.opts.Now().Sub(oldest)
	}
	return out
}

// Compare has one node compare what it shares with another, be it this one or not.
func (s *clusterService) Compare(ctx context.Context, req *pb.CompareRequest) (*pb.CompareResponse, error) {
	n := s.n
	ctx, cancel, err := n.beginAdmin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	by, err := n.memberOf(req.GetNodeId())
	if err != nil {
		return nil, err
	}
	return n.compareBy(ctx, by, req)
}

// compareBy has a member carry out a comparison.
func (n *Node) compareBy(ctx context.Context, by ring.NodeID, req *pb.CompareRequest) (*pb.CompareResponse, error) {
	if by == n.id {
		reply, err := n.compare(ctx, req)
		return reply, compareFault(n.cfg.Name, err)
	}
	if n.detector.State(by) == membership.Dead {
		return nil, notReady("node %s is dead", n.name(by))
	}
	reply, err := peers{n}.callOn(ctx, n.pool.CallBulk, by, &pb.PeerRequest{Body: &pb.PeerRequest_Compare{Compare: req}})
	return reply.GetCompare(), compareFault(n.name(by), err)
}

// compareFault is an error of a comparison by a node as clients are told it.
func compareFault(by string, err error) error {
	if err == nil {
		return nil
	}
	_, unreachable := errors.AsType[*transport.UnreachableError](err)
	_, expired := errors.AsType[*transport.ExpiredError](err)
	if unreachable || expired || errors.Is(err, context.Canceled) {
		return notReady("node %s could not compare: %v", by, err)
	}
	return toFault(err)
}

// memberOf is the member with an id off the wire.
func (n *Node) memberOf(b []byte) (ring.NodeID, error) {
	var id ring.NodeID
	if len(b) != len(id) {
		return id, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a node id of %d bytes", len(b))
	}
	copy(id[:], b)
	if !n.state.Snapshot().IsMember(id) {
		return id, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "node %v is no member", id)
	}
	return id, nil
}

// compare compares what this node shares with another.
func (n *Node) compare(ctx context.Context, req *pb.CompareRequest) (*pb.CompareResponse, error) {
	by, err := n.memberOf(req.GetNodeId())
	if err != nil {
		return nil, err
	}
	with, err := n.memberOf(req.GetWithId())
	if err != nil {
		return nil, err
	}
	if by != n.id || with == n.id {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "node %v can't compare %v with %v", n.id, by, with)
	}
	scope := antientropy.Scope{Look: req.GetLook(), Bucket: req.GetBucketId(), N: int(req.GetN()), Yield: req.GetN() > 0}
	if len(req.GetPartitions()) > 0 {
		scope.Partitions = slices.Compact(slices.Sorted(slices.Values(ints(req.GetPartitions()))))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.stopping, cancel)() // it may take an hour, and a node that stops must not
	report, err := n.repairs.Exchange(ctx, with, scope)
	if errors.Is(err, antientropy.ErrShared) && scope.N == 0 {
		return &pb.CompareResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &pb.CompareResponse{
		Partitions: uint64(report.Partitions), PartitionsDiffered: uint64(report.Differed), Leaves: uint64(report.Leaves),
		Items: uint64(report.Items), Fetched: uint64(report.Fetched), Pushed: uint64(report.Pushed), Refused: uint64(report.Refused),
		Bytes: uint64(report.Bytes), Unlike: uint64(report.Unlike), Doubtful: uint32s(report.Doubtful),
	}
	for _, key := range report.Keys {
		bucket, rangeKey, err := storage.SplitItemKey(key)
		if err != nil {
			return nil, err
		}
		item, err := itemOf(bucket, rangeKey)
		if err != nil {
			return nil, err
		}
		out.Keys = append(out.Keys, addressOf(item))
	}
	return out, nil
}

// comparing asks another owner, on the stream that keeps out of the way of clients.
func (p peers) comparing() antientropy.Peer {
	ask := func(ctx context.Context, id ring.NodeID, epoch uint64, req *pb.PeerRequest) (*pb.PeerReply, error) {
		ctx, cancel := context.WithTimeout(ctx, p.n.cfg.RequestTimeout)
		defer cancel()
		req.Epoch = epoch
		return p.callOn(ctx, p.n.pool.CallBulk, id, req)
	}
	return antientropy.Peer{
		Roots: func(ctx context.Context, id ring.NodeID, place antientropy.Place, partitions []int, sums []merkle.Sum) ([]int, error) {
			reply, err := ask(ctx, id, place.Epoch, &pb.PeerRequest{Body: &pb.PeerRequest_CompareRoots{CompareRoots: &pb.CompareRoots{
				N: uint32(place.N), Partitions: uint32s(partitions), Sums: merkle.AppendSums(nil, sums...), BucketId: place.Bucket,
			}}})
			return ints(reply.GetCompareRoots().GetDiffer()), err
		},
		Nodes: func(ctx context.Context, id ring.NodeID, place antientropy.Place, depth int, nodes []int) ([]merkle.Sum, error) {
			reply, err := ask(ctx, id, place.Epoch, &pb.PeerRequest{Body: &pb.PeerRequest_CompareNodes{CompareNodes: &pb.CompareNodes{
				N: uint32(place.N), Partition: uint32(place.Partition), Depth: uint32(depth), Nodes: uint32s(nodes), BucketId: place.Bucket,
			}}})
			if err != nil {
				return nil, err
			}
			return merkle.DecodeSums(reply.GetCompareNodes().GetSums())
		},
		Items: func(ctx context.Context, id ring.NodeID, q antientropy.Ask) (antientropy.Answer, error) {
			reply, err := ask(ctx, id, q.Epoch, &pb.PeerRequest{Body: &pb.PeerRequest_CompareItems{CompareItems: &pb.CompareItems{
				N: uint32(q.N), Partition: uint32(q.Partition), FirstLeaf: uint32(q.First), LastLeaf: uint32(q.Last), After: q.After, Through: q.Through,
				Hashes: q.Hashes, Recount: q.Recount, KeysOnly: q.Keys, BucketId: q.Bucket,
				Floor: uint64(q.Claims.Floor), PurgeLevel: uint64(q.Claims.PurgeLevel),
			}}})
			if err != nil {
				return antientropy.Answer{}, err
			}
			got := reply.GetCompareItems()
			out := antientropy.Answer{Lacks: got.GetLacks(), Through: got.Through, Claims: claimsOf(got), Damaged: got.GetDamaged(), Slow: got.GetSlow()}
			if err := p.n.clock.Observe(out.Claims.Floor); err != nil {
				return out, p.malformed(id, err.Error())
			}
			for _, item := range got.GetItems() {
				if q.Keys {
					out.Items = append(out.Items, antientropy.Item{Key: item.GetKey()})
					continue
				}
				state, err := p.state(id, item.GetState())
				if errors.Is(err, causal.ErrClockOffset) {
					p.n.metrics.PeerClockRefused()
					continue // the others are taken all the same
				}
				if err != nil {
					return out, err
				}
				out.Items = append(out.Items, antientropy.Item{Key: item.GetKey(), State: state})
			}
			return out, nil
		},
		Push: func(ctx context.Context, id ring.NodeID, place antientropy.Place, policy func(uint64) causal.Policy, items []antientropy.Item) []error {
			errs := make([]error, len(items))
			eachOf(len(items), func(i int) {
				bucket, rangeKey, err := storage.SplitItemKey(items[i].Key)
				var item causal.ItemKey
				if err == nil {
					item, err = itemOf(bucket, rangeKey)
				}
				if err == nil {
					_, err = ask(ctx, id, place.Epoch, &pb.PeerRequest{Body: &pb.PeerRequest_Handoff{Handoff: &pb.Handoff{
						Item: addressOf(item), State: causal.AppendState(nil, items[i].State), Conflict: conflictProto(policy(bucket)), N: uint32(place.N),
					}}})
				}
				errs[i] = refusedItem(err)
			})
			return errs
		},
	}
}

// refusedItem marks what a peer refuses for what the item is, and would refuse again.
func refusedItem(err error) error {
	if large, ok := errors.AsType[*transport.SizeError](err); ok {
		return fmt.Errorf("%w: %w", antientropy.ErrRefused, large)
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return err
	}
	switch f.reason {
	case pb.Reason_REASON_TOO_MANY_SIBLINGS, pb.Reason_REASON_VALUE_TOO_LARGE, pb.Reason_REASON_CLOCK_OFFSET,
		pb.Reason_REASON_UNKNOWN_BUCKET, pb.Reason_REASON_INTERNAL: // the last is a record that is damaged there
		return fmt.Errorf("%w: %w", antientropy.ErrRefused, err)
	}
	return err
}

// comparedWrong is a question that makes no sense in the terms of the wire; other errors stay what they are.
func comparedWrong(err error) error {
	if errors.Is(err, antientropy.ErrAsked) {
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	}
	return err
}

// compared is what a peer's question is about, if both are owners of the partition at the epoch that it was planned at. That has
// to be this node's own: at another one the number of a partition may mean another range.
func (s peerService) compared(from ring.NodeID, epoch uint64, n uint32, bucket uint64, partitions ...int) (antientropy.Plan, antientropy.Share, error) {
	now := s.n.epoch()
	if err := s.n.sameEpoch(now, epoch); err != nil {
		return antientropy.Plan{}, antientropy.Share{}, err
	}
	plan := s.n.sharedWith(from).Only(bucket)
	i := slices.IndexFunc(plan.Shares, func(share antientropy.Share) bool { return share.N == int(n) })
	if i < 0 {
		return plan, antientropy.Share{}, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "nothing is shared at N=%d in bucket %x (0: any)", n, bucket)
	}
	share := plan.Shares[i]
	for _, p := range partitions {
		if p < 0 || p >= now.Partitions() {
			return plan, share, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "partition %d of %d", p, now.Partitions())
		}
		if _, ok := slices.BinarySearch(share.Partitions, p); !ok {
			return plan, share, &fault{code: codes.FailedPrecondition, reason: pb.Reason_REASON_INVALID_ARGUMENT,
				message: "one of the two nodes is no owner of the partition"}
		}
	}
	return plan, share, nil
}

func (s peerService) answerer() antientropy.Answerer { return antientropy.Answerer{Store: s.n.store} }

func (s peerService) compareRoots(from ring.NodeID, epoch uint64, m *pb.CompareRoots) (*pb.PeerReply, error) {
	partitions := ints(m.GetPartitions())
	plan, share, err := s.compared(from, epoch, m.GetN(), m.GetBucketId(), partitions...)
	if err != nil {
		return nil, err
	}
	sums, err := merkle.DecodeSums(m.GetSums())
	if err != nil {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%v", err)
	}
	differ, err := s.answerer().Differ(plan, share, partitions, sums)
	if err != nil {
		return nil, comparedWrong(err)
	}
	return &pb.PeerReply{Body: &pb.PeerReply_CompareRoots{CompareRoots: &pb.CompareRootsReply{Differ: uint32s(differ)}}}, nil
}

func (s peerService) compareNodes(from ring.NodeID, epoch uint64, m *pb.CompareNodes) (*pb.PeerReply, error) {
	plan, share, err := s.compared(from, epoch, m.GetN(), m.GetBucketId(), int(m.GetPartition()))
	if err != nil {
		return nil, err
	}
	sums, err := s.answerer().Nodes(plan, share, int(m.GetPartition()), int(m.GetDepth()), ints(m.GetNodes()))
	if err != nil {
		return nil, comparedWrong(err)
	}
	return &pb.PeerReply{Body: &pb.PeerReply_CompareNodes{CompareNodes: &pb.CompareNodesReply{Sums: merkle.AppendSums(nil, sums...)}}}, nil
}

func (s peerService) compareItems(ctx context.Context, from ring.NodeID, epoch uint64, m *pb.CompareItems) (*pb.PeerReply, error) {
	plan, share, err := s.compared(from, epoch, m.GetN(), m.GetBucketId(), int(m.GetPartition()))
	if err != nil {
		return nil, err
	}
	part := antientropy.Part{N: share.N, Partition: int(m.GetPartition())}
	own := s.n.store.ClaimOf(part.N, uint64(part.Partition)<<(64-plan.PartitionBits))
	if level := claimsOf(m).PurgeLevel; level > own.Floor && !own.Rebuilding {
		s.n.staleAt(part, level)
	}
	answer, err := s.answerer().Items(ctx, plan, share, antientropy.Ask{
		Place: antientropy.Place{Epoch: epoch, N: int(m.GetN()), Partition: int(m.GetPartition())},
		First: int(m.GetFirstLeaf()), Last: int(m.GetLastLeaf()), After: m.After, Through: m.Through, Hashes: m.GetHashes(), Recount: m.GetRecount(), Keys: m.GetKeysOnly(),
		Claims: claimsOf(m),
	})
	if err != nil {
		return nil, comparedWrong(err)
	}
	reply := &pb.CompareItemsReply{
		Lacks: answer.Lacks, Through: answer.Through, Items: make([]*pb.ComparedItem, len(answer.Items)),
		Floor: uint64(answer.Claims.Floor), PurgeLevel: uint64(answer.Claims.PurgeLevel), Damaged: answer.Damaged,
		Slow: s.n.foreground.answers(),
	}
	for i, item := range answer.Items {
		reply.Items[i] = &pb.ComparedItem{Key: item.Key}
		if !m.GetKeysOnly() {
			reply.Items[i].State = causal.AppendState(nil, item.State)
		}
	}
	return &pb.PeerReply{Body: &pb.PeerReply_CompareItems{CompareItems: reply}}, nil
}

// claimsOf are the claims in a message about items.
func claimsOf(m interface {
	GetFloor() uint64
	GetPurgeLevel() uint64
}) causal.State {
	floor := causal.HLC(m.GetFloor())
	return causal.State{Floor: floor, PurgeLevel: min(causal.HLC(m.GetPurgeLevel()), floor)}
}

func ints(in []uint32) []int {
	out := make([]int, len(in))
	for i, v := range in {
		out[i] = int(v)
	}
	return out
}

func uint32s(in []int) []uint32 {
	out := make([]uint32, len(in))
	for i, v := range in {
		out[i] = uint32(v)
	}
	return out
}
