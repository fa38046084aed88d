package ring

import "container/heap"

// quotas decides how many partitions each node owns at each position of the owner lists. It hands
// out, for one prefix length after the other, as many seats as there are partitions, each to the
// node that has the fewest for its weight (Sainte-Laguë's divisors: proportional, never unfair to
// one size of node, and never taking a seat back when there are more to hand out). Nobody gets more
// seats than there are partitions, no zone more than the rounds allow it. Equal nodes are told
// apart by what they own already, then by id.
//
// The result is indexed position*members + node.
func (pl *planner) quotas() []int {
	quota := make([]int, pl.replicas*len(pl.members))
	seats := seatHeap{weight: make([]uint64, len(pl.members)), taken: make([]int, len(pl.members))}
	for i, m := range pl.members {
		seats.weight[i] = uint64(m.Weight)
	}
	zoneTaken := make([]int, len(pl.zoneSize))
	for m := range pl.replicas {
		row := quota[m*len(pl.members) : (m+1)*len(pl.members)]
		seats.now, seats.before = row, pl.before[m*len(pl.members):(m+1)*len(pl.members)]
		seats.order = seats.order[:0]
		for i := range pl.members {
			seats.order = append(seats.order, i)
		}
		heap.Init(&seats)
		for left := pl.partitions; left > 0; {
			i := seats.order[0]
			z := pl.zoneOf[i]
			if seats.taken[i] == pl.partitions || zoneTaken[z] == pl.partitions*(pl.round[m]+1) {
				heap.Pop(&seats)
				continue
			}
			seats.taken[i]++
			zoneTaken[z]++
			row[i]++
			left--
			heap.Fix(&seats, 0)
		}
	}
	return quota
}

// seatHeap orders nodes by who is next to get a seat.
type seatHeap struct {
	weight []uint64
	taken  []int // by node: seats of all prefixes so far
	now    []int // by node: seats at the present position
	before []int // by node: what it had at this position in the previous layout
	order  []int
}

func (h *seatHeap) Len() int { return len(h.order) }

func (h *seatHeap) Less(x, y int) bool {
	a, b := h.order[x], h.order[y]
	// Seats are at most MaxPartitions and weights 32 bits: the products fit.
	na, nb := uint64(2*h.taken[a]+1)*h.weight[b], uint64(2*h.taken[b]+1)*h.weight[a]
	if na != nb {
		return na < nb
	}
	if keepA, keepB := h.now[a] < h.before[a], h.now[b] < h.before[b]; keepA != keepB {
		return keepA
	}
	return a < b
}

func (h *seatHeap) Swap(x, y int) { h.order[x], h.order[y] = h.order[y], h.order[x] }

// Push is part of heap.Interface.
func (h *seatHeap) Push(x any) { h.order = append(h.order, x.(int)) }

// Pop is part of heap.Interface.
func (h *seatHeap) Pop() any {
	last := h.order[len(h.order)-1]
	h.order = h.order[:len(h.order)-1]
	return last
}
