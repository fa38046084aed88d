package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// longestWrite is how long a write may be on its way beyond its request's time.
const longestWrite = 5 * time.Second

// comparePatience bounds the comparison of one pair of owners: one that lost much takes its time.
const comparePatience = time.Hour

// openRounds makes what raises floors.
func (n *Node) openRounds() error {
	n.vouching.changing = make(chan struct{}, 1)
	rng, err := n.seeded()
	if err != nil {
		return err
	}
	n.rounds, err = antientropy.NewRounds(antientropy.RoundOptions{
		Peer: peers{n}.rounds(), Lead: n.leads, Reading: n.reading, Name: n.name,
		Up:      func(id ring.NodeID) bool { return id == n.id || n.healthOf(id) != coordinator.Down },
		Longest: n.cfg.RequestTimeout + longestWrite, Interval: n.repairInterval(), Now: n.opts.Now, Logger: n.log,
		Window: n.inRepairWindow, Rand: rng,
	})
	return err
}

// roundLoop leads rounds once the node serves.
func (n *Node) roundLoop(ctx context.Context) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return
	}
	n.stopOn("rounds", ctx, n.rounds.Run(ctx))
}

// reading takes a reading of the clock, whose bound may have to be raised first.
func (n *Node) reading(ctx context.Context) (causal.HLC, error) {
	for {
		h, err := n.clock.Now()
		bound, ok := errors.AsType[*causal.BoundError](err)
		if !ok {
			return h, err
		}
		if err := n.bound.raise(ctx, bound.Wanted); err != nil {
			return 0, err
		}
	}
}

// leads are the parts whose first owner that can be reached is this node. There are none while the ring changes.
func (n *Node) leads() antientropy.Lead {
	snap := n.state.Snapshot()
	if !snap.Founded() || snap.Epoch.Joint() {
		return antientropy.Lead{}
	}
	epoch := snap.Epoch
	out := antientropy.Lead{Epoch: epoch.Number}
	up := make(map[ring.NodeID]bool)
	for _, m := range snap.Members() {
		up[m.ID] = m.ID == n.id || n.healthOf(m.ID) == coordinator.Up
	}
	for _, count := range n.replicaCounts() {
		for p := range epoch.Partitions() {
			owners := epoch.Owners(p, count)
			first := slices.IndexFunc(owners, func(id ring.NodeID) bool { return up[id] })
			if first < 0 || owners[first] != n.id {
				continue
			}
			part := antientropy.Part{N: count, Partition: p}
			out.Parts = append(out.Parts, antientropy.Seats{
				Part: part, Owners: owners, Guardians: n.cleared.guardians(epoch, part, snap.Members()),
			})
		}
	}
	return out
}

// attest is this node's part in a round, as a guardian.
func (n *Node) attest(ctx context.Context, epoch uint64, m *pb.Attest) (*pb.AttestReply, error) {
	out := &pb.AttestReply{Process: n.store.Process()}
	if m.GetThrough() == 0 {
		return out, nil
	}
	now := n.epoch()
	if err := n.sameEpoch(now, epoch); err != nil {
		return nil, err
	}
	parts, err := n.partsOf(m.GetParts())
	if err != nil {
		return nil, err
	}
	at, through := causal.HLC(m.GetAt()), causal.HLC(m.GetThrough())
	if n.store.TreesSuspect() {
		return nil, notReady("this node is looking through its trees after an unclean stop")
	}
	if through >= at {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a round at %v through %v", at, through)
	}
	places := make(map[antientropy.Part]int, len(parts))
	for i, p := range parts {
		// After the first epoch whoever is a member attests: it may have been a guardian.
		if now.Joint() || now.Number == 0 && !now.IsGuardian(p.Partition, p.N, n.id) {
			return nil, &fault{code: codes.FailedPrecondition, reason: pb.Reason_REASON_INVALID_ARGUMENT,
				message: fmt.Sprintf("this node is no guardian of partition %d at N=%d, or the ring changes", p.Partition, p.N)}
		}
		places[p] = i
	}
	if err := n.clock.Observe(at); err != nil {
		return nil, err
	}
	if err := n.store.Attest(ctx, through); err != nil {
		return nil, err
	}
	hinted, err := n.hintedParts(ctx, through, places)
	if err != nil {
		return nil, err
	}
	shift := 64 - n.partitionBits()
	for i, p := range parts {
		c := n.store.ClaimOf(p.N, uint64(p.Partition)<<shift)
		out.Floors = append(out.Floors, uint64(c.Floor))
		if c.Rebuilding {
			out.Rebuilding = append(out.Rebuilding, uint32(i))
		}
		if hinted[p] {
			out.Hinted = append(out.Hinted, uint32(i))
		}
	}
	return out, nil
}

