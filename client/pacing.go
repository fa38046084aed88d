package client

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/pace"
)

// Bounds of how many calls about one item, with values of at most maxPaced bytes, a Client has under way at once. How
// many it is within them is found by how long they take; further calls wait for their turn. To send what no node has
// room for is no way out: to shed a call costs a good part of what it costs to carry it out.
const (
	minPace   = 2
	startPace = 16
	maxPace   = 4096
	maxPaced  = 64 << 10
)

// begin waits for the turn of a try. Calls about more than one item are few and long: they have none to wait for.
func (s *session) begin(ctx context.Context) (*pace.Piece, error) {
	if s.call.patience == 0 || s.call.patience > patience(maxPaced) {
		return nil, nil
	}
	return s.client.pace.Acquire(ctx)
}

// notSent is the error of a try whose turn did not come.
func notSent(ctx context.Context, op string, why error) *Error {
	if ctx.Err() == context.Canceled {
		return contextError(ctx, op)
	}
	return &Error{
		Op: op, Code: codes.ResourceExhausted, Message: "not sent: " + why.Error(), matches: []error{ErrOverloaded},
	}
}
