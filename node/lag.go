package node

import (
	"strconv"
	"time"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/node/telemetry"
)

// lagOf is how far the watermark of a part lies behind, as this owner knows it: since its floor, or since the node first
// served if there has been no round yet.
func (n *Node) lagOf(p antientropy.Part) time.Duration {
	floor := n.store.ClaimOf(p.N, uint64(p.Partition)<<(64-n.partitionBits())).Floor
	since := floor.Time()
	if floor == 0 {
		since = n.vouching.servesSince()
	}
	if since.IsZero() {
		return 0
	}
	return max(n.opts.Now().Sub(since), 0)
}

func (v *vouching) servesSince() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.since
}

// watermarks are the lags of all parts that this node owns.
func (n *Node) watermarks() (out []telemetry.Watermark) {
	if !n.state.Snapshot().Founded() {
		return nil
	}
	for _, p := range n.ownParts() {
		out = append(out, telemetry.Watermark{N: strconv.Itoa(p.N), Partition: strconv.Itoa(p.Partition), Age: n.lagOf(p)})
	}
	return out
}

// lagFigures are what /metrics shows of rounds and purging.
func (n *Node) lagFigures() telemetry.Lag {
	t := n.rounds.Totals()
	out := telemetry.Lag{Rounds: t.Rounds, Raised: t.Raised, Failed: t.Failed, PurgeDue: uint64(n.store.PurgeDue())}
	for _, c := range n.store.Claims() {
		if c.Rebuilding {
			out.Rebuilding++
		}
	}
	n.vouching.mu.Lock()
	defer n.vouching.mu.Unlock()
	out.Purged, out.Removed = uint64(n.vouching.purged.Items), uint64(n.vouching.purged.Removed)
	return out
}
