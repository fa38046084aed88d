package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/starling-db/starling/internal/chaos/seam"
)

// Cluster is what is broken: nodes, numbered from 0, of which each runs or not. What is done to a node that doesn't run
// is errAway, other than starting it. Its methods are safe for concurrent use.
type Cluster interface {
	Size() int
	// Kinds are the faults that can be done to it.
	Kinds() []Kind
	// Skipped says what can't be done here, and why.
	Skipped() []string
	// ClientAddrs are where nodes take clients, in the order of the nodes.
	ClientAddrs() []string
	Running(i int) bool
	// Ready is nil when a node takes requests.
	Ready(ctx context.Context, i int) error

	// Start starts a node that doesn't run.
	Start(i int) error
	// Kill ends a node at once; when it returns the node has gone.
	Kill(i int) error
	Pause(i int) error
	// Resume lets a node go on that has been paused; others it leaves alone.
	Resume(i int) error
	// SetLinks cuts these directions between nodes and no others, also for nodes that start later.
	SetLinks(cut map[Link]bool) error
	// SetDisk breaks a node's disk, or mends it with the zero Disk, also for later runs of the node.
	SetDisk(i int, d seam.Disk) error
	// SetPlugged takes a node off the network, or puts it back.
	SetPlugged(i int, plugged bool) error

	// Data is a directory with the data of a node that has ended for good.
	Data(i int) (string, error)
	// Faults are what nodes have done that they should not: ended for no reason, crashed.
	Faults() []string
	// Terminate ends all nodes in the orderly way, and fails if one does not end well.
	Terminate(limit time.Duration) error
	// Close ends whatever is left at once and leaves nothing behind.
	Close() error
}

// errAway is what happens to a node that doesn't run.
var errAway = errors.New("the node does not run")

// errNotHere is a fault that this kind of cluster has no way to do.
var errNotHere = errors.New("not possible with this kind of cluster")
