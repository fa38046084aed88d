package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/node/membership"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// vouching is what a node must know to say what its data vouches for.
type vouching struct {
	opened causal.HLC // the clock's bound on disk when the node started
	// changing orders changes of claims: it holds a token across the fsync.
	changing chan struct{}

	told remembered

	mu sync.Mutex
	// since is when this node first served.
	since time.Time
	// purged is what was purged since the start.
	purged storage.Purged
	// oldDisk: peers remember more of this node than was on its disk.
	oldDisk bool
}

// remember notes the bound of a member's clock, and returns the highest that earlier processes of it have named.
func (n *Node) remember(id ring.NodeID, process, bound uint64) causal.HLC {
	if process == 0 || !n.state.Snapshot().IsMember(id) {
		return 0
	}
	return n.vouching.told.tell(id, process, causal.HLC(bound))
}

// noticePutBack takes what a member remembers of this node: the disk may be an old one that was put back.
func (n *Node) noticePutBack(remembered causal.HLC) {
	select {
	case <-n.ready: // before that the node asks for it, once it knows what it owns
		if n.isOldDisk(remembered) {
			n.loops.Go(func() { n.rebuildAll(remembered) })
		}
	default:
	}
}

// isOldDisk reports, once, that the disk has less on it than others remember.
func (n *Node) isOldDisk(remembered causal.HLC) bool {
	v := &n.vouching
	v.mu.Lock()
	defer v.mu.Unlock()
	if remembered <= v.opened || v.oldDisk {
		return false
	}
	if err := n.clock.Observe(remembered); err != nil {
		n.log.Warn("what another node remembers of this node's clock can't be", "remembered", remembered, "error", err)
		return false
	}
	v.oldDisk = true
	n.log.Error("the data directory is older than what other nodes remember of this node: its copies are rebuilt from theirs",
		"on_disk", v.opened, "remembered", remembered)
	return true
}

// rebuildAll takes the vote from everything that this node owns. What others remember of its clock becomes its own.
func (n *Node) rebuildAll(remembered causal.HLC) {
	err := n.abstaining.begin(n.store) // before the bound is raised, by which the disk would be taken for a new one
	if err == nil {
		err = n.changeClaims(n.stopping, n.ownParts(), func(c *storage.Claim) bool { return setRebuilding(c, 0) })
	}
	if err == nil {
		err = n.store.SetHLCBound(remembered)
	}
	if err != nil {
		n.log.Error("could not note that everything is to be rebuilt", "error", err)
		n.vouching.mu.Lock()
		n.vouching.oldDisk = false // the next that remembers has it tried again
		n.vouching.mu.Unlock()
		return
	}
	n.clock.Raise(remembered)
	notify(n.rebuilds)
}

// setRebuilding takes a claim back, but for what is known to be purged elsewhere.
func setRebuilding(c *storage.Claim, level causal.HLC) bool {
	next := *c
	next.Floor, next.PurgeLevel, next.Rebuilding = 0, max(c.PurgeLevel, level), true
	changed := next != *c
	*c = next
	return changed
}

// staleAt is told that another owner has purged further than this one knows. That an owner which a move brought in claims nothing
// says nothing: it may not have pulled the partition yet, or no round may have ended since.
func (n *Node) staleAt(part antientropy.Part, level causal.HLC) {
	if own := n.store.ClaimOf(part.N, uint64(part.Partition)<<(64-n.partitionBits())); own.Floor == 0 && n.mayBeNew(part) {
		return
	}
	err := n.clock.Observe(level)
	if err == nil {
		err = n.store.Attest(n.stopping, level)
	}
	if err != nil {
		n.log.Warn("another owner's purge level can't be taken", "purge_level", level, "error", err)
		return
	}
	if arriving, err := n.arriving(part); err != nil || arriving {
		if err == nil {
			err = n.raiseLevel(n.stopping, part, level)
		}
		if err != nil {
			n.log.Error("could not note how far another owner has purged", "error", err)
		}
		return
	}
	n.log.Error("another owner has purged further than this node's data reaches: the copy is rebuilt",
		"partition", part.Partition, "n", part.N, "purge_level", level)
	err = n.changeClaims(n.stopping, []antientropy.Part{part}, func(c *storage.Claim) bool {
		return level > c.Floor && setRebuilding(c, level)
	})
	if err != nil {
		n.log.Error("could not note that a partition is to be rebuilt", "error", err)
	}
	notify(n.rebuilds)
}

