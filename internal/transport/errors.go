package transport

import (
	"errors"
	"fmt"
	"strings"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errorDomain is the domain of every google.rpc.ErrorInfo of ours.
const errorDomain = "starling"

// Reasons for which a Hello is refused, beside WRONG_CLUSTER. They stay between nodes, so they are not in the
// public list of reasons.
const (
	reasonWrongNode     = "WRONG_NODE"
	reasonWrongProtocol = "WRONG_PROTOCOL"
	reasonBadHello      = "BAD_HELLO"
)

var (
	// ErrClosed is the cause when this side of the transport was closed.
	ErrClosed = errors.New("transport closed")

	errForgotten       = errors.New("the peer was forgotten")
	errIdentityChanged = errors.New("this node's cluster identity changed")
)

// UnreachableError says that a peer could not be reached, or that the connection to it broke.
type UnreachableError struct {
	Peer Peer
	// Sent is false when the request certainly never left this node: the peer has not done it.
	Sent bool
	Err  error
}

func (e *UnreachableError) Error() string {
	what := "nothing was sent"
	if e.Sent {
		what = "it may have received the request"
	}
	return fmt.Sprintf("node %s is unreachable (%s): %v", e.Peer, what, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// ExpiredError says that a call ended before its reply came. It unwraps to context.DeadlineExceeded or
// context.Canceled.
type ExpiredError struct {
	Peer Peer
	// Sent is false when the request certainly never left this node.
	Sent bool
	Err  error
}

func (e *ExpiredError) Error() string {
	what := "the request was still waiting to be sent"
	if e.Sent {
		what = "the request was sent"
	}
	return fmt.Sprintf("no reply from node %s in time (%s): %v", e.Peer, what, e.Err)
}

func (e *ExpiredError) Unwrap() error { return e.Err }

// OverloadError says that the queue to a peer is full. Nothing was sent.
type OverloadError struct {
	Peer Peer
	// Waiting is how many requests wait to be sent; Bytes what all unanswered ones hold.
	Waiting int
	Bytes   int64
}

func (e *OverloadError) Error() string {
	return fmt.Sprintf("the queue to node %s is full (%d requests wait, %d bytes are under way): try again later", e.Peer, e.Waiting, e.Bytes)
}

// SizeError says that a request is larger than a frame may be. Nothing was sent.
type SizeError struct {
	Size, Limit int
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("a request of %d bytes is larger than the %d that nodes take from each other", e.Size, e.Limit)
}

// RefusedError says that one side refused the other's Hello. Nothing was sent.
type RefusedError struct {
	Peer Peer
	// Reason is WRONG_CLUSTER, WRONG_NODE, WRONG_PROTOCOL or BAD_HELLO.
	Reason  string
	Message string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("no connection with node %s: %s (%s)", e.Peer, e.Message, e.Reason)
}

// ClockError says that a reply came with a hybrid time that this node does not accept. Whether the request was
// done is unknown.
type ClockError struct {
	Peer Peer
	Err  error
}

func (e *ClockError) Error() string {
	return fmt.Sprintf("the reply of node %s was dropped, its clock is off: %v", e.Peer, e.Err)
}

func (e *ClockError) Unwrap() error { return e.Err }

// PeerError is a peer's answer that it did not do what it was asked, and why.
type PeerError struct {
	Peer Peer
	Err  *pb.PeerError
}

func (e *PeerError) Error() string {
	return fmt.Sprintf("node %s: %s (%s)", e.Peer, e.Err.GetMessage(), e.Err.GetReason())
}

// Reason is the name of a Reason, without its prefix.
func (e *PeerError) Reason() string { return e.Err.GetReason() }

// String is the id as hexadecimal text and the address.
func (p Peer) String() string { return fmt.Sprintf("%x (%s)", p.ID, p.Addr) }

// reasonName is how a reason stands in errors: without its prefix.
func reasonName(r pb.Reason) string { return strings.TrimPrefix(r.String(), "REASON_") }

// toStatus is a refusal as the gRPC status that ends a stream.
func (e *RefusedError) toStatus() error {
	st := status.New(codes.PermissionDenied, e.Message)
	if full, err := st.WithDetails(&errdetails.ErrorInfo{Reason: e.Reason, Domain: errorDomain}); err == nil {
		st = full
	}
	return st.Err()
}

// refusalFrom finds in the status that ended a stream the peer's refusal of our Hello, or returns nil.
func refusalFrom(err error, peer Peer) *RefusedError {
	st, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return &RefusedError{Peer: peer, Reason: info.GetReason(), Message: st.Message()}
		}
	}
	return nil
}
