package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// replica is this node's own copy of the data, as a coordinator sees it, be that its own or a peer's. Every
// request passes the epoch's fence here.
type replica struct{ n *Node }

func (n *Node) local() replica { return replica{n} }

func storageKey(item causal.ItemKey) storage.Key {
	return storage.Key{Bucket: item.Bucket, Token: uint64(tokenOf(item)), Partition: item.Partition, Sort: item.Sort}
}

// mint writes a new version into the own copy.
func (r replica) mint(ctx context.Context, req coordinator.MintRequest) (coordinator.Minted, error) {
	put := storage.Put{Key: storageKey(req.Item), Policy: req.Policy, Write: req.Write, Sync: req.Sync, N: req.N, Above: req.Above, Epoch: req.Epoch}
	if !req.HintFor.IsZero() {
		put.HintFor = []storage.NodeID{storage.NodeID(req.HintFor)}
	}
	for _, id := range req.Owes {
		put.Owes = append(put.Owes, storage.NodeID(id))
	}
	res, commit, err := r.n.store.Put(ctx, put)
	for {
		bound, ok := errors.AsType[*causal.BoundError](err)
		if !ok {
			break
		}
		if err := r.n.bound.raise(ctx, bound.Wanted); err != nil { // the first write after a pause
			return coordinator.Minted{}, err
		}
		res, commit, err = r.n.store.Put(ctx, put)
	}
	if errors.Is(err, causal.ErrClockOffset) { // of the request id: contexts were looked at before
		r.n.metrics.ClientClockRefused()
	}
	if err != nil {
		return coordinator.Minted{}, err
	}
	if res.Repeated {
		r.n.metrics.RepeatedPut()
	}
	return coordinator.Minted{State: res.State, Version: res.Version, Repeated: res.Repeated, Durable: durable(commit)}, nil
}

func durable(c storage.Commit) func(context.Context, func(error)) {
	return func(_ context.Context, done func(error)) { c.Then(done) }
}

// checkWrite says why a state can't be taken: the plan is stale, this node has no part in it, or its dots are
// from the future.
func (r replica) checkWrite(req coordinator.WriteRequest) error {
	epoch := r.n.epoch()
	partition := epoch.Base.PartitionOf(tokenOf(req.Item))
	if err := r.fence(epoch, req.Epoch, partition, req.N); err != nil {
		return err
	}
	if err := r.placed(epoch, partition, req.N, req.HintFor); err != nil {
		return err
	}
	if err := r.n.clock.Observe(req.State.MaxHLC()); err != nil {
		r.n.metrics.PeerClockRefused()
		return err
	}
	return nil
}

func (r replica) fence(epoch *ring.Epoch, planned uint64, partition, n int) error {
	switch epoch.Fence(planned, partition, n) {
	case ring.Stale:
		r.n.metrics.StaleEpoch()
		return &fault{code: codes.Aborted, reason: pb.Reason_REASON_STALE_EPOCH,
			message: fmt.Sprintf("planned at epoch %d, the ring is at %d", planned, epoch.Number)}
	case ring.Learn:
		return notReady("planned at epoch %d, this node has learnt %d so far", planned, epoch.Number)
	default:
		return nil
	}
}

// placed checks that the ring gives this node the part that the writer means it to play.
func (r replica) placed(epoch *ring.Epoch, partition, n int, hintFor ring.NodeID) error {
	self := r.n.id
	if hintFor.IsZero() {
		if epoch.Base.IsOwner(partition, n, self) {
			return nil
		}
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "this node is no owner of partition %d at N=%d", partition, n)
	}
	if epoch.Base.IsGuardian(partition, n, self) && epoch.Base.IsOwner(partition, n, hintFor) {
		return nil
	}
	return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "this node can't stand in for %v in partition %d at N=%d", hintFor, partition, n)
}

// write merges one state. It waits for latches, so it is done on a goroutine of its own.
func (r replica) write(ctx context.Context, req coordinator.WriteRequest, done func(error)) {
	r.n.workers.Go(func() {
		r.writeAll(ctx, []coordinator.WriteRequest{req}, func(errs []error) { done(errs[0]) })
	})
}

