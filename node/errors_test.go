package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/internal/transport"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/storage"
)

// What layers below say reaches clients with a documented reason, also over another node.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		err    error
		code   codes.Code
		reason pb.Reason
	}{
		{&storage.TooOldError{}, codes.FailedPrecondition, pb.Reason_REASON_REQUEST_TOO_OLD},
		{&storage.LimitError{}, codes.FailedPrecondition, pb.Reason_REASON_TOO_MANY_SIBLINGS},
		{&storage.HintBudgetError{}, codes.ResourceExhausted, pb.Reason_REASON_HINT_BUDGET},
		{&storage.DiskFullError{Free: 1, Reserve: 2}, codes.Unavailable, pb.Reason_REASON_DISK_FULL},
		{&storage.FailedError{Cause: errors.New("io")}, codes.Unavailable, pb.Reason_REASON_NOT_READY},
		{&causal.OffsetError{}, codes.FailedPrecondition, pb.Reason_REASON_CLOCK_OFFSET},
		{&causal.ContextError{Problem: "x"}, codes.InvalidArgument, pb.Reason_REASON_INVALID_CONTEXT},
		{&coordinator.QuorumError{Kind: coordinator.ErrRefused}, codes.Unavailable, pb.Reason_REASON_QUORUM_UNAVAILABLE},
		{&coordinator.QuorumError{Kind: coordinator.ErrUnknown, Count: quorum.Count{Required: 2, Received: 1}}, codes.Unavailable, pb.Reason_REASON_OUTCOME_UNKNOWN},
		{&coordinator.QuorumError{Kind: coordinator.ErrUnstable}, codes.Unavailable, pb.Reason_REASON_QUORUM_NOT_REACHED},
		{fmt.Errorf("wrapped: %w", coordinator.ErrClosed), codes.Unavailable, pb.Reason_REASON_NOT_READY},
		{errors.New("surprise"), codes.Internal, pb.Reason_REASON_INTERNAL},
	} {
		f := toFault(test.err)
		if f.code != test.code || f.reason != test.reason {
			t.Errorf("%v: %v %v, want %v %v", test.err, f.code, f.reason, test.code, test.reason)
		}
		if over := faultOf(peerError(test.err)); over.code != test.code || over.reason != test.reason || over.message != f.message {
			t.Errorf("%v over a peer: %v %v %q", test.err, over.code, over.reason, over.message)
		}
	}
}

// A client learns which replicas failed, and why, also when it asked another node.
func TestFailuresOfReplicas(t *testing.T) {
	err := &coordinator.QuorumError{Kind: coordinator.ErrUnknown, Count: quorum.Count{Required: 2, Received: 1}, Causes: []coordinator.Cause{
		{Node: "a", Err: errors.New("gone")}, {Node: "b", Err: errors.New(strings.Repeat("ü", maxFailure))},
	}}
	got := faultOf(peerError(err)).metadata
	if got["failed-a"] != "gone" || got["failed-b"] != strings.Repeat("ü", maxFailure/2) || got["received"] != "1" {
		t.Fatal(got)
	}
}

// Whether a write may be handed to a second coordinator, and what may be said of it afterwards, hangs on what the first
// one's failure proves.
func TestForwardFailure(t *testing.T) {
	refusal := func(reason string, code codes.Code) error {
		return faultOf(&pb.PeerError{Reason: reason, Code: uint32(code)})
	}
	for _, test := range []struct {
		err           error
		passing, sent bool
	}{
		{&transport.UnreachableError{}, true, false},
		{&transport.UnreachableError{Sent: true}, true, true},
		{&transport.ExpiredError{}, true, false},
		{&transport.ExpiredError{Sent: true}, true, true},
		{&transport.OverloadError{}, true, false},
		{&transport.RefusedError{}, true, false},
		{&transport.ClockError{Err: &causal.OffsetError{}}, true, true},
		{refusal("OVERLOADED", codes.ResourceExhausted), true, false},
		{refusal("NOT_READY", codes.Unavailable), true, false},
		{refusal("DISK_FULL", codes.Unavailable), true, false},
		{refusal("CLOCK_OFFSET", codes.OK), true, false},                  // the peer's transport: our clocks differ
		{refusal("CLOCK_OFFSET", codes.FailedPrecondition), false, false}, // its coordinator: the client's clock is off
		{refusal("OUTCOME_UNKNOWN", codes.OK), true, true},
		{refusal("INTERNAL", codes.Internal), true, true},
		{refusal("A_NEW_ONE", codes.OK), true, true},
		{refusal("TOO_MANY_SIBLINGS", codes.FailedPrecondition), false, false},
	} {
		if passing, sent := forwardFailure(test.err); passing != test.passing || sent != test.sent {
			t.Errorf("%v: passing %t, sent %t; want %t, %t", test.err, passing, sent, test.passing, test.sent)
		}
	}
}
