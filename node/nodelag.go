package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/starling-db/starling/antientropy"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// maxSetbacks bounds the reasons that a node tells others; those for the fewest partitions are left out.
const maxSetbacks = 16

// reasons says why rounds come to nothing, by part.
type reasons map[antientropy.Part]string

// partitionLags are the lags of the parts that this node owns, the oldest first, with the reasons that are known.
func (n *Node) partitionLags(why reasons) []*pb.PartitionLag {
	snap := n.state.Snapshot()
	if !snap.Founded() {
		return nil
	}
	shift := 64 - n.partitionBits()
	var out []*pb.PartitionLag
	for _, count := range n.replicaCounts() {
		for i := range snap.Epoch.Partitions() {
			if !slices.Contains(snap.Epoch.Owners(i, count), n.id) {
				continue // no round raises claims where only those are left, or where this node will be an owner once a move ends
			}
			p := antientropy.Part{N: count, Partition: i}
			out = append(out, &pb.PartitionLag{
				N: uint32(count), Partition: uint32(i), AgeMs: n.lagOf(p).Milliseconds(), Reason: why[p],
				Rebuilding: n.store.ClaimOf(count, uint64(i)<<shift).Rebuilding,
			})
		}
	}
	slices.SortFunc(out, func(a, b *pb.PartitionLag) int {
		return cmp.Or(cmp.Compare(b.AgeMs, a.AgeMs), cmp.Compare(a.N, b.N), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// nodeLag is this node's lag, by what it knows itself.
func (n *Node) nodeLag() *pb.NodeLag {
	why := n.ownReasons()
	totals := n.repairs.Totals()
	out := &pb.NodeLag{Mended: uint64(totals.Fetched) + uint64(totals.Pushed)}
	parts := n.partitionLags(why)
	if len(parts) > 0 {
		out.Worst = parts[0]
	}
	for _, p := range parts {
		if p.Rebuilding {
			out.Rebuilding++
		}
	}
	hints := n.ownHints()
	for _, h := range hints {
		out.Hints += h.Items
		out.OldestHintMs = max(out.OldestHintMs, h.OldestMs)
	}
	if oldest, ok := n.repairs.Oldest(); ok {
		ms := max(n.opts.Now().Sub(oldest), 0).Milliseconds()
		out.ExchangeMs = &ms
	}
	if all := setbacksOf(why); len(all) > 0 {
		out.Setback, out.SetbackPartitions = all[0].Why, uint32(partsIn(all[0]))
	}
	warn, alarm := n.cfg.LagLimits()
	facts := lagFacts{worst: out.Worst, rounds: n.cfg.RepairInterval > 0, rebuilding: int(out.Rebuilding), hints: hints}
	out.Severity, out.Findings = judge(facts, lagLimits{warn, alarm})
	return out
}

// setbacksOf puts the parts of one reason together, those of most parts first.
func setbacksOf(why reasons) []*pb.Setback {
	byWhy := make(map[string][]antientropy.Part)
	for p, w := range why {
		byWhy[w] = append(byWhy[w], p)
	}
	var out []*pb.Setback
	for _, w := range slices.SortedFunc(maps.Keys(byWhy), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(byWhy[b]), len(byWhy[a])), cmp.Compare(a, b))
	}) {
		parts := byWhy[w]
		slices.SortFunc(parts, func(a, b antientropy.Part) int {
			return cmp.Or(cmp.Compare(a.N, b.N), cmp.Compare(a.Partition, b.Partition))
		})
		out = append(out, &pb.Setback{Why: w, Parts: protoParts(parts)})
	}
	return out[:min(len(out), maxSetbacks)]
}

func partsIn(s *pb.Setback) (count int) {
	for _, p := range s.GetParts() {
		count += len(p.GetPartitions())
	}
	return count
}

// ownReasons are why rounds come to nothing that this node leads.
func (n *Node) ownReasons() reasons {
	why := make(reasons)
	for p, s := range n.rounds.Setbacks() {
		why[p] = s.Why
	}
	return why
}

// lagLines are what is yellow or red of this node, for its probe.
func (n *Node) lagLines() (out []string) {
	if !n.state.Snapshot().Founded() {
		return nil
	}
	lag := n.nodeLag()
	unexplained := false
	for _, f := range lag.GetFindings() {
		out = append(out, severityName(f.GetSeverity())+": "+findingText(f))
		unexplained = unexplained || f.GetKind() == pb.LagFinding_KIND_WATERMARK && f.GetWhy() == ""
	}
	if unexplained && lag.GetSetback() != "" { // another node leads there, and what hinders this one may well hinder that too
		out = append(out, fmt.Sprintf("rounds led by this node come to nothing for %d partitions: %s", lag.GetSetbackPartitions(), lag.GetSetback()))
	}
	return out
}

// listHints answers another node.
func (n *Node) listHints(m *pb.ListHints) *pb.ListHintsReply {
	out := &pb.ListHintsReply{Hints: n.ownHints()}
	if m.GetLag() && n.state.Snapshot().Founded() {
		out.Lag, out.Setbacks = n.nodeLag(), setbacksOf(n.ownReasons())
	}
	return out
}

// lags are what the nodes that answered say of their lag.
type lags struct {
	byNode map[ring.NodeID]*pb.NodeLag
	why    reasons
}

func (l *lags) take(id ring.NodeID, lag *pb.NodeLag, setbacks []*pb.Setback) {
	if lag != nil {
		l.byNode[id] = lag
	}
	for _, s := range setbacks {
		for _, of := range s.GetParts() {
			for _, p := range of.GetPartitions() {
				l.why[antientropy.Part{N: int(of.GetN()), Partition: int(p)}] = s.GetWhy()
			}
		}
	}
}

// explain adds to each node's figures what only the leader of a partition's rounds knows: why they come to nothing.
func (l *lags) explain() {
	for _, lag := range l.byNode {
		if w := lag.GetWorst(); w != nil && w.Reason == "" {
			w.Reason = l.why[antientropy.Part{N: int(w.GetN()), Partition: int(w.GetPartition())}]
		}
		for _, f := range lag.GetFindings() {
			if f.GetKind() == pb.LagFinding_KIND_WATERMARK && f.GetWhy() == "" {
				f.Why = lag.GetWorst().GetReason()
			}
		}
	}
}
