// Package membership finds the other nodes and tells which of them can be used.
//
// Membership wraps memberlist: it spreads a node's metadata, keeps a table of who is there, refuses
// foreign clusters and goes on looking for known peers for ever. It never changes ownership.
//
// Detector joins gossip's verdicts with what requests saw. Gossip is slow (seconds) and may be wrong about
// a single link: a peer that a third node still hears may refuse every request of ours. Requests are quick,
// but see only what they ask. So a request that fails makes a node Suspect at once, and gossip alone
// makes it Dead or lets it come back from there.
package membership

import (
	"fmt"
	"time"

	"github.com/starling-db/starling/ring"
)

// State is what a node should think of another.
type State uint8

const (
	// Dead: gossip says so, or has never heard of it.
	Dead State = iota
	// Alive: use it.
	Alive
	// Suspect: gossip says alive, requests fail. Avoid it; it is tried again every now and then.
	Suspect
	// Left: it said goodbye.
	Left
)

func (s State) String() string {
	switch s {
	case Dead:
		return "dead"
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Left:
		return "left"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Change is a node's passage from one state to another.
type Change struct {
	Node     ring.NodeID
	From, To State
	// Why says what brought it about, in a few words for the log.
	Why string
	At  time.Time
}

// Up says that the node became usable; Down that it ceased to be.
func (c Change) Up() bool   { return c.To == Alive && c.From != Alive }
func (c Change) Down() bool { return c.From == Alive && c.To != Alive }

// Outcome is how a request to a node ended.
type Outcome uint8

const (
	// OK: it answered, be it with a refusal.
	OK Outcome = iota
	// Unreachable: the connection was refused or broke.
	Unreachable
	// Timeout: no answer in time, or none within the caller's patience.
	Timeout
	// Ignored: it says nothing of the node, as when the caller gave up.
	Ignored
)
