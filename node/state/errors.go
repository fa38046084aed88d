package state

import (
	"errors"
	"fmt"
	"strings"

	"github.com/starling-db/starling/ring"
)

// Sentinels for errors.Is. The errors that carry the details wrap them.
var (
	// ErrNotFounded: this node belongs to no cluster yet.
	ErrNotFounded = errors.New("this node belongs to no cluster yet")
	// ErrNotMember: the document is of a cluster that does not count this node among its members.
	ErrNotMember = errors.New("the cluster does not name this node as a member")
	// ErrConflict: two documents differ in what is decided once and never changes.
	ErrConflict = errors.New("cluster documents conflict")
	// ErrDocument: a document is malformed.
	ErrDocument = errors.New("malformed cluster document")
	// ErrInvalid: a request to change a bucket asks for something impossible.
	ErrInvalid = errors.New("invalid bucket settings")
	// ErrUnknownBucket: no bucket has that name.
	ErrUnknownBucket = errors.New("unknown bucket")
	// ErrBucketExists: a bucket of that name exists with other settings.
	ErrBucketExists = errors.New("the bucket exists with other settings")
	// ErrMembersChange: a change of the members is being decided, or not known everywhere yet.
	ErrMembersChange = errors.New("the members are about to change; try again")
	// ErrMajority: too few members made a change durable.
	ErrMajority = errors.New("no majority of the members")
)

// ConflictError says in what two documents differ that must not: Field is "cluster name", "cluster id",
// "incarnation" or "epoch N".
type ConflictError struct {
	Field     string
	Have, Got string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("cluster documents conflict: %s is %s here and %s in the other; one of the nodes belongs to another cluster", e.Field, e.Have, e.Got)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// DocumentError says what is wrong with a document's encoding or content.
type DocumentError struct {
	What string
	Err  error // may be nil
}

func (e *DocumentError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("malformed cluster document: %s: %v", e.What, e.Err)
	}
	return "malformed cluster document: " + e.What
}

// Is makes errors.Is(err, ErrDocument) true.
func (e *DocumentError) Is(target error) bool { return target == ErrDocument }

// Unwrap returns the cause, if there is one.
func (e *DocumentError) Unwrap() error { return e.Err }

// InvalidError names the setting of a bucket that can't be, and why.
type InvalidError struct {
	Bucket, Setting, Why string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("bucket %q: %s %s", e.Bucket, e.Setting, e.Why)
}

// Is makes errors.Is(err, ErrInvalid) true.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// BucketError is ErrUnknownBucket or ErrBucketExists about one bucket.
type BucketError struct {
	Bucket string
	Err    error
}

func (e *BucketError) Error() string { return fmt.Sprintf("bucket %q: %v", e.Bucket, e.Err) }

// Unwrap returns the sentinel.
func (e *BucketError) Unwrap() error { return e.Err }

// Cause is why one member did not count.
type Cause struct {
	Node ring.NodeID
	Err  error
}

// MajorityError says that a change of a bucket did not reach a majority of the members.
type MajorityError struct {
	// Op is what was tried: "create bucket", "alter bucket", "drop bucket".
	Op     string
	Bucket string
	// Required of Members, how many made it durable, and how many of them were alive.
	Required, Received, Live, Members int
	// Refused: too few were alive, nothing was changed. Otherwise the outcome is unknown: the change may
	// still spread from those that hold it.
	Refused bool
	Causes  []Cause

	answered int // to a claim, be it with another one
}

func (e *MajorityError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q: ", e.Op, e.Bucket)
	if e.Refused {
		fmt.Fprintf(&b, "needs %d of %d members, %d are alive; nothing was changed", e.Required, e.Members, e.Live)
		return b.String()
	}
	fmt.Fprintf(&b, "durable on %d members, needs %d of %d (%d alive); it may still take effect, and trying again is safe",
		e.Received, e.Required, e.Members, e.Live)
	for _, c := range e.Causes {
		fmt.Fprintf(&b, "; %s: %v", c.Node, c.Err)
	}
	return b.String()
}

// Is makes errors.Is(err, ErrMajority) true.
func (e *MajorityError) Is(target error) bool { return target == ErrMajority }

// ClaimsError says that the members should not change while creations of these buckets are neither won nor lost.
type ClaimsError struct {
	Buckets []string
	// Claims are the open claims, for Settle.
	Claims []byte
}

func (e *ClaimsError) Error() string {
	return fmt.Sprintf("creations of %d buckets have yet to end before the members change: %q", len(e.Buckets), e.Buckets)
}
