package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/ring"
)

// Sentinels for errors.Is. One error may match several: a write whose outcome is unknown is also a
// quorum that was not reached.
var (
	// ErrNotFound: Result.Value of an item that was never written, or is deleted.
	ErrNotFound = errors.New("not found")
	// ErrSiblings: Result.Value of an item with more than one version.
	ErrSiblings = errors.New("the item has siblings")

	// ErrInvalidArgument: the request itself is wrong; the more exact ones below match it too.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrValueTooLarge: above the server's --max-value-bytes.
	ErrValueTooLarge = errors.New("value too large")
	// ErrInvalidConsistency: R or W above the bucket's N.
	ErrInvalidConsistency = errors.New("invalid consistency level")
	// ErrInvalidContext: the context is damaged, or of another item or cluster.
	ErrInvalidContext = errors.New("invalid context")
	// ErrInvalidPageToken: the token is damaged, or of another query.
	ErrInvalidPageToken = errors.New("invalid page token")

	// ErrUnknownBucket: no bucket of that name.
	ErrUnknownBucket = errors.New("unknown bucket")
	// ErrUnknownTask: no node keeps a task of that id. It ended long ago, or with a restart of its node.
	ErrUnknownTask = errors.New("unknown task")
	// ErrBucketExists: a bucket of that name with other settings.
	ErrBucketExists = errors.New("bucket exists with other settings")

	// ErrQuorum: too few replicas answered, whatever that means for the outcome.
	ErrQuorum = errors.New("quorum not reached")
	// ErrUnavailable: refused before anything was written. Trying again later is safe.
	ErrUnavailable = errors.New("unavailable")
	// ErrOutcomeUnknown: the write may or may not take effect. Trying again with the same request id is
	// safe for a minute; with another one it may leave a sibling.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrTooOld: the request id is older than the retry window, or from the future.
	ErrTooOld = errors.New("request id outside the retry window")
	// ErrTooManySiblings: read the item, and write one version with the context of that read.
	ErrTooManySiblings = errors.New("too many siblings")
	// ErrOverloaded: the node is at its limit, or so many calls of this Client wait that the turn of this one
	// did not come; nothing was done.
	ErrOverloaded = errors.New("overloaded")
	// ErrClockOffset: a node's clock is too far off; nothing was done.
	ErrClockOffset = errors.New("clock offset too large")
	// ErrPermission: not allowed, or the node is of another cluster.
	ErrPermission = errors.New("not allowed")
	// ErrConnect: no node could be reached at all; nothing was done.
	ErrConnect = errors.New("cannot connect")
	// ErrClosed: the Client was closed.
	ErrClosed = errors.New("client closed")
)

// Reasons as servers send them: the names of starling.v1.Reason without their prefix.
const (
	reasonQuorumUnavailable = "QUORUM_UNAVAILABLE"
	reasonQuorumNotReached  = "QUORUM_NOT_REACHED"
	reasonOutcomeUnknown    = "OUTCOME_UNKNOWN"
	reasonRequestTooOld     = "REQUEST_TOO_OLD"
	reasonOverloaded        = "OVERLOADED"
	reasonNotReady          = "NOT_READY"
	reasonStaleEpoch        = "STALE_EPOCH"
	reasonUnknownBucket     = "UNKNOWN_BUCKET"
	reasonClockOffset       = "CLOCK_OFFSET"
	reasonInternal          = "INTERNAL"
	reasonDiskFull          = "DISK_FULL"
)

// sentinels lists, by reason, what an error matches.
var sentinels = map[string][]error{
	"INVALID_ARGUMENT":      {ErrInvalidArgument},
	"VALUE_TOO_LARGE":       {ErrValueTooLarge, ErrInvalidArgument},
	"INVALID_CONSISTENCY":   {ErrInvalidConsistency, ErrInvalidArgument},
	"INVALID_CONTEXT":       {ErrInvalidContext, ErrInvalidArgument},
	"INVALID_PAGE_TOKEN":    {ErrInvalidPageToken, ErrInvalidArgument},
	reasonUnknownBucket:     {ErrUnknownBucket},
	"BUCKET_EXISTS":         {ErrBucketExists},
	"UNKNOWN_TASK":          {ErrUnknownTask},
	reasonQuorumUnavailable: {ErrQuorum, ErrUnavailable},
	reasonQuorumNotReached:  {ErrQuorum},
	reasonOutcomeUnknown:    {ErrQuorum, ErrOutcomeUnknown},
	reasonRequestTooOld:     {ErrTooOld},
	"TOO_MANY_SIBLINGS":     {ErrTooManySiblings},
	reasonOverloaded:        {ErrOverloaded},
	reasonNotReady:          {ErrUnavailable},
	reasonStaleEpoch:        {ErrUnavailable},
	reasonClockOffset:       {ErrClockOffset},
	"WRONG_CLUSTER":         {ErrPermission},
	"HINT_BUDGET":           {ErrOverloaded},
	reasonDiskFull:          {ErrUnavailable},
}

// errorDomain is the ErrorInfo domain of every error that a Starling server makes.
const errorDomain = "starling"

