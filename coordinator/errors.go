package coordinator

import (
	"errors"
	"fmt"
	"strings"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator/quorum"
)

// The ways in which a quorum fails. Each QuorumError is one of them by errors.Is, and ErrQuorum too.
var (
	ErrQuorum = errors.New("quorum not reached")
	// ErrRefused: too few replicas are there. Nothing was written, nothing was asked.
	ErrRefused = errors.New("refused: too few replicas are live")
	// ErrUnknown: a write that too few acknowledged. It may take effect all the same.
	ErrUnknown = errors.New("outcome unknown: too few replicas acknowledged the write")
	// ErrUnstable: a read whose result can't be held by enough owners now, and so might vanish again.
	ErrUnstable = errors.New("read not stable: too few replicas took the newest state")
	// ErrTooFew: a read that too few replicas answered.
	ErrTooFew = errors.New("too few replicas answered")
	// ErrNoOwner: fallbacks alone answered a read, and hold nothing of the item. Whether it exists is not known.
	ErrNoOwner = errors.New("no owner answered, and the fallbacks that did can't tell whether there is anything")
	// ErrNotCoordinator: this node may not coordinate the item's writes; Route says who may.
	ErrNotCoordinator = errors.New("this node is no guardian of the item")
)

// TooLateError is a replica's answer to a write whose version is not above what it has promised to refuse: it has to be minted
// again, above Floor.
type TooLateError struct {
	Floor causal.HLC
	Err   error
}

// Error is the replica's.
func (e *TooLateError) Error() string { return e.Err.Error() }

// Unwrap gives the replica's error.
func (e *TooLateError) Unwrap() error { return e.Err }

// Cause is why one replica did not count.
type Cause struct {
	Node string
	Err  error
}

// QuorumError says that a quorum was not reached, and how far it was missed.
type QuorumError struct {
	Op   string // "put", "get", "range"
	Kind error  // ErrRefused, ErrUnknown, ErrUnstable, ErrNoOwner or ErrTooFew
	quorum.Count
	Causes []Cause
	// Err is the context's error when the deadline cut the request short.
	Err error
}

// Error says what was missed, by how much and why.
func (e *QuorumError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v (required %d, received %d, live %d)", e.Op, e.Kind, e.Required, e.Received, e.Live)
	for _, c := range e.Causes {
		fmt.Fprintf(&b, "; %s: %v", c.Node, c.Err)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, "; %v", e.Err)
	}
	return b.String()
}

// Is reports the kinds of failure that this one is.
func (e *QuorumError) Is(target error) bool { return target == ErrQuorum || target == e.Kind }

// Unwrap gives the context's error, if that ended the request.
func (e *QuorumError) Unwrap() error { return e.Err }
