package merkle

import (
	"errors"
	"fmt"
)

// stride is how many levels one step of a walk goes down: 16 sums for each node that differs.
const stride = 4

// Walk finds the leaves in which two trees of one height differ, level by level. The side that asks has one: it sends the
// nodes of Ask to the other side, which answers with the sums of their descendants (Answer), and hands those to Compare,
// until there is nothing more to ask.
//
// Either tree may change meanwhile. Then leaves may be found that don't differ any more, and some that have begun to are
// not found: the next walk finds those.
type Walk struct {
	bits  int
	depth int
	nodes []int // at depth, that differ
	most  int
}

// NewWalk begins with two roots that differ. It goes on with at most most nodes of a level, the first that differ, so that
// what one walk finds, and sends, is bounded; most is at least 1.
func NewWalk(bits, most int) *Walk {
	return &Walk{bits: bits, nodes: []int{0}, most: max(most, 1)}
}

// Ask returns the nodes whose descendants are to be compared next, all at one depth; none when the walk is over.
func (w *Walk) Ask() (depth int, nodes []int) {
	if w.depth == w.bits {
		return w.depth, nil
	}
	return w.depth, w.nodes
}

// Leaves returns what the walk found: the leaves that differ, ascending. Before its end it returns none.
func (w *Walk) Leaves() []int {
	if w.depth < w.bits {
		return nil
	}
	return w.nodes
}

// ErrWalk says that the other side's part of a walk makes no sense.
var ErrWalk = errors.New("merkle: a walk that can't be")

// Compare goes one step down with the other side's sums for what Ask returned. It fails with ErrWalk when those are not as
// many as was asked for.
func (w *Walk) Compare(own *Tree, theirs []Sum) error {
	levels := step(w.bits, w.depth)
	if w.depth == w.bits || len(theirs) != len(w.nodes)<<levels || own.bits != w.bits {
		return fmt.Errorf("%w: %d sums for %d nodes at depth %d of %d", ErrWalk, len(theirs), len(w.nodes), w.depth, w.bits)
	}
	var next []int
	for n, node := range w.nodes {
		for c, mine := range own.Children(w.depth, node, levels) {
			if mine != theirs[n<<levels+c] && len(next) < w.most {
				next = append(next, node<<levels+c)
			}
		}
	}
	w.depth += levels
	w.nodes = next
	if len(next) == 0 {
		w.depth = w.bits // nothing differs any more
	}
	return nil
}

// Answer returns the sums that a walk on the other side asked for. It fails with ErrWalk when there are no such nodes: what
// comes from another node is not to be trusted with an index.
func Answer(t *Tree, depth int, nodes []int) ([]Sum, error) {
	if depth < 0 || depth >= t.bits {
		return nil, fmt.Errorf("%w: depth %d of %d", ErrWalk, depth, t.bits)
	}
	levels := step(t.bits, depth)
	sums := make([]Sum, 0, min(len(nodes), 1<<depth)<<levels)
	for i, node := range nodes {
		if node < 0 || node >= 1<<depth || i > 0 && node <= nodes[i-1] {
			return nil, fmt.Errorf("%w: node %d at depth %d", ErrWalk, node, depth)
		}
		sums = append(sums, t.Children(depth, node, levels)...)
	}
	return sums, nil
}

// step is how many levels a walk goes down from a depth.
func step(bits, depth int) int { return min(stride, bits-depth) }
