package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
	"github.com/starling-db/starling/transfer"
)

const (
	// transferRate is how fast a node pulls at most, in bytes a second.
	transferRate = 50 << 20
	// dropEvery is how often it is looked whether what is left of earlier layouts may go.
	dropEvery = 30 * time.Second
	// transferRetry is how long a pull that the own disk has ended waits.
	transferRetry = 5 * time.Second
	// askTogether bounds the nodes that are asked for their moves at once.
	askTogether = 8
)

// transferring is what a node does about moves of the ring.
type transferring struct {
	puller *transfer.Puller
	wake   chan struct{} // room for one: epoch or buckets may have changed
}

func (n *Node) openTransfer() error {
	var err error
	n.moves.puller, err = transfer.New(transfer.Options{
		Store: n.store, Page: peers{n}.pullPage, Up: func(id ring.NodeID) bool { return n.healthOf(id) == coordinator.Up },
		Buckets: n.bucketsOf, Policy: n.pulledPolicy, Hear: n.hearLevel, Vouch: n.vouchPulled, Observe: n.clock.Observe,
		Pause: n.foreground.wait, BytesPerSecond: transferRate, Now: n.opts.Now, Logger: n.log,
	})
	return err
}

// quorumsOf are the different N, R and W of the buckets.
func quorumsOf(snap *state.Snapshot) []ring.Quorums {
	var out []ring.Quorums
	for _, b := range snap.Buckets() {
		out = append(out, ring.Quorums{N: b.N, R: b.R, W: b.W})
	}
	slices.SortFunc(out, func(a, b ring.Quorums) int {
		return cmp.Or(cmp.Compare(a.N, b.N), cmp.Compare(a.R, b.R), cmp.Compare(a.W, b.W))
	})
	return slices.Compact(out)
}

// bucketsOf are the buckets with so many replicas, ascending.
func (n *Node) bucketsOf(count int) []uint64 {
	var out []uint64
	for _, b := range n.state.Snapshot().Buckets() {
		if b.N == count {
			out = append(out, b.ID)
		}
	}
	slices.Sort(out)
	return out
}

func (n *Node) knownBucket(id uint64) bool {
	snap := n.state.Snapshot()
	_, there := snap.BucketByID(id)
	return there || snap.Dropped(id)
}

// pulledPolicy says how what is pulled of a bucket is joined.
func (n *Node) pulledPolicy(bucket uint64, count int) (causal.Policy, bool, error) {
	snap := n.state.Snapshot()
	b, there := snap.BucketByID(bucket)
	switch {
	case !there && snap.Dropped(bucket):
		return 0, false, nil
	case !there:
		return 0, false, fmt.Errorf("%w: %016x", transfer.ErrBucket, bucket)
	case b.N != count:
		return 0, false, fmt.Errorf("%w: an item of bucket %016x, which has N=%d", transfer.ErrPage, bucket, b.N)
	}
	return b.Policy, true, nil
}

// transferLoop pulls and drops what each epoch asks for. When the epoch changes, or the quorums that buckets ask for, what was
// begun for the one before is ended first: a drop must never meet a pull of the same range.
func (n *Node) transferLoop(ctx context.Context) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return
	}
	for ctx.Err() == nil {
		n.transferAt(ctx, n.state.Snapshot())
	}
}

// transferAt does it until something has changed.
func (n *Node) transferAt(ctx context.Context, snap *state.Snapshot) {
	ctx, cancel := context.WithCancel(ctx)
	e, quorums := snap.Epoch, quorumsOf(snap)
	var working sync.WaitGroup
	if e.Number > 0 { // all owners of the first epoch are complete
		working.Go(func() { n.pullAt(ctx, e, quorums) })
		working.Go(func() { n.dropAt(ctx, e, quorums) })
	}
	defer working.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.moves.wake:
		}
		if now := n.state.Snapshot(); now.Epoch.Number != e.Number || !slices.Equal(quorumsOf(now), quorums) {
			return
		}
	}
}

