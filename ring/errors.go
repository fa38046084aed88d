package ring

import (
	"errors"
	"fmt"
)

// ErrPlan is what every error of Plan matches.
var ErrPlan = errors.New("cannot plan a layout")

// PlanError says which part of a PlanInput no layout can be made from, and what would do.
type PlanError struct {
	// Field names the field of PlanInput.
	Field string
	// Reason says what is wrong and what to use.
	Reason string
}

func (e *PlanError) Error() string { return fmt.Sprintf("%v: %s: %s", ErrPlan, e.Field, e.Reason) }

// Unwrap makes a PlanError match ErrPlan.
func (e *PlanError) Unwrap() error { return ErrPlan }

// ErrEncoding is what every error of DecodeEpoch matches.
var ErrEncoding = errors.New("not an encoded epoch")

// DecodeError says where the bytes given to DecodeEpoch stop being one.
type DecodeError struct {
	// Offset is the byte at which the damaged part begins.
	Offset int
	// Reason says what was wanted there.
	Reason string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("%v: at byte %d: %s", ErrEncoding, e.Offset, e.Reason)
}

// Unwrap makes a DecodeError match ErrEncoding.
func (e *DecodeError) Unwrap() error { return ErrEncoding }

// ErrSuccession is what every error of Begin, Commit, Abort and Follows matches.
var ErrSuccession = errors.New("epoch cannot follow")

// SuccessionError says why no such epoch can follow another.
type SuccessionError struct {
	// After is the number of the epoch that was to be followed.
	After uint64
	// Reason says what is wrong and what to do.
	Reason string
}

func (e *SuccessionError) Error() string {
	return fmt.Sprintf("%v epoch %d: %s", ErrSuccession, e.After, e.Reason)
}

// Unwrap makes a SuccessionError match ErrSuccession.
func (e *SuccessionError) Unwrap() error { return ErrSuccession }
