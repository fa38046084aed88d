package storage

import (
	"errors"
	"fmt"
	"time"

	"github.com/starling-db/starling/causal"
)

var (
	// ErrClosed is returned by every operation on a closed store.
	ErrClosed = errors.New("storage: the store is closed")
	// ErrFailed matches every *FailedError.
	ErrFailed = errors.New("storage: the store has failed")
	// ErrLocked matches every *LockedError.
	ErrLocked = errors.New("storage: the data directory is in use by another process")
	// ErrTooOld matches every *TooOldError.
	ErrTooOld = errors.New("storage: the request id is too old")
	// ErrBelowFloor matches every *BelowFloorError.
	ErrBelowFloor = errors.New("storage: the write comes too late")
	// ErrDiskFull matches every *DiskFullError.
	ErrDiskFull = errors.New("storage: the disk is full")
	// ErrNoClock says that a write needs a clock and UseClock has not been called.
	ErrNoClock = errors.New("storage: no clock; call UseClock before the first write")
)

// FailedError is the answer of a store that has failed: what failed first.
type FailedError struct{ Cause error }

func (e *FailedError) Error() string {
	return fmt.Sprintf("storage: the store has failed and refuses everything until the node is restarted on a sound disk: %v", e.Cause)
}

// Unwrap returns the first failure.
func (e *FailedError) Unwrap() error { return e.Cause }

// Is reports true for ErrFailed.
func (e *FailedError) Is(target error) bool { return target == ErrFailed }

// LockedError says that another process, or another store of this one, has the directory open.
type LockedError struct {
	Dir string
	Err error
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("storage: data directory %s is in use by another process; stop it, or name another directory: %v", e.Dir, e.Err)
}

// Unwrap returns the error of the lock call.
func (e *LockedError) Unwrap() error { return e.Err }

// Is reports true for ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// FormatError says that a directory was written by a newer version, or by none.
type FormatError struct {
	Path  string
	Found uint64 // as written in the directory
	Known uint64 // the newest that this binary reads
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("storage: %s has format %d and this binary knows formats up to %d; use the version that wrote it, or a newer one", e.Path, e.Found, e.Known)
}

// IdentityError says that the identity file is damaged, or contradicts the database beside it.
type IdentityError struct {
	Path   string
	Detail string
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("storage: %s: %s; restore the directory whole, or start the node on an empty one and replace it in the cluster", e.Path, e.Detail)
}

// ClusterError says that the directory belongs to another cluster than the one that it was asked to join.
type ClusterError struct {
	Have, Want         [16]byte
	HaveName, WantName string
}

func (e *ClusterError) Error() string {
	return fmt.Sprintf("storage: the data directory belongs to cluster %q (%x), not to %q (%x)", e.HaveName, e.Have, e.WantName, e.Want)
}

// CorruptError names a record whose bytes can't be decoded.
type CorruptError struct {
	Key  []byte // as stored
	What string // "item", "hint", "document"
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("storage: corrupt %s at key %x: %v", e.What, e.Key, e.Err)
}

// Unwrap returns what was wrong with the bytes.
func (e *CorruptError) Unwrap() error { return e.Err }

// KeyError says that a part of a key, or a name, is too long or missing.
type KeyError struct {
	Part     string
	Size     int
	Min, Max int
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("storage: %s of %d bytes; %d to %d are allowed", e.Part, e.Size, e.Min, e.Max)
}

// LimitError says that an item would have too many siblings, or too many bytes: read it and write one
// version with the context of that read.
type LimitError struct {
	What  string // "siblings", "bytes"
	Value int64  // what the item would have
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("storage: the item would have %d %s and may have %d; read it and write one version with the returned context", e.Value, e.What, e.Limit)
}

// TooOldError says that a request id is older than the retry window, so that whether an earlier try of it
// took place can't be known any more.
type TooOldError struct {
	Age    time.Duration // of the request id when the write would have been minted
	Window time.Duration
}

func (e *TooOldError) Error() string {
	return fmt.Sprintf("storage: the request id is %v old and may be %v; whether an earlier try took place is unknown", e.Age, e.Window)
}

// Is reports true for ErrTooOld.
func (e *TooOldError) Is(target error) bool { return target == ErrTooOld }

// BelowFloorError says that a fresh write is refused because its dot is not above what this replica has attested: it was
// minted by a clock far behind, or was very long on its way. It has to be minted anew, above Floor.
type BelowFloorError struct{ HLC, Floor causal.HLC }

func (e *BelowFloorError) Error() string {
	return fmt.Sprintf("storage: the write at %v comes too late: fresh writes up to %v are refused; mint it again", e.HLC, e.Floor)
}

// Is reports true for ErrBelowFloor.
func (e *BelowFloorError) Is(target error) bool { return target == ErrBelowFloor }

// HintBudgetError says that a copy can't be kept for a target: the hint budget is full.
type HintBudgetError struct {
	Target NodeID
	Need   int64 // bytes that the hint would add
	Used   int64 // bytes charged already, to the target or in all
	Limit  int64
	Total  bool // the budget of all targets together, not this target's
}

func (e *HintBudgetError) Error() string {
	scope := fmt.Sprintf("for node %x", e.Target)
	if e.Total {
		scope = "of this node"
	}
	return fmt.Sprintf("storage: the hint budget %s is full: %d bytes more on %d of %d", scope, e.Need, e.Used, e.Limit)
}

// DiskFullError says that a write was refused, with nothing done, because the disk is full but for its reserve.
type DiskFullError struct {
	Dir string
	// Free is what the disk has left, Reserve what the store keeps for itself, in bytes.
	Free, Reserve uint64
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("storage: the disk of %s has %d bytes free, too few beside the %d kept in reserve; make room and writes go on by themselves",
		e.Dir, e.Free, e.Reserve)
}

// Is reports true for ErrDiskFull.
func (e *DiskFullError) Is(target error) bool { return target == ErrDiskFull }