// writeAll merges many states in one batch with one fsync, and tells done what became of each once that is durable.
func (r replica) writeAll(ctx context.Context, reqs []coordinator.WriteRequest, done func([]error)) {
	out := make([]error, len(reqs))
	merges := make([]storage.Merge, 0, len(reqs))
	at := make([]int, 0, len(reqs))
	for i, req := range reqs {
		if out[i] = r.checkWrite(req); out[i] != nil {
			continue
		}
		merges = append(merges, storage.Merge{
			Key: storageKey(req.Item), Policy: req.Policy, State: req.State, HintFor: storage.NodeID(req.HintFor),
			N: req.N, Fresh: req.Fresh, Sync: req.Sync, Epoch: req.Epoch,
		})
		at = append(at, i)
	}
	errs, commit := r.n.store.StartMerge(ctx, merges)
	commit.Then(func(err error) {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
			out[at[i]] = writeError(errs[i])
		}
		done(out)
	})
}

// read gets the own copy of an item, once what it shows is durable.
func (r replica) read(req coordinator.ReadRequest, done func(coordinator.ReadReply, error)) {
	epoch := r.n.epoch()
	key := storageKey(req.Item)
	if err := r.fence(epoch, req.Epoch, epoch.Base.PartitionOf(ring.Token(key.Token)), req.N); err != nil {
		done(coordinator.ReadReply{}, err)
		return
	}
	var (
		reply  coordinator.ReadReply
		commit storage.Commit
		err    error
	)
	before := r.n.store.ClaimOf(req.N, key.Token)
	if before.Rebuilding {
		done(reply, rebuilding())
		return
	}
	if req.Digest {
		reply.Digest, commit, err = r.n.store.Digest(key)
	} else {
		reply.State, commit, err = r.n.store.Read(key)
		reply.Digest = reply.State.Digest()
		reply.State = storage.Claimed(before, r.n.store.ClaimOf(req.N, key.Token), reply.State)
	}
	if err != nil {
		done(coordinator.ReadReply{}, err)
		return
	}
	commit.Then(func(err error) {
		if err != nil {
			reply = coordinator.ReadReply{}
		}
		done(reply, err)
	})
}

// rebuilding says that the own copy may lack anything, and so has no vote.
func rebuilding() error { return notReady("this node is rebuilding its copy of the partition") }

// scan returns a range of the own copy.
func (r replica) scan(ctx context.Context, req coordinator.RangeRequest) (coordinator.RangeReply, error) {
	epoch := r.n.epoch()
	if req.Partition < 0 || req.Partition >= epoch.Base.Partitions() {
		return coordinator.RangeReply{}, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "partition %d of %d", req.Partition, epoch.Base.Partitions())
	}
	if err := r.fence(epoch, req.Epoch, req.Partition, req.N); err != nil {
		return coordinator.RangeReply{}, err
	}
	first, last := epoch.Base.PartitionRange(req.Partition)
	if r.n.store.ClaimOf(req.N, uint64(first)).Rebuilding {
		return coordinator.RangeReply{}, rebuilding()
	}
	start, end := storage.PartitionBounds(uint64(first), uint64(last))
	if bytes.Compare(req.Start, start) > 0 {
		start = req.Start
	}
	if req.End != nil && (end == nil || bytes.Compare(req.End, end) < 0) {
		end = req.End
	}
	if end != nil && bytes.Compare(start, end) >= 0 {
		return coordinator.RangeReply{Exhausted: true}, nil
	}
	items, exhausted, err := r.n.store.Range(ctx, storage.RangeRequest{
		Bucket: req.Bucket, Start: start, End: end, Reverse: req.Reverse,
		LimitItems: req.LimitItems, LimitBytes: req.LimitBytes,
	})
	if err != nil {
		return coordinator.RangeReply{}, err
	}
	out := coordinator.RangeReply{Exhausted: exhausted, Items: make([]coordinator.RangeItem, len(items))}
	for i, item := range items {
		out.Items[i] = coordinator.RangeItem{Key: item.Key, State: item.State}
	}
	return out, nil
}

// owe notes that an owner lacks an item's present state.
func (r replica) owe(ctx context.Context, item causal.ItemKey, owner ring.NodeID, epoch uint64) error {
	return r.n.store.Owe(ctx, storageKey(item), storage.NodeID(owner), epoch)
}

func itemOf(bucket uint64, key []byte) (causal.ItemKey, error) {
	k, err := storage.DecodeRangeKey(bucket, key)
	if err != nil {
		return causal.ItemKey{}, err
	}
	return causal.ItemKey{Bucket: bucket, Partition: k.Partition, Sort: k.Sort}, nil
}
