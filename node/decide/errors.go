package decide

import (
	"errors"
	"fmt"

	"github.com/starling-db/starling/ring"
)

// Sentinels for errors.Is. The errors that carry the details wrap them.
var (
	// ErrLost: another epoch has the number.
	ErrLost = errors.New("another epoch was decided")
	// ErrMajority: too few acceptors are alive.
	ErrMajority = errors.New("no majority of the acceptors is alive")
	// ErrUnknown: the epoch may have been decided, or may be decided yet.
	ErrUnknown = errors.New("it is unknown whether the epoch was decided")
	// ErrRequest: a peer's request is malformed, or asks for what can't be.
	ErrRequest = errors.New("refused request about the next epoch")
	// ErrAbstains: this node takes no part in decisions, because its disk may be an older one that was put back.
	ErrAbstains = errors.New("this node may have forgotten what it promised: it abstains until epochs were decided without it")
	// ErrStopped: a write has failed, so what this node has promised is unknown.
	ErrStopped = errors.New("this node takes no part in decisions any more")
	// ErrClosed: the node is stopping.
	ErrClosed = errors.New("the node is stopping")
)

var (
	errOvertaken = errors.New("the ring is further already")
	errElsewhere = errors.New("not one of the acceptors that are alive may propose now")
)

// LostError says what has won the number that was proposed.
type LostError struct {
	Number uint64
	Won    *ring.Epoch
}

func (e *LostError) Error() string {
	what := fmt.Sprintf("stable on layout %d", e.Won.Base.Version())
	if e.Won.Joint() {
		what = fmt.Sprintf("a move from layout %d to %d", e.Won.Base.Version(), e.Won.Next.Version())
	}
	return fmt.Sprintf("%v as number %d: %s; look at the ring, and propose again if it still makes sense", ErrLost, e.Number, what)
}

// Unwrap makes a LostError match ErrLost.
func (e *LostError) Unwrap() error { return ErrLost }

// MajorityError is a refusal before anything was sent.
type MajorityError struct {
	Number uint64
	// Required of Members, and how many are alive.
	Required, Live, Members int
}

func (e *MajorityError) Error() string {
	return fmt.Sprintf("epoch %d: %v: needs %d of %d, %d are; nothing was proposed", e.Number, ErrMajority, e.Required, e.Members, e.Live)
}

// Unwrap makes a MajorityError match ErrMajority.
func (e *MajorityError) Unwrap() error { return ErrMajority }

// UnknownError says why it did not become known what was decided.
type UnknownError struct {
	Number uint64
	// Err is the context's error, or what came between.
	Err error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("epoch %d: %v: %v; look at the ring, proposing it again is safe", e.Number, ErrUnknown, e.Err)
}

// Unwrap makes an UnknownError match ErrUnknown and its cause.
func (e *UnknownError) Unwrap() []error { return []error{ErrUnknown, e.Err} }

// RequestError says what is wrong with a peer's request. It has changed nothing.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return fmt.Sprintf("%v: %s", ErrRequest, e.Reason) }

// Unwrap makes a RequestError match ErrRequest.
func (e *RequestError) Unwrap() error { return ErrRequest }
