package client

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
)

var (
	// ErrKeep is what the function of an Update returns to leave the item as it is.
	ErrKeep = errors.New("keep the item as it is")
	// ErrDelete is what a Resolver, or the function of an Update, returns to say that the item is deleted.
	ErrDelete = errors.New("delete the item")
)

// Resolver makes one value of the siblings of an item. It gets two or more versions in the order in which they were
// written; one of them may be a tombstone, of a writer that deleted what it had seen while another wrote. ErrDelete
// resolves them to a deletion. Any other error leaves them unresolved. It may run in several goroutines at once.
//
// Many clients resolve the same siblings, some of them several times, and siblings of what they made of them, too. They
// agree in the end only if the function is pure and
//   - gives the same value for the same siblings, wherever and whenever it runs: no clock, no randomness, nothing read
//     from elsewhere, and the same bytes for the same meaning (sort what has no order);
//   - gives for two equal values that value: a sum of siblings counts twice what was merged twice;
//   - drops nothing that a sibling says. What it leaves out is lost with the next write, acknowledged or not.
//
// A union brings back what one side removed: keep removals in the value, beside what was added.
type Resolver func(key Key, siblings []Version) (value []byte, err error)

// MergeValues is a Resolver that merges the values of siblings two by two, beginning with the oldest. A tombstone
// beside values counts for nothing: who wrote a value had not seen the delete, and the value stays. Where merging is
// associative, commutative and idempotent (a union, a maximum, a CRDT) all clients arrive at one value.
func MergeValues(merge func(a, b []byte) ([]byte, error)) Resolver {
	return func(_ Key, siblings []Version) (merged []byte, err error) {
		first := true
		for _, v := range siblings {
			switch {
			case v.Tombstone:
			case first:
				merged, first = v.Value, false
			default:
				if merged, err = merge(merged, v.Value); err != nil {
					return nil, err
				}
			}
		}
		if first {
			return nil, ErrDelete
		}
		return merged, nil
	}
}

// SameValue is a Resolver for siblings that say the same, as two writers leave that stored one value. Where they differ
// it fails with ErrSiblings.
func SameValue(_ Key, siblings []Version) ([]byte, error) {
	for _, v := range siblings[1:] {
		if v.Tombstone != siblings[0].Tombstone || !bytes.Equal(v.Value, siblings[0].Value) {
			return nil, ErrSiblings
		}
	}
	if siblings[0].Tombstone {
		return nil, ErrDelete
	}
	return siblings[0].Value, nil
}

// BucketResolver has the reads and updates of a bucket resolve siblings, unless a call says otherwise by WithResolver.
// Reads write nothing: siblings stay until somebody writes with the context of such a read, as Update does.
func BucketResolver(bucket string, r Resolver) Option {
	return func(o *options) {
		o.resolvers = maps.Clone(o.resolvers)
		if o.resolvers == nil {
			o.resolvers = make(map[string]Resolver)
		}
		o.resolvers[bucket] = r
	}
}

// WithResolver has Get, BatchGet, Query, Scan and Update resolve siblings by r; nil: not at all, whatever
// BucketResolver said.
func WithResolver(r Resolver) CallOption {
	return func(o *callOptions) { o.resolver, o.resolverSet = r, true }
}

// resolverOf is the Resolver of one call; nil if there is none.
func (c *Client) resolverOf(bucket string, o *callOptions) Resolver {
	if o.resolverSet {
		return o.resolver
	}
	return c.resolvers[bucket]
}

// resolve makes one version of several, none if that is a deletion. resolved are the versions that it was made of,
// nil if there was nothing to resolve.
func (r Resolver) resolve(op string, key Key, versions []Version) (one, resolved []Version, err error) {
	if r == nil || len(versions) < 2 {
		return versions, nil, nil
	}
	value, err := r(key, slices.Clone(versions))
	switch {
	case errors.Is(err, ErrDelete):
		return nil, versions, nil
	case err != nil:
		return nil, nil, &Error{
			Op: op, Code: codes.FailedPrecondition, cause: err, matches: []error{ErrSiblings},
			Message: fmt.Sprintf("the %d siblings of %v are not resolved: %v", len(versions), key, err),
		}
	}
	return []Version{{Value: value}}, versions, nil
}

// result resolves the siblings of one item that was read.
func (r Resolver) result(op string, key Key, res *Result) (*Result, error) {
	one, resolved, err := r.resolve(op, key, res.Versions)
	if err != nil {
		return nil, err
	}
	res.Versions, res.Resolved = one, resolved
	return res, nil
}

// items resolves the siblings of a page, where it can. Items that are deleted by that are left out.
func (r Resolver) items(op string, items []Item) []Item {
	if r == nil {
		return items
	}
	left := items[:0]
	for _, item := range items {
		one, resolved, err := r.resolve(op, item.Key, item.Versions)
		if err != nil {
			item.Unresolved = err
		} else {
			item.Versions, item.Resolved = one, resolved
		}
		if len(item.Versions) > 0 {
			left = append(left, item)
		}
	}
	return left
}