// hintedParts are those of parts in which this node holds a hint with a dot up to h.
func (n *Node) hintedParts(ctx context.Context, h causal.HLC, parts map[antientropy.Part]int) (map[antientropy.Part]bool, error) {
	snap := n.state.Snapshot()
	hinted := make(map[antientropy.Part]bool)
	partOf := func(bucket, token uint64) (part antientropy.Part, known bool) {
		b, known := snap.BucketByID(bucket)
		if !known {
			return antientropy.Part{}, false
		}
		return antientropy.Part{N: b.N, Partition: snap.Epoch.PartitionOf(ring.Token(token))}, true
	}
	want := func(bucket, token uint64) bool {
		if snap.Dropped(bucket) {
			return false
		}
		part, known := partOf(bucket, token)
		_, asked := parts[part]
		return !known || asked && !hinted[part]
	}
	err := n.store.HintsUpTo(ctx, h, want, func(bucket, token uint64) {
		part, known := partOf(bucket, token)
		if known {
			hinted[part] = true
			return
		}
		for p := range parts { // of a bucket that this node has yet to hear of
			hinted[p] = true
		}
	})
	return hinted, err
}

// raiseFloors is the end of a round for an owner. If the ring has changed since the round began it came to nothing.
func (n *Node) raiseFloors(ctx context.Context, epoch uint64, m *pb.RaiseFloors) error {
	now := n.epoch()
	if err := n.sameEpoch(now, epoch); err != nil {
		return err
	}
	parts, err := n.partsOf(m.GetParts())
	if err != nil {
		return err
	}
	through := causal.HLC(m.GetFloor())
	switch {
	case len(m.GetPurgeLevels()) != len(parts):
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "%d purge levels for %d partitions", len(m.GetPurgeLevels()), len(parts))
	case m.GetProcess() != n.store.Process():
		return &fault{code: codes.FailedPrecondition, reason: pb.Reason_REASON_INVALID_ARGUMENT, message: "this node was restarted since it attested"}
	case through > n.store.Attested():
		return invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a floor of %v, and this node has attested %v", through, n.store.Attested())
	}
	levels := make(map[antientropy.Part]causal.HLC, len(parts))
	for i, p := range parts {
		if now.Joint() || !now.IsOwner(p.Partition, p.N, n.id) {
			return &fault{code: codes.FailedPrecondition, reason: pb.Reason_REASON_INVALID_ARGUMENT,
				message: fmt.Sprintf("this node is no owner of partition %d at N=%d, or the ring changes", p.Partition, p.N)}
		}
		levels[p] = causal.HLC(m.GetPurgeLevels()[i])
	}
	err = n.changeClaims(ctx, parts, func(c *storage.Claim) bool {
		part := antientropy.Part{N: c.N, Partition: c.Partition}
		if c.Rebuilding {
			return false
		}
		before := *c
		c.Floor = max(c.Floor, through)
		c.PurgeLevel = max(c.PurgeLevel, min(levels[part], before.Floor)) // which is what this owner attested, or higher
		return *c != before
	})
	if err != nil {
		return err
	}
	notify(n.purges)
	return nil
}

