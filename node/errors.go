package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/storage"
)

const (
	// errorDomain is the domain of every ErrorInfo that Starling sends.
	errorDomain = "starling"
	// failurePrefix and the id of a node are the key under which the metadata says why that replica failed, in
	// maxFailure bytes at most.
	failurePrefix = "failed-"
	maxFailure    = 200
	// belowFloor is the key under which the metadata says up to where a replica refuses fresh writes.
	belowFloor = "below-floor"
)

// fault is an error on its way to a client: a gRPC code, a documented reason, a sentence, numbers.
type fault struct {
	code     codes.Code
	reason   pb.Reason
	message  string
	metadata map[string]string
}

// Error is the sentence.
func (f *fault) Error() string { return f.message }

// GRPCStatus lets grpc send the fault with its ErrorInfo.
func (f *fault) GRPCStatus() *status.Status {
	st := status.New(f.code, f.message)
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: reasonName(f.reason), Domain: errorDomain, Metadata: f.metadata})
	if err != nil {
		return st
	}
	return detailed
}

func reasonName(r pb.Reason) string { return strings.TrimPrefix(r.String(), "REASON_") }

func invalid(reason pb.Reason, format string, args ...any) *fault {
	return &fault{code: codes.InvalidArgument, reason: reason, message: fmt.Sprintf(format, args...)}
}

func notReady(format string, args ...any) *fault {
	return &fault{code: codes.Unavailable, reason: pb.Reason_REASON_NOT_READY, message: fmt.Sprintf(format, args...)}
}

// toFault is the one place where an error of any layer becomes what a client sees.
func toFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if q, ok := errors.AsType[*coordinator.QuorumError](err); ok {
		return quorumFault(q)
	}
	if full, ok := errors.AsType[*storage.DiskFullError](err); ok {
		return &fault{code: codes.Unavailable, reason: pb.Reason_REASON_DISK_FULL, message: err.Error(), metadata: map[string]string{
			"free": strconv.FormatUint(full.Free, 10), "reserve": strconv.FormatUint(full.Reserve, 10),
		}}
	}
	if late, ok := errors.AsType[*storage.BelowFloorError](err); ok {
		return &fault{code: codes.Unavailable, reason: pb.Reason_REASON_NOT_READY, message: err.Error(), metadata: map[string]string{
			belowFloor: strconv.FormatUint(uint64(late.Floor), 10),
		}}
	}
	f := &fault{code: codes.Internal, reason: pb.Reason_REASON_INTERNAL, message: err.Error()}
	_, limit := errors.AsType[*storage.LimitError](err)
	_, budget := errors.AsType[*storage.HintBudgetError](err)
	switch {
	case errors.Is(err, causal.ErrContext):
		f.code, f.reason = codes.InvalidArgument, pb.Reason_REASON_INVALID_CONTEXT
	case errors.Is(err, storage.ErrTooOld):
		f.code, f.reason = codes.FailedPrecondition, pb.Reason_REASON_REQUEST_TOO_OLD
	case limit:
		f.code, f.reason = codes.FailedPrecondition, pb.Reason_REASON_TOO_MANY_SIBLINGS
	case budget:
		f.code, f.reason = codes.ResourceExhausted, pb.Reason_REASON_HINT_BUDGET
	case errors.Is(err, causal.ErrClockOffset):
		f.code, f.reason = codes.FailedPrecondition, pb.Reason_REASON_CLOCK_OFFSET
	case errors.Is(err, errClockJumped), errors.Is(err, causal.ErrBound), errors.Is(err, coordinator.ErrClosed), errors.Is(err, coordinator.ErrNotCoordinator),
		errors.Is(err, storage.ErrFailed), errors.Is(err, storage.ErrClosed):
		f.code, f.reason = codes.Unavailable, pb.Reason_REASON_NOT_READY
	case errors.Is(err, context.DeadlineExceeded):
		f.code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		f.code = codes.Canceled
	}
	return f
}

// writeError is an answer to a write in the coordinator's terms.
func writeError(err error) error {
	if late, ok := errors.AsType[*storage.BelowFloorError](err); ok {
		return &coordinator.TooLateError{Floor: late.Floor, Err: err}
	}
	if _, stale := errors.AsType[*coordinator.StaleError](err); stale {
		return err
	}
	f, ok := errors.AsType[*fault](err)
	if !ok || f.metadata[belowFloor] == "" {
		return err
	}
	floor, failed := strconv.ParseUint(f.metadata[belowFloor], 10, 64)
	if failed != nil {
		return err
	}
	return &coordinator.TooLateError{Floor: causal.HLC(floor), Err: err}
}

