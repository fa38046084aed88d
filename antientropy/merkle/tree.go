package merkle

import "fmt"

// MaxBits bounds a tree's height: a million leaves.
const MaxBits = 20

// Tree holds the sums of a range's leaves. It is not safe for concurrent use.
type Tree struct {
	bits   int
	leaves []Sum
}

// New returns the tree of no items, with 2^bits leaves; bits is 0 to MaxBits.
func New(bits int) *Tree {
	if bits < 0 || bits > MaxBits {
		panic(fmt.Sprintf("merkle: a tree of height %d", bits))
	}
	return &Tree{bits: bits, leaves: make([]Sum, 1<<bits)}
}

// Bits is the tree's height: it has 2^Bits leaves.
func (t *Tree) Bits() int { return t.bits }

// Leaf returns a leaf's sum.
func (t *Tree) Leaf(i int) Sum { return t.leaves[i] }

// Set makes a leaf's sum what a count of its items gave.
func (t *Tree) Set(i int, s Sum) { t.leaves[i] = s }

// Change takes an item's old state out of a leaf and puts its new one in; an item that is not there has the zero Sum.
func (t *Tree) Change(i int, before, after Sum) {
	t.leaves[i] = t.leaves[i].Sub(before).Add(after)
}

// Root is the sum of all items.
func (t *Tree) Root() Sum { return t.Node(0, 0) }

// Node returns the sum of the i-th of the 2^depth nodes at a depth, from 0, the root, to Bits, the leaves.
func (t *Tree) Node(depth, i int) Sum {
	width := 1 << (t.bits - depth)
	var s Sum
	for _, leaf := range t.leaves[i*width : (i+1)*width] {
		s = s.Add(leaf)
	}
	return s
}

// Children returns the sums of a node's descendants that are levels below it.
func (t *Tree) Children(depth, i, levels int) []Sum {
	sums := make([]Sum, 1<<levels)
	for c := range sums {
		sums[c] = t.Node(depth+levels, i<<levels+c)
	}
	return sums
}

// Clone returns a copy that stays as it is.
func (t *Tree) Clone() *Tree {
	return &Tree{bits: t.bits, leaves: append([]Sum(nil), t.leaves...)}
}
