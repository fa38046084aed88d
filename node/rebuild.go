package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// rebuildChunk is how many partitions are compared at once: what breaks off costs no more than these.
const rebuildChunk = 32

// rebuildTick is how often owners are tried again that could not be reached.
const rebuildTick = 5 * time.Second

// rebuildLoop compares what vouches for nothing with all its other owners, until it does again.
func (n *Node) rebuildLoop(ctx context.Context) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return
	}
	going := make(map[antientropy.Part]*antientropy.Rebuild)
	ticker := time.NewTicker(rebuildTick)
	defer ticker.Stop()
	for {
		n.rebuild(ctx, going)
		select {
		case <-ctx.Done():
			return
		case <-n.rebuilds:
		case <-ticker.C:
		}
	}
}

// rebuild goes once through all owners that are still to be compared with.
func (n *Node) rebuild(ctx context.Context, going map[antientropy.Part]*antientropy.Rebuild) {
	if n.store.TreesSuspect() {
		return // a comparison might miss something
	}
	epoch := n.epoch()
	counts := n.replicaCounts()
	sources := make(map[ring.NodeID][]antientropy.Part)
	var idle []antientropy.Part
	for _, c := range n.store.ClaimsAt(n.partitionBits()) {
		part := antientropy.Part{N: c.N, Partition: c.Partition}
		if !c.Rebuilding {
			delete(going, part)
			continue
		}
		if !slices.Contains(counts, c.N) || !epoch.IsOwner(c.Partition, c.N, n.id) {
			delete(going, part)
			idle = append(idle, part)
			continue
		}
		if going[part] == nil || going[part].Level() != c.PurgeLevel {
			going[part] = antientropy.NewRebuild(c.PurgeLevel)
		}
		for _, id := range rebuildFrom(epoch, part, n.id) {
			if going[part].Lacks(id) {
				sources[id] = append(sources[id], part)
			}
		}
	}
	if len(idle) > 0 { // nothing of it is here: no bucket has that N any more, or others own it
		err := n.changeClaims(ctx, idle, func(c *storage.Claim) bool {
			*c = storage.Claim{N: c.N, Partition: c.Partition}
			return true
		})
		if err != nil && ctx.Err() == nil {
			n.log.Warn("claims of nothing could not be removed", "error", err)
		}
	}
	for id, parts := range sources {
		for count := range ring.MaxReplicas + 1 {
			of := slices.DeleteFunc(slices.Clone(parts), func(p antientropy.Part) bool { return p.N != count })
			for some := range slices.Chunk(of, rebuildChunk) {
				if n.healthOf(id) != coordinator.Up {
					break
				}
				if err := n.pull(ctx, id, count, some, going); err != nil && ctx.Err() == nil {
					n.log.Warn("a copy that is rebuilt could not be compared", "with", n.name(id), "partitions", len(some), "error", err)
					break
				}
			}
		}
	}
	n.endRebuilds(ctx, going)
}

var errSuspect = errors.New("it has yet to look through its trees")

// pull merges all that another owner has of some parts.
func (n *Node) pull(ctx context.Context, id ring.NodeID, count int, parts []antientropy.Part, going map[antientropy.Part]*antientropy.Rebuild) error {
	before, err := peers{n}.claims(ctx, id, parts)
	if err != nil {
		return err
	}
	scope := antientropy.Scope{N: count, Yield: true}
	for _, p := range parts {
		scope.Partitions = append(scope.Partitions, p.Partition)
	}
	report, err := n.repairs.Exchange(ctx, id, scope)
	if err != nil {
		return err
	}
	after, err := peers{n}.claims(ctx, id, parts)
	if err == nil && (before.suspect || after.suspect) {
		return errSuspect
	}
	if err != nil || after.process != before.process {
		return err // what it had when this began may not be what it has now
	}
	for i, p := range parts {
		was, is := before.claims[i], after.claims[i]
		switch {
		case slices.Contains(report.Doubtful, p.Partition):
		case is.PurgeLevel > going[p].Level() && !is.Rebuilding:
			err := n.changeClaims(ctx, []antientropy.Part{p}, func(c *storage.Claim) bool { return c.Rebuilding && setRebuilding(c, is.PurgeLevel) })
			if err != nil {
				return err
			}
			notify(n.rebuilds) // once more, from the beginning
		default:
			going[p].Pulled(id, was.Floor, !was.Rebuilding && !is.Rebuilding)
		}
	}
	return nil
}

// rebuildFrom are the other owners that a part is rebuilt from: in a move those of the old layout, who have it all, by an owner of
// the next alone those of that, whom it shares the part with.
func rebuildFrom(epoch *ring.Epoch, p antientropy.Part, self ring.NodeID) []ring.NodeID {
	owners := epoch.Owners(p.Partition, p.N)
	if !slices.Contains(owners, self) {
		owners = epoch.NextOwners(p.Partition, p.N)
	}
	return slices.DeleteFunc(slices.Clone(owners), func(id ring.NodeID) bool { return id == self })
}

// endRebuilds lets those vouch again that were compared with all others.
func (n *Node) endRebuilds(ctx context.Context, going map[antientropy.Part]*antientropy.Rebuild) {
	epoch := n.epoch()
	floors := make(map[antientropy.Part][2]causal.HLC)
	var ended []antientropy.Part
	for p, r := range going {
		if floor, level, ok := r.Ended(rebuildFrom(epoch, p, n.id)); ok {
			floors[p] = [2]causal.HLC{floor, level}
			ended = append(ended, p)
		}
	}
	if len(ended) == 0 {
		return
	}
	highest := causal.HLC(0)
	for _, f := range floors {
		highest = max(highest, f[0])
	}
	err := n.clock.Observe(highest)
	if err == nil {
		err = n.store.Attest(ctx, highest)
	}
	if err == nil {
		err = n.changeClaims(ctx, ended, func(c *storage.Claim) bool {
			part := antientropy.Part{N: c.N, Partition: c.Partition}
			if !c.Rebuilding || c.PurgeLevel != going[part].Level() {
				return false
			}
			c.Floor, c.PurgeLevel, c.Rebuilding = floors[part][0], floors[part][1], false
			return true
		})
	}
	if err != nil {
		if ctx.Err() == nil {
			n.log.Warn("rebuilt copies could not be marked so", "error", err)
		}
		return
	}
	n.log.Info("copies are rebuilt", "partitions", len(ended))
	for _, p := range ended {
		delete(going, p)
	}
}