// pullAt pulls all that an epoch gives this node.
func (n *Node) pullAt(ctx context.Context, e *ring.Epoch, quorums []ring.Quorums) {
	rng, err := n.seeded()
	for ; err == nil && ctx.Err() == nil; sleep(ctx, transferRetry) {
		var marks []storage.Complete
		if marks, err = n.store.Completes(); err != nil {
			break
		}
		works := transfer.Plan(e, n.id, quorums, marks, rng.Uint64())
		if len(works) == 0 {
			return
		}
		n.log.Info("ranges are to be pulled", "epoch", e.Number, "ranges", len(works))
		if failed := n.moves.puller.Pull(ctx, e.Number, works); failed != nil && ctx.Err() == nil {
			n.log.Warn("ranges could not be pulled", "error", failed)
		}
	}
	if err != nil && ctx.Err() == nil {
		n.log.Error("nothing can be pulled", "error", err)
	}
}

// partOf is a range that is pulled, in the terms of claims.
func (n *Node) partOf(w transfer.Work) antientropy.Part {
	return antientropy.Part{N: w.N, Partition: n.epoch().Base.PartitionOf(ring.Token(w.First))}
}

// hearLevel is told how far a source has purged.
func (n *Node) hearLevel(ctx context.Context, w transfer.Work, level causal.HLC) error {
	if err := n.clock.Observe(level); err != nil {
		return err
	}
	if w.Standing == transfer.Vouching {
		n.staleAt(n.partOf(w), level)
		return nil
	}
	return n.raiseLevel(ctx, n.partOf(w), level)
}

// raiseLevel has data that is arriving deny what was purged elsewhere. It claims no more than before.
func (n *Node) raiseLevel(ctx context.Context, part antientropy.Part, level causal.HLC) error {
	return n.changeClaims(ctx, []antientropy.Part{part}, func(c *storage.Claim) bool {
		if c.Rebuilding || c.PurgeLevel >= level {
			return false
		}
		c.PurgeLevel = level
		return true
	})
}

// arriving reports whether this node's data of a part is still being pulled, so that it is no wonder that others have purged more
// than it has seen.
func (n *Node) arriving(part antientropy.Part) (bool, error) {
	snap := n.state.Snapshot()
	if !snap.Founded() || snap.Epoch.Number == 0 || part.Partition >= snap.Epoch.Partitions() {
		return false, nil
	}
	marks, err := n.store.Completes()
	if err != nil {
		return false, err
	}
	return transfer.StandingOf(snap.Epoch, n.id, part.Partition, part.N, quorumsOf(snap), marks) == transfer.Arriving, nil
}

// vouchPulled raises the floor of what was pulled whole. Nothing up to it may be written afresh from now on.
func (n *Node) vouchPulled(ctx context.Context, w transfer.Work, floor causal.HLC) error {
	if err := n.clock.Observe(floor); err != nil {
		return err
	}
	if err := n.store.Attest(ctx, floor); err != nil {
		return err
	}
	return n.changeClaims(ctx, []antientropy.Part{n.partOf(w)}, func(c *storage.Claim) bool {
		if c.Rebuilding || c.Floor >= floor {
			return false
		}
		c.Floor = floor
		return true
	})
}

// holds reports whether there is anything here of a range.
func (n *Node) holds(r transfer.Range) bool {
	first, last := r.Leaves()
	return slices.ContainsFunc(n.store.Leaves(nil, n.bucketsOf(r.N), first, last), func(l storage.Leaf) bool { return l != (storage.Leaf{}) })
}

