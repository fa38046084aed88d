package transfer

import (
	"slices"
	"sync"

	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Known is what has been heard of nodes at one epoch: how far they have learnt, and what they are complete for. Both only grow, so
// what was heard once is not asked again. It is safe for concurrent use.
type Known struct {
	epoch   *ring.Epoch
	quorums []ring.Quorums

	mu       sync.Mutex
	epochs   map[ring.NodeID]uint64
	complete map[ring.NodeID]map[storage.Move]bool
}

// NewKnown knows nothing.
func NewKnown(e *ring.Epoch, quorums []ring.Quorums) *Known {
	return &Known{
		epoch: e, quorums: quorums, epochs: make(map[ring.NodeID]uint64), complete: make(map[ring.NodeID]map[storage.Move]bool),
	}
}

// Questions lists whom to ask, and about which moves, before a commit of the move that is under way or a drop of some ranges. Of
// those that are in the list without a move only the epoch counts.
func (k *Known) Questions(drop []Range) map[ring.NodeID][]storage.Complete {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make(map[ring.NodeID][]storage.Complete)
	ask := func(owners []ring.NodeID, sources int, m storage.Move) {
		for _, id := range owners {
			if m.Origin != 0 && !k.complete[id][m] {
				out[id] = append(out[id], storage.Complete{Move: m, Sources: sources})
			}
		}
	}
	e := k.epoch
	for _, n := range replicas(k.quorums) {
		for p := range e.Partitions() {
			if !e.Moves(p, n) {
				continue
			}
			old := e.Owners(p, n)
			for _, id := range old {
				if _, asked := out[id]; !asked && k.epochs[id] < e.Number {
					out[id] = nil
				}
			}
			ask(e.NextOwners(p, n), NeedOf(len(old), n, k.quorums), moveOf(e, p, n, e.NextOrigin(p, n)))
		}
	}
	for _, r := range drop {
		owners := e.Owners(r.Partition, r.N)
		ask(owners, NeedOf(len(owners), r.N, k.quorums), moveOf(e, r.Partition, r.N, e.Origin(r.Partition, r.N)))
	}
	return out
}

// Heard takes in what a node has said: its epoch, and the places of those moves that it is complete for.
func (k *Known) Heard(id ring.NodeID, epoch uint64, asked []storage.Complete, complete []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.epochs[id] = max(k.epochs[id], epoch)
	if k.complete[id] == nil {
		k.complete[id] = make(map[storage.Move]bool)
	}
	for _, i := range complete {
		if i >= 0 && i < len(asked) {
			k.complete[id][asked[i].Move] = true
		}
	}
}

// Facts are what ring.Epoch.MayCommit and MayDrop ask for.
func (k *Known) Facts() ring.Facts {
	return ring.Facts{
		Epoch: func(id ring.NodeID) uint64 {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.epochs[id]
		},
		Complete: func(id ring.NodeID, p, n int, origin uint64) bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.complete[id][moveOf(k.epoch, p, n, origin)]
		},
	}
}

// Places are those of the moves that marks cover, from as many sources as each names.
func Places(marks, asked []storage.Complete) []int {
	index := indexMarks(marks)
	var out []int
	for i, c := range asked {
		if index.cover(c.Move, c.Sources) {
			out = append(out, i)
		}
	}
	return slices.Clip(out)
}