// Error is the error of every call, for errors.As. It matches the sentinels of this package by
// errors.Is, and context.Canceled or context.DeadlineExceeded when that ended the call.
type Error struct {
	// Op is the call: "put", "get", ...
	Op string
	// Addr is the node that gave the error, or that was tried last; empty when none was tried.
	Addr string
	// Reason is the name of a starling.v1.Reason without its prefix. Empty when the error was not made
	// by a Starling server.
	Reason string
	// Code is the gRPC code.
	Code codes.Code
	// Message is for people.
	Message string
	// Required, Received and Live count replicas: needed by the level, answered, and believed to be alive
	// when the call was planned. All three are 0 when no quorum was at stake.
	Required, Received, Live int
	// Failures are the replicas of which it is known that they failed, in the order of their ids. Those that just had not
	// answered in time are not among them.
	Failures []ReplicaFailure
	// Metadata is all that the server said beside the message.
	Metadata map[string]string
	// Tries is how often the call was sent or tried.
	Tries int
	// RequestID is that of the write that failed: with WithRequestID it is repeated safely for a minute. Zero for other
	// calls.
	RequestID RequestID

	// matches are the sentinels.
	matches []error
	// cause is the context's error, if that ended the call, or that of a function of the caller's.
	cause error
}

// ReplicaFailure is why one replica did not count towards a quorum.
type ReplicaFailure struct {
	// Node is its id; Status and Locate tell its name.
	Node NodeID
	// Message is for people, 200 bytes at most.
	Message string
}

// Error says what failed, where, and why.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Addr != "" {
		b.WriteString(" at ")
		b.WriteString(e.Addr)
	}
	b.WriteString(": ")
	b.WriteString(e.Message)
	if e.Reason != "" {
		b.WriteString(" (")
		b.WriteString(e.Reason)
		if e.Required > 0 {
			fmt.Fprintf(&b, ": required %d, received %d, live %d", e.Required, e.Received, e.Live)
		}
		b.WriteString(")")
	}
	return b.String()
}

// Is reports whether target is one of the sentinels that describe the error.
func (e *Error) Is(target error) bool { return slices.Contains(e.matches, target) }

// Unwrap returns the error of the context that ended the call, or of the Resolver or the function of an Update that did;
// nil if none did.
func (e *Error) Unwrap() error { return e.cause }

// newError builds the error of a single try from what gRPC returned.
func newError(op, addr string, st *status.Status) *Error {
	e := &Error{Op: op, Addr: addr, Code: st.Code(), Message: st.Message()}
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != errorDomain {
			continue
		}
		e.Reason = info.GetReason()
		e.Metadata = info.GetMetadata()
		e.Required = e.count("required")
		e.Received = e.count("received")
		e.Live = e.count("live")
		e.Failures = failuresOf(e.Metadata)
		break
	}
	e.matches = sentinels[e.Reason]
	if e.Reason == "" && (st.Code() == codes.PermissionDenied || st.Code() == codes.Unauthenticated) {
		e.matches = []error{ErrPermission}
	}
	return e
}

// count reads one of the counts of the metadata; what is missing or no small number counts as 0.
func (e *Error) count(name string) int {
	n, err := strconv.ParseUint(e.Metadata[name], 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// failuresOf reads the failures of replicas out of metadata.
func failuresOf(metadata map[string]string) (failures []ReplicaFailure) {
	for key, message := range metadata {
		text, ok := strings.CutPrefix(key, "failed-")
		if !ok {
			continue
		}
		if id, err := ring.ParseNodeID(text); err == nil {
			failures = append(failures, ReplicaFailure{id, message})
		}
	}
	slices.SortFunc(failures, func(a, b ReplicaFailure) int { return bytes.Compare(a.Node[:], b.Node[:]) })
	return failures
}

// unknownOutcome turns the last error of a write into one that admits that an earlier try may have
// taken effect. It must not match what the last try alone would, ErrUnavailable above all.
func (e *Error) unknownOutcome() *Error {
	if e.Is(ErrOutcomeUnknown) {
		return e
	}
	u := *e
	u.Reason = reasonOutcomeUnknown
	u.matches = []error{ErrOutcomeUnknown}
	for _, still := range []error{ErrQuorum, ErrTooOld} {
		if e.Is(still) {
			u.matches = append(u.matches, still)
		}
	}
	u.Message = "the write may or may not have taken effect: " + e.Message
	return &u
}

// withRequestID adds the id of the write that an error is of. Items of a batch may share an error, so it is copied.
func withRequestID(err error, id RequestID) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	named := *e
	named.RequestID = id
	return &named
}

// contextError is the error of a call that its own context ended before a try could.
func contextError(ctx context.Context, op string) *Error {
	cause := ctx.Err()
	code := codes.Canceled
	message := "canceled"
	if errors.Is(cause, context.DeadlineExceeded) {
		code, message = codes.DeadlineExceeded, "no answer before the deadline"
	}
	return &Error{Op: op, Code: code, Message: message, cause: cause}
}