// mayBeNew reports whether a move may have made this node an owner of a part, which owners of the first layout never were.
func (n *Node) mayBeNew(p antientropy.Part) bool {
	epoch := n.epoch()
	return epoch.Origin(p.Partition, p.N) > 0 || !slices.Contains(epoch.Owners(p.Partition, p.N), n.id)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var errNotFounded = errors.New("this node belongs to no cluster yet")

// changeClaims changes the claims of parts, one caller at a time; those for which change reports false stay.
func (n *Node) changeClaims(ctx context.Context, parts []antientropy.Part, change func(*storage.Claim) bool) error {
	if !n.state.Snapshot().Founded() {
		return errNotFounded
	}
	bits := n.partitionBits()
	select {
	case n.vouching.changing <- struct{}{}:
		defer func() { <-n.vouching.changing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var changed []storage.Claim
	for _, p := range parts {
		c := n.store.ClaimOf(p.N, uint64(p.Partition)<<(64-bits))
		c.N, c.Partition = p.N, p.Partition
		if change(&c) {
			changed = append(changed, c)
		}
	}
	return n.store.SetClaims(ctx, bits, changed)
}

func (n *Node) partitionBits() int {
	bits := 0
	for p := n.state.Snapshot().Epoch.Partitions(); p > 1; p /= 2 {
		bits++
	}
	return bits
}

// replicaCounts are the Ns of the buckets that there are, ascending.
func (n *Node) replicaCounts() []int {
	var out []int
	for _, b := range n.state.Snapshot().Buckets() {
		out = append(out, b.N)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ownParts are all that this node owns, in a move by either layout, or has claims of.
func (n *Node) ownParts() []antientropy.Part {
	if !n.state.Snapshot().Founded() {
		return nil
	}
	epoch := n.epoch()
	var out []antientropy.Part
	for _, count := range n.replicaCounts() {
		for p := range epoch.Partitions() {
			if epoch.IsOwner(p, count, n.id) {
				out = append(out, antientropy.Part{N: count, Partition: p})
			}
		}
	}
	owned := make(map[antientropy.Part]bool, len(out))
	for _, p := range out {
		owned[p] = true
	}
	for _, c := range n.store.ClaimsAt(n.partitionBits()) {
		if p := (antientropy.Part{N: c.N, Partition: c.Partition}); !owned[p] {
			out = append(out, p)
		}
	}
	return out
}

// sharedParts are those that another node owns too.
func (n *Node) sharedParts(id ring.NodeID) []antientropy.Part {
	var out []antientropy.Part
	for _, share := range n.sharedWith(id).Shares {
		for _, p := range share.Partitions {
			out = append(out, antientropy.Part{N: share.N, Partition: p})
		}
	}
	return out
}

func protoParts(parts []antientropy.Part) []*pb.Parts {
	var out []*pb.Parts
	for _, p := range parts {
		if len(out) == 0 || int(out[len(out)-1].GetN()) != p.N {
			out = append(out, &pb.Parts{N: uint32(p.N)})
		}
		last := out[len(out)-1]
		last.Partitions = append(last.Partitions, uint32(p.Partition))
	}
	return out
}

// partsOf are the parts of a peer's message, if they can be: at most two for each partition and possible N.
func (n *Node) partsOf(in []*pb.Parts) ([]antientropy.Part, error) {
	var out []antientropy.Part
	epoch := n.epoch()
	for _, parts := range in {
		if parts.GetN() < 1 || parts.GetN() > ring.MaxReplicas {
			return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "partitions at N=%d", parts.GetN())
		}
		for _, p := range parts.GetPartitions() {
			if int(p) >= epoch.Partitions() || len(out) > 2*ring.MaxReplicas*epoch.Partitions() {
				return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "partition %d of %d", p, epoch.Partitions())
			}
			out = append(out, antientropy.Part{N: int(parts.GetN()), Partition: int(p)})
		}
	}
	return out, nil
}

// readClaims tells another owner what this node's data claims.
func (s peerService) readClaims(from ring.NodeID, epoch uint64, m *pb.ReadClaims) (*pb.ReadClaimsReply, error) {
	n := s.n
	if !n.state.Snapshot().Founded() {
		return nil, notReady("this node belongs to no cluster yet")
	}
	if len(m.GetParts()) > 0 {
		if err := n.sameEpoch(n.epoch(), epoch); err != nil {
			return nil, err
		}
	}
	parts, err := n.partsOf(m.GetParts())
	if err != nil {
		return nil, err
	}
	out := &pb.ReadClaimsReply{
		Process: n.store.Process(), Attested: uint64(n.store.Attested()), TreesSuspect: n.store.TreesSuspect(),
		Remembered: uint64(n.remember(from, m.GetProcess(), m.GetHlcBound())),
	}
	shift := 64 - n.partitionBits()
	for i, p := range parts {
		c := n.store.ClaimOf(p.N, uint64(p.Partition)<<shift)
		out.Floors, out.PurgeLevels = append(out.Floors, uint64(c.Floor)), append(out.PurgeLevels, uint64(c.PurgeLevel))
		if c.Rebuilding {
			out.Rebuilding = append(out.Rebuilding, uint32(i))
		}
	}
	return out, nil
}

// peerClaims are another owner's claims of some parts, in their order.
type peerClaims struct {
	process              uint64
	attested, remembered causal.HLC
	suspect              bool // its trees
	claims               []storage.Claim
}

func (p peers) claims(ctx context.Context, id ring.NodeID, parts []antientropy.Part) (peerClaims, error) {
	ctx, cancel := context.WithTimeout(ctx, p.n.cfg.RequestTimeout)
	defer cancel()
	reply, err := p.callOn(ctx, p.n.pool.CallBulk, id, &pb.PeerRequest{
		Epoch: p.n.epoch().Number, Body: &pb.PeerRequest_ReadClaims{ReadClaims: &pb.ReadClaims{
			Parts: protoParts(parts), Process: p.n.store.Process(), HlcBound: uint64(p.n.store.HLCBound()),
		}},
	})
	if err != nil {
		return peerClaims{}, err
	}
	r := reply.GetReadClaims()
	if len(r.GetFloors()) != len(parts) || len(r.GetPurgeLevels()) != len(parts) || r.GetProcess() == 0 {
		return peerClaims{}, p.malformed(id, fmt.Sprintf("claims of %d partitions, not %d", len(r.GetFloors()), len(parts)))
	}
	out := peerClaims{process: r.GetProcess(), attested: causal.HLC(r.GetAttested()), remembered: causal.HLC(r.GetRemembered()), suspect: r.GetTreesSuspect()}
	rebuilding := make(map[uint32]bool, len(parts))
	for _, i := range r.GetRebuilding() {
		rebuilding[i] = true
	}
	for i, part := range parts {
		floor, level := causal.HLC(r.GetFloors()[i]), causal.HLC(r.GetPurgeLevels()[i])
		if err := p.n.clock.Observe(max(floor, level)); err != nil {
			return peerClaims{}, p.malformed(id, err.Error())
		}
		out.claims = append(out.claims, storage.Claim{
			N: part.N, Partition: part.Partition, Floor: floor, PurgeLevel: level, Rebuilding: rebuilding[uint32(i)],
		})
	}
	return out, nil
}

// hear asks the members that can be reached what they know of this node's data, before it serves. Of those that can't it hears
// later: by pings of what they remember, by exchanges of how far they have purged.
func (n *Node) hear(ctx context.Context) {
	var asking sync.WaitGroup // bounded by the members
	for _, m := range n.state.Snapshot().Members() {
		if m.ID != n.id && n.detector.State(m.ID) == membership.Alive {
			asking.Go(func() { n.hearFrom(ctx, m.ID) })
		}
	}
	asking.Wait()
}

func (n *Node) hearFrom(ctx context.Context, id ring.NodeID) {
	heard, err := peers{n}.claims(ctx, id, n.sharedParts(id))
	if stale, ok := errors.AsType[*coordinator.StaleError](err); ok && n.learn(ctx, id, stale.Epoch) == nil {
		heard, err = peers{n}.claims(ctx, id, n.sharedParts(id)) // the ring has changed since this node brought its view up to date
	}
	if err != nil {
		n.log.Debug("a member did not tell what it knows of this node's data", "node", n.name(id), "error", err)
		return
	}
	if n.isOldDisk(heard.remembered) {
		n.rebuildAll(heard.remembered)
	}
	// What it has promised to refuse includes all that any round has passed by that it took part in.
	if heard.attested > n.store.Attested() && n.clock.Observe(heard.attested) == nil {
		if err := n.store.Attest(ctx, heard.attested); err != nil {
			n.log.Warn("could not attest as another node has", "error", err)
		}
	}
	for _, c := range heard.claims {
		part := antientropy.Part{N: c.N, Partition: c.Partition}
		if own := n.store.ClaimOf(c.N, uint64(c.Partition)<<(64-n.partitionBits())); !own.Rebuilding && !c.Rebuilding && c.PurgeLevel > own.Floor {
			n.staleAt(part, c.PurgeLevel)
		}
	}
}
