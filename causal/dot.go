package causal

import (
	"cmp"
	"fmt"
)

// Actor is 64 random bits that a node draws for its record of one item. Random and never a counter:
// a restored disk would repeat a counter.
type Actor uint64

// String renders the actor as 16 hexadecimal digits.
func (a Actor) String() string { return fmt.Sprintf("%016x", uint64(a)) }

// Dot is the unique name of one write: who minted it, and when.
type Dot struct {
	Actor Actor
	HLC   HLC
}

// Compare orders dots by (HLC, Actor): the order of versions in a state, and of last-write-wins.
func (d Dot) Compare(o Dot) int {
	if c := cmp.Compare(d.HLC, o.HLC); c != 0 {
		return c
	}
	return cmp.Compare(d.Actor, o.Actor)
}

// String renders the dot as actor@hlc.
func (d Dot) String() string { return d.Actor.String() + "@" + d.HLC.String() }
