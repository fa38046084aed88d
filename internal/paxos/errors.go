package paxos

import (
	"errors"
	"fmt"
)

var (
	// ErrSetup is what every SetupError matches.
	ErrSetup = errors.New("no decision can be made like this")
	// ErrRequest is what every RequestError matches.
	ErrRequest = errors.New("not a request that an acceptor answers")
	// ErrRecord is what every RecordError matches.
	ErrRecord = errors.New("not an acceptor's record")
)

// SetupError says why there is no instance, acceptor or proposer with these arguments.
type SetupError struct {
	// Instance is its number.
	Instance uint64
	// Reason says what is wrong and what would do.
	Reason string
}

func (e *SetupError) Error() string {
	return fmt.Sprintf("%v: instance %d: %s", ErrSetup, e.Instance, e.Reason)
}

// Unwrap makes a SetupError match ErrSetup.
func (e *SetupError) Unwrap() error { return ErrSetup }

// RequestError is an acceptor's answer to what no sound proposer asks. It has changed nothing.
type RequestError struct {
	// Instance and Ballot are those of the request.
	Instance uint64
	Ballot   Ballot
	// Reason says what is wrong and what would do.
	Reason string
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("%v: instance %d, ballot %v: %s", ErrRequest, e.Instance, e.Ballot, e.Reason)
}

// Unwrap makes a RequestError match ErrRequest.
func (e *RequestError) Unwrap() error { return ErrRequest }

// RecordError says where the bytes given to DecodeRecord stop being a record.
type RecordError struct {
	// Offset is the byte at which the damaged part begins.
	Offset int
	// Reason says what was wanted there.
	Reason string
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%v: at byte %d: %s", ErrRecord, e.Offset, e.Reason)
}

// Unwrap makes a RecordError match ErrRecord.
func (e *RecordError) Unwrap() error { return ErrRecord }
