package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"

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

// mint writes a new version into the own copy. It counts only if the plan still holds when it is durable, as with writes.
func (r replica) mint(ctx context.Context, req coordinator.MintRequest) (coordinator.Minted, error) {
	epoch := r.n.epoch()
	if err := r.fence(epoch, req.Epoch, epoch.PartitionOf(tokenOf(req.Item)), req.N); err != nil {
		return coordinator.Minted{}, err
	}
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
	durable := func(_ context.Context, done func(error)) {
		commit.Then(func(err error) {
			if err == nil {
				err = r.overtaken(epoch, req.Epoch, tokenOf(req.Item), req.N)
			}
			done(err)
		})
	}
	return coordinator.Minted{State: res.State, Version: res.Version, Repeated: res.Repeated, Durable: durable}, nil
}

// checkWrite says why a state can't be taken: the plan is stale, this node has no part in it, or its dots are
// from the future.
func (r replica) checkWrite(epoch *ring.Epoch, req coordinator.WriteRequest) error {
	partition := epoch.PartitionOf(tokenOf(req.Item))
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
		return r.n.stale(planned, epoch)
	case ring.Learn:
		return notReady("planned at epoch %d, this node has learnt %d so far", planned, epoch.Number)
	default:
		return nil
	}
}

// overtaken is the fence once more, for what was let in at an epoch and is done: if the owners have changed meanwhile it does
// not count. Whoever pulls the partition names the new epoch, and may have read this copy just before it changed.
func (r replica) overtaken(then *ring.Epoch, planned uint64, token ring.Token, n int) error {
	now := r.n.epoch()
	if now == then {
		return nil
	}
	return r.fence(now, planned, now.PartitionOf(token), n)
}

// placed checks that the ring gives this node the part that the writer means it to play: in a move in either layout. A guardian
// of one may stand in for an owner of the other, as coordinators have it do.
func (r replica) placed(epoch *ring.Epoch, partition, n int, hintFor ring.NodeID) error {
	self := r.n.id
	if hintFor.IsZero() {
		if epoch.IsOwner(partition, n, self) {
			return nil
		}
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "this node is no owner of partition %d at N=%d", partition, n)
	}
	if epoch.IsGuardian(partition, n, self) && epoch.IsOwner(partition, n, hintFor) {
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
	epoch := r.n.epoch()
	merges := make([]storage.Merge, 0, len(reqs))
	at := make([]int, 0, len(reqs))
	for i, req := range reqs {
		if out[i] = r.checkWrite(epoch, req); out[i] != nil {
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
			if req := &reqs[at[i]]; errs[i] == nil {
				errs[i] = r.overtaken(epoch, req.Epoch, tokenOf(req.Item), req.N)
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
	if err := r.fence(epoch, req.Epoch, epoch.PartitionOf(ring.Token(key.Token)), req.N); err != nil {
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
		if err == nil {
			err = r.overtaken(epoch, req.Epoch, ring.Token(key.Token), req.N)
		}
		if err != nil {
			reply = coordinator.ReadReply{}
		}
		done(reply, err)
	})
}

// rebuilding says that the own copy may lack anything, and so has no vote.
func rebuilding() error { return notReady("this node is rebuilding its copy of the partition") }

// scan returns a range of the own copy. Which partitions it touches its bounds tell: whoever asks at another epoch may number
// them otherwise.
func (r replica) scan(ctx context.Context, req coordinator.RangeRequest) (coordinator.RangeReply, error) {
	if req.End != nil && bytes.Compare(req.Start, req.End) >= 0 {
		return coordinator.RangeReply{Exhausted: true}, nil
	}
	first, last, ok := tokensOf(req.Start, req.End)
	if !ok {
		return coordinator.RangeReply{}, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a range from %d bytes to %d bytes", len(req.Start), len(req.End))
	}
	epoch := r.n.epoch()
	if err := r.fenceRange(epoch, req.Epoch, first, last, req.N); err != nil {
		return coordinator.RangeReply{}, err
	}
	for p, end := epoch.PartitionOf(first), epoch.PartitionOf(last); p <= end; p++ {
		if start, _ := epoch.PartitionRange(p); r.n.store.ClaimOf(req.N, uint64(start)).Rebuilding {
			return coordinator.RangeReply{}, rebuilding()
		}
	}
	items, exhausted, err := r.n.store.Range(ctx, storage.RangeRequest{
		Bucket: req.Bucket, Start: req.Start, End: req.End, Reverse: req.Reverse,
		LimitItems: req.LimitItems, LimitBytes: req.LimitBytes,
	})
	if err == nil && r.n.epoch() != epoch {
		err = r.fenceRange(r.n.epoch(), req.Epoch, first, last, req.N)
	}
	if err != nil {
		return coordinator.RangeReply{}, err
	}
	out := coordinator.RangeReply{Exhausted: exhausted, Items: make([]coordinator.RangeItem, len(items))}
	for i, item := range items {
		out.Items[i] = coordinator.RangeItem{Key: item.Key, State: item.State}
	}
	return out, nil
}

func (r replica) fenceRange(epoch *ring.Epoch, planned uint64, first, last ring.Token, n int) error {
	switch epoch.FenceRange(planned, first, last, n) {
	case ring.Stale:
		return r.n.stale(planned, epoch)
	case ring.Learn:
		return notReady("planned at epoch %d, this node has learnt %d so far", planned, epoch.Number)
	default:
		return nil
	}
}

// tokensOf are the first and the last token of a range of keys that is not empty, both inclusive: keys begin with theirs.
func tokensOf(start, end []byte) (first, last ring.Token, ok bool) {
	const size = 8
	last = math.MaxUint64
	if len(start) >= size {
		first = ring.Token(binary.BigEndian.Uint64(start))
	}
	if len(end) >= size {
		last = ring.Token(binary.BigEndian.Uint64(end))
		if len(end) == size { // exclusive
			last--
		}
	}
	short := len(start) > 0 && len(start) < size || end != nil && len(end) < size
	return first, last, !short && first <= last && !(len(end) == size && last == math.MaxUint64)
}

// owe notes that an owner lacks an item's present state. If the owners have changed since the write was planned the hint has
// moved at once.
func (r replica) owe(ctx context.Context, item causal.ItemKey, owner ring.NodeID, epoch uint64) error {
	err := r.n.store.Owe(ctx, storageKey(item), storage.NodeID(owner), epoch)
	if now := r.n.epoch(); now.Number > epoch {
		r.n.hints.RingChanged()
	}
	return err
}

func itemOf(bucket uint64, key []byte) (causal.ItemKey, error) {
	k, err := storage.DecodeRangeKey(bucket, key)
	if err != nil {
		return causal.ItemKey{}, err
	}
	return causal.ItemKey{Bucket: bucket, Partition: k.Partition, Sort: k.Sort}, nil
}