func quorumFault(q *coordinator.QuorumError) *fault {
	f := &fault{code: codes.Unavailable, message: q.Error(), metadata: map[string]string{
		"required": strconv.Itoa(q.Required), "received": strconv.Itoa(q.Received), "live": strconv.Itoa(q.Live),
	}}
	for _, c := range q.Causes {
		f.metadata[failurePrefix+c.Node] = cut(c.Err.Error(), maxFailure)
	}
	switch q.Kind {
	case coordinator.ErrRefused:
		f.reason = pb.Reason_REASON_QUORUM_UNAVAILABLE
	case coordinator.ErrUnknown:
		f.reason = pb.Reason_REASON_OUTCOME_UNKNOWN
	default:
		f.reason = pb.Reason_REASON_QUORUM_NOT_REACHED
	}
	if q.Kind != coordinator.ErrRefused && errors.Is(q.Err, context.DeadlineExceeded) {
		f.code = codes.DeadlineExceeded
	}
	return f
}

// cut shortens a text to a number of bytes, between two characters.
func cut(s string, most int) string {
	for len(s) > most {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// peerError carries a fault to another node, and faultOf back.
func peerError(err error) *pb.PeerError {
	f := toFault(err)
	return &pb.PeerError{Reason: reasonName(f.reason), Message: f.message, Metadata: f.metadata, Code: uint32(f.code)}
}

func faultOf(e *pb.PeerError) *fault {
	f := &fault{
		code: codes.Code(e.GetCode()), reason: pb.Reason(pb.Reason_value["REASON_"+e.GetReason()]),
		message: e.GetMessage(), metadata: e.GetMetadata(),
	}
	if f.code == codes.OK {
		f.refusedByTransport()
	}
	if f.code > codes.Unauthenticated {
		f.code = codes.Internal
	}
	return f
}

// refusedByTransport fills in what the transport of a peer leaves out: it gives a reason alone.
func (f *fault) refusedByTransport() {
	switch f.reason {
	case pb.Reason_REASON_CLOCK_OFFSET:
		// It is the clocks of two nodes that differ, not the client's: another node may do what this one did not.
		f.code, f.reason = codes.Unavailable, pb.Reason_REASON_NOT_READY
	case pb.Reason_REASON_NOT_READY, pb.Reason_REASON_OUTCOME_UNKNOWN, pb.Reason_REASON_DISK_FULL:
		f.code = codes.Unavailable
	case pb.Reason_REASON_OVERLOADED:
		f.code = codes.ResourceExhausted
	case pb.Reason_REASON_VALUE_TOO_LARGE, pb.Reason_REASON_INVALID_ARGUMENT:
		f.code = codes.InvalidArgument
	case pb.Reason_REASON_WRONG_CLUSTER:
		f.code = codes.PermissionDenied
	default:
		f.code = codes.Internal
	}
}

// bucketFault is toFault for the errors of a change of buckets.
func bucketFault(err error) *fault {
	f := &fault{message: err.Error()}
	majority, _ := errors.AsType[*state.MajorityError](err)
	switch {
	case errors.Is(err, state.ErrInvalid):
		f.code, f.reason = codes.InvalidArgument, pb.Reason_REASON_INVALID_ARGUMENT
	case errors.Is(err, state.ErrUnknownBucket):
		f.code, f.reason = codes.NotFound, pb.Reason_REASON_UNKNOWN_BUCKET
	case errors.Is(err, state.ErrBucketExists):
		f.code, f.reason = codes.AlreadyExists, pb.Reason_REASON_BUCKET_EXISTS
	case errors.Is(err, state.ErrNotFounded):
		f.code, f.reason = codes.Unavailable, pb.Reason_REASON_NOT_READY
	case majority != nil:
		f.code, f.reason = codes.Unavailable, pb.Reason_REASON_OUTCOME_UNKNOWN
		if majority.Refused {
			f.reason = pb.Reason_REASON_QUORUM_UNAVAILABLE
		}
		f.metadata = map[string]string{
			"required": strconv.Itoa(majority.Required), "received": strconv.Itoa(majority.Received), "live": strconv.Itoa(majority.Live),
		}
	default:
		return toFault(err)
	}
	return f
}