// dropAt drops what an epoch gives to others, once they are complete.
func (n *Node) dropAt(ctx context.Context, e *ring.Epoch, quorums []ring.Quorums) {
	known := transfer.NewKnown(e, quorums)
	for ; ctx.Err() == nil; sleep(ctx, dropEvery) {
		left := transfer.Left(e, n.id, quorums, n.holds)
		if len(left) == 0 {
			continue
		}
		n.askMoves(ctx, known, left)
		for _, r := range transfer.Drops(e, n.id, quorums, known.Facts(), n.holds) {
			if err := n.dropRange(ctx, e, r); err != nil && ctx.Err() == nil && !errors.Is(err, storage.ErrKept) {
				n.log.Warn("a range that others own now could not be dropped", "partition", r.Partition, "n", r.N, "error", err)
			}
		}
	}
}

// dropRange removes a range: first what this node claims of it, then what it holds.
func (n *Node) dropRange(ctx context.Context, e *ring.Epoch, r transfer.Range) error {
	if e.Partitions() == e.Base.Partitions() {
		err := n.changeClaims(ctx, []antientropy.Part{{N: r.N, Partition: r.Partition}}, func(c *storage.Claim) bool {
			nothing := storage.Claim{N: c.N, Partition: c.Partition}
			had := *c != nothing
			*c = nothing
			return had
		})
		if err != nil {
			return err
		}
	}
	if err := n.forgetMoves(ctx, r); err != nil {
		return err
	}
	first, last := r.Leaves()
	still := func() bool { return n.epoch().Number == e.Number }
	done, err := n.store.DropRange(ctx, n.bucketsOf(r.N), first, last, still, n.recountPace(ctx))
	if done.Items > 0 {
		n.log.Info("a range that others own now was dropped", "partition", r.Partition, "n", r.N, "items", done.Items, "kept", done.Kept)
	}
	return err
}

// forgetMoves removes what is known of how a range came here.
func (n *Node) forgetMoves(ctx context.Context, r transfer.Range) error {
	marks, err := n.store.Completes()
	if err != nil {
		return err
	}
	moves, err := n.store.PulledMoves()
	if err != nil {
		return err
	}
	for _, c := range marks {
		moves = append(moves, c.Move)
	}
	moves = slices.DeleteFunc(moves, func(m storage.Move) bool { return m.N != r.N || m.First < r.First || m.Last > r.Last })
	return n.store.ForgetMoves(ctx, moves...)
}

// askMoves asks the nodes that a commit, or a drop of some ranges, depends on for what they are complete for. Who can't be reached
// is asked again the next time.
func (n *Node) askMoves(ctx context.Context, known *transfer.Known, drop []transfer.Range) {
	together := make(chan struct{}, askTogether)
	var asking sync.WaitGroup
	for id, moves := range known.Questions(drop) {
		together <- struct{}{}
		asking.Go(func() {
			defer func() { <-together }()
			if err := n.askMovesOf(ctx, known, id, moves); err != nil && ctx.Err() == nil {
				n.log.Debug("a node did not tell which moves it is complete for", "node", n.name(id), "error", err)
			}
		})
	}
	asking.Wait()
}

func (n *Node) askMovesOf(ctx context.Context, known *transfer.Known, id ring.NodeID, moves []storage.Complete) error {
	for first := true; first || len(moves) > 0; first = false {
		some := moves[:min(len(moves), maxMoves)]
		moves = moves[len(some):]
		if id == n.id {
			marks, err := n.store.Completes()
			if err != nil {
				return err
			}
			known.Heard(id, n.epoch().Number, some, transfer.Places(marks, some))
			continue
		}
		ask, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
		reply, err := peers{n}.callOn(ask, n.pool.CallBulk, id, &pb.PeerRequest{
			Epoch: n.epoch().Number, Body: &pb.PeerRequest_ReadMoves{ReadMoves: &pb.ReadMoves{Moves: protoMoves(some)}},
		})
		cancel()
		if err != nil {
			return err
		}
		known.Heard(id, reply.GetReadMoves().GetEpoch(), some, ints(reply.GetReadMoves().GetComplete()))
	}
	return nil
}
