package paxos

import (
	"cmp"
	"fmt"

	"github.com/starling-db/starling/ring"
)

// maxCounter keeps counters so far from overflow that one more than any that was heard of is always a number.
const maxCounter = 1 << 62

// Ballot names one attempt to have a value chosen. The node is that of the proposer, so two proposers never share a
// ballot. The zero value is below every ballot, and none itself.
type Ballot struct {
	// Counter grows from attempt to attempt.
	Counter uint64
	// Node is the proposer's.
	Node ring.NodeID
}

// Compare orders ballots by counter, then by node: -1, 0 or 1.
func (b Ballot) Compare(o Ballot) int {
	return cmp.Or(cmp.Compare(b.Counter, o.Counter), b.Node.Compare(o.Node))
}

// IsZero reports whether b is the zero value, which is no ballot.
func (b Ballot) IsZero() bool { return b == Ballot{} }

// String is the counter and the node's id.
func (b Ballot) String() string { return fmt.Sprintf("%d by %v", b.Counter, b.Node) }
