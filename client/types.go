package client

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Key addresses an item within a bucket.
type Key struct {
	// Partition has 1 to 65,536 bytes and decides where the item lives.
	Partition []byte
	// Sort has 0 to 65,536 bytes and orders the items that share a partition key.
	Sort []byte
}

// NewKey is a Key of two strings.
func NewKey(partition, sort string) Key {
	return Key{Partition: []byte(partition), Sort: []byte(sort)}
}

// String returns the key for messages: quoted, the sort key behind a slash if there is one.
func (k Key) String() string {
	if len(k.Sort) == 0 {
		return fmt.Sprintf("%q", k.Partition)
	}
	return fmt.Sprintf("%q/%q", k.Partition, k.Sort)
}

func (k Key) proto() *pb.ItemKey {
	return &pb.ItemKey{PartitionKey: k.Partition, SortKey: k.Sort}
}

// Dot is the unique name of one write: who minted it, and when by the cluster's hybrid clock.
type Dot = causal.Dot

// RequestID names one write over all its tries. It is a UUIDv7 whose time is the client's estimate of
// the server's clock.
type RequestID = causal.RequestID

// Context is what a reply has shown of an item's history. A write that carries it replaces the
// versions of that reply and no others. It is opaque, belongs to one item of one cluster, and the zero
// Context has seen nothing.
type Context struct{ token string }

// ContextFromBytes wraps bytes that Bytes returned.
func ContextFromBytes(b []byte) Context { return Context{token: string(b)} }

// ParseContext reads the text form of String.
func ParseContext(s string) (Context, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return Context{}, fmt.Errorf("context: not base64url: %w", err)
	}
	return Context{token: string(b)}, nil
}

// Bytes returns the token as the wire carries it.
func (c Context) Bytes() []byte {
	if c.token == "" {
		return nil
	}
	return []byte(c.token)
}

// IsZero reports whether the context has seen nothing.
func (c Context) IsZero() bool { return c.token == "" }

// String returns the context in base64url without padding.
func (c Context) String() string { return base64.RawURLEncoding.EncodeToString([]byte(c.token)) }

// Version is one written value of an item, or a tombstone.
type Version struct {
	// Dot names the write; zero in a version that a Resolver made.
	Dot Dot
	// Value is empty for a tombstone.
	Value []byte
	// Tombstone: a delete, shown because it is a sibling of a value.
	Tombstone bool
	// RequestID is that of the write; zero as Dot.
	RequestID RequestID
	// Expires is when reads begin to take the version for absent. Zero: never, or as Dot.
	Expires time.Time
}

// Time is the wall clock time at which the version was written, to the millisecond.
func (v Version) Time() time.Time { return v.Dot.HLC.Time() }

// Result is what a read found.
type Result struct {
	// Versions are in the order in which they were written. Empty: the item was never written, is deleted, or has
	// expired. Expired siblings are not among them.
	Versions []Version
	// Resolved are the siblings of which a Resolver made the one value in Versions, which has neither dot nor request id
	// then; or made a deletion, if Versions is empty. nil: there was nothing to resolve.
	Resolved []Version
	// Context covers all versions, those in Resolved too, the tombstone of a deleted item, and what has expired.
	Context Context
	// Answered is the number of replicas that answered, Fallbacks how many of them were no owners.
	Answered, Fallbacks int
	// Explain is set when it was asked for.
	Explain *Explain
}

// Found reports whether the item has a value.
func (r *Result) Found() bool {
	for _, v := range r.Versions {
		if !v.Tombstone {
			return true
		}
	}
	return false
}

// Siblings reports whether the item has several versions.
func (r *Result) Siblings() bool { return len(r.Versions) > 1 }

// Value returns the one value of the item; ErrNotFound if it has none, ErrSiblings if it has more than
// one version.
func (r *Result) Value() ([]byte, error) {
	switch {
	case !r.Found():
		return nil, ErrNotFound
	case r.Siblings():
		return nil, ErrSiblings
	}
	return r.Versions[0].Value, nil
}

// Item is one item of a query or a scan; it has at least one version.
type Item struct {
	Key Key
	// Versions as in a Result; with KeysOnly they have no values.
	Versions []Version
	// Resolved as in a Result.
	Resolved []Version
	// Unresolved is why a Resolver made nothing of the siblings, an *Error; nil if it did, or was not asked. It is no
	// error of the query or scan, which one item must not end.
	Unresolved error
	// Context covers all versions, those in Resolved too. None in a scan with KeysOnly.
	Context Context
}

// Siblings reports whether the item has several versions.
func (i *Item) Siblings() bool { return len(i.Versions) > 1 }

// Value returns the one value of the item; Unresolved or ErrSiblings if it has more than one version. In a scan with
// KeysOnly it is empty.
func (i *Item) Value() ([]byte, error) {
	switch {
	case i.Unresolved != nil:
		return nil, i.Unresolved
	case i.Siblings():
		return nil, ErrSiblings
	}
	return i.Versions[0].Value, nil
}

// Written is what a write did.
type Written struct {
	// Dot names the version that was written.
	Dot Dot
	// RequestID is the one under which it was written.
	RequestID RequestID
	// Context covers the written version and what it replaced.
	Context Context
	// Acknowledged is the number of replicas that had acknowledged when the call returned, Fallbacks how
	// many of them stood in for an owner.
	Acknowledged, Fallbacks int
	// Versions counts the versions of the item after the write, this one included: more than one means
	// siblings. Versions that have expired count, although reads don't return them.
	Versions int
	// Expires is when the value expires. Zero: never; or, of a write that is Repeated, that it was replaced since.
	Expires time.Time
	// Repeated: the write was known already; this was a retry of one that had taken place.
	Repeated bool
	// Explain is set when it was asked for.
	Explain *Explain
}