// rounds asks nodes for their part in a round: this one by a call, others on the stream that keeps out of the way of clients.
func (p peers) rounds() antientropy.RoundPeer {
	n := p.n
	ask := func(ctx context.Context, id ring.NodeID, epoch uint64, req *pb.PeerRequest) (*pb.PeerReply, error) {
		ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
		defer cancel()
		req.Epoch = epoch
		return p.callOn(ctx, n.pool.CallBulk, id, req)
	}
	attest := func(ctx context.Context, id ring.NodeID, epoch uint64, m *pb.Attest) (*pb.AttestReply, error) {
		if id == n.id {
			return n.attest(ctx, epoch, m)
		}
		reply, err := ask(ctx, id, epoch, &pb.PeerRequest{Body: &pb.PeerRequest_Attest{Attest: m}})
		return reply.GetAttest(), err
	}
	return antientropy.RoundPeer{
		Attest: func(ctx context.Context, id ring.NodeID, epoch uint64, at, through causal.HLC, parts []antientropy.Part) (antientropy.Attestation, error) {
			reply, err := attest(ctx, id, epoch, &pb.Attest{At: uint64(at), Through: uint64(through), Parts: protoParts(parts)})
			out := antientropy.Attestation{Process: reply.GetProcess(), Hinted: ints(reply.GetHinted()), Rebuilding: ints(reply.GetRebuilding())}
			for _, f := range reply.GetFloors() {
				out.Floors = append(out.Floors, causal.HLC(f))
			}
			if err == nil {
				n.cleared.attested(epoch, id, parts, out.Hinted)
			}
			return out, err
		},
		Process: func(ctx context.Context, id ring.NodeID) (uint64, error) {
			reply, err := attest(ctx, id, n.epoch().Number, &pb.Attest{})
			return reply.GetProcess(), err
		},
		Compare: func(ctx context.Context, pair antientropy.Pair) ([]int, error) {
			if pair.A == n.id {
				report, err := n.repairs.Exchange(ctx, pair.B, antientropy.Scope{N: pair.N, Partitions: pair.Partitions, Yield: true})
				return report.Doubtful, err
			}
			ctx, cancel := context.WithTimeout(ctx, comparePatience)
			defer cancel()
			reply, err := p.callOn(ctx, n.pool.CallBulk, pair.A, &pb.PeerRequest{Epoch: n.epoch().Number, Body: &pb.PeerRequest_Compare{
				Compare: &pb.CompareRequest{NodeId: pair.A[:], WithId: pair.B[:], Partitions: uint32s(pair.Partitions), N: uint32(pair.N)},
			}})
			return ints(reply.GetCompare().GetDoubtful()), err
		},
		Raise: func(ctx context.Context, epoch uint64, through causal.HLC, raise antientropy.Raise) error {
			m := &pb.RaiseFloors{Process: raise.Process, Floor: uint64(through), Parts: protoParts(raise.Parts)}
			for _, l := range raise.PurgeLevels {
				m.PurgeLevels = append(m.PurgeLevels, uint64(l))
			}
			if raise.Node == n.id {
				return n.raiseFloors(ctx, epoch, m)
			}
			_, err := ask(ctx, raise.Node, epoch, &pb.PeerRequest{Body: &pb.PeerRequest_RaiseFloors{RaiseFloors: m}})
			return err
		},
	}
}

// purgeLoop purges when levels have risen.
func (n *Node) purgeLoop(ctx context.Context) {
	nOf := func(bucket uint64) int {
		snap := n.state.Snapshot()
		if b, ok := snap.BucketByID(bucket); ok && !snap.Dropped(bucket) {
			return b.N
		}
		return 0
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.purges:
		}
		done, err := n.store.Purge(ctx, nOf, n.recountPace(ctx))
		n.vouching.mu.Lock()
		n.vouching.purged.Items += done.Items
		n.vouching.purged.Removed += done.Removed
		n.vouching.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.log.Warn("purging was cut short", "error", err)
		case done.Items > 0:
			n.log.Info("purged", "items", done.Items, "removed", done.Removed, "leaves", done.Leaves)
		}
	}
}
