package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
)

// updateTries bounds how often an Update reads the item: to change it, and to resolve the siblings that then are there.
const updateTries = 8

// Updated is what an Update did.
type Updated struct {
	// Value is what the item has now as far as the Update knows: what the function made, or what a Resolver made of that
	// and of its siblings. nil if the item is deleted, for which Found is false.
	Value []byte
	Found bool
	// Written is the write of what the function made; nil if it made none.
	Written *Written
	// Versions counts the versions of the item when Update looked last; more than one: siblings are left for the next
	// read to resolve.
	Versions int
	// Context replaces what the Update has left. It is zero when siblings are left, of which it has not seen all.
	Context Context
}

// Update reads an item, calls change once to make its new value, and writes that with the context of the read, so that
// it replaces just what change has seen. current has one version at most if a Resolver is at hand (BucketResolver,
// WithResolver); else change must expect siblings, and may use current.Value, which fails for them. Besides a value and
// an error of its own, which ends the Update, change may return ErrKeep or ErrDelete.
//
// If others wrote meanwhile, nothing is lost: what they and change made are siblings then. With a Resolver, Update reads
// them again and writes what the Resolver makes of them, at most seven times with growing pauses. It does not call
// change again: its result is among the siblings. So the Resolver, not change, decides what becomes of concurrent
// updates. Two concurrent increments of a plain number are two equal siblings, whatever the Resolver does: use a value
// that can be merged. Without a Resolver, the siblings stay. In a bucket with ConflictLWW one of two concurrent updates
// is lost.
//
// An error means that what change made was not written, or, with ErrOutcomeUnknown, may have been. A write that
// succeeded is never reported as an error because of the siblings that it left. To run an Update again is to change the
// item again. With WithRequestID of an earlier Update, and within a minute of it, the second does nothing as long as
// the item shows the version of the first; once others have replaced that, it may change the item a second time.
//
// Options: those of Get and Put, but for WithContext. Timeout bounds all of it.
func (c *Client) Update(ctx context.Context, bucket string, key Key,
	change func(current *Result) ([]byte, error), opts ...CallOption,
) (*Updated, error) {
	o := newCallOptions(opts)
	ctx, cancel := c.callContext(ctx, o.timeout)
	defer cancel()
	u := update{
		client: c, bucket: bucket, key: key, requestID: o.requestID, tries: updateTries,
		opts: append(append([]CallOption(nil), opts...), Timeout(0)),
	}
	done, err := u.change(ctx, change)
	if err != nil {
		return nil, err
	}
	if done.Versions > 1 && done.Written != nil && c.resolverOf(bucket, &o) != nil {
		u.settle(ctx, done)
	}
	return done, nil
}

// update is an Update under way.
type update struct {
	client    *Client
	bucket    string
	key       Key
	opts      []CallOption
	requestID RequestID
	// tries is how often the item may still be read.
	tries int
}

// change reads the item and writes what f makes of it.
func (u *update) change(ctx context.Context, f func(*Result) ([]byte, error)) (*Updated, error) {
	current, err := u.read(ctx)
	if err != nil {
		return nil, err
	}
	if v := current.version(u.requestID); v != nil {
		written := &Written{Dot: v.Dot, RequestID: v.RequestID, Context: current.Context, Versions: current.count(), Repeated: true}
		return current.updated(written), nil
	}
	before := *current // f may do with it what it likes
	value, err := f(current)
	remove := errors.Is(err, ErrDelete)
	if errors.Is(err, ErrKeep) || remove && before.count() == 0 {
		return before.updated(nil), nil
	}
	if err != nil && !remove {
		return nil, &Error{Op: "update", Code: codes.Aborted, Message: err.Error(), cause: err}
	}
	now, err := u.write(ctx, before.Context, value, remove, u.requestID)
	if err != nil || !now.Written.Repeated || u.requestID.IsZero() {
		return now, err
	}
	// It was written before, and may have been replaced since.
	if current, err = u.read(ctx); err != nil {
		return nil, err
	}
	return current.updated(now.Written), nil
}

// settle writes what the Resolver makes of the siblings that are there, until there are none, or the tries are used up.
// done is brought up to date. It has no error: the change itself is written, and whoever reads next resolves the rest.
func (u *update) settle(ctx context.Context, done *Updated) {
	pace := newBackoff()
	for done.Versions > 1 && u.tries > 0 {
		// Everybody who left a sibling resolves: whoever is quicker spares the others the work.
		if !wait(ctx, pace.NextBackOff()) {
			return
		}
		current, err := u.read(ctx)
		if err != nil {
			return
		}
		if current.Resolved == nil {
			now := current.updated(done.Written)
			*done = *now
			return
		}
		now, err := u.write(ctx, current.Context, current.value(), !current.Found(), RequestID{})
		if err != nil {
			return
		}
		now.Written = done.Written
		*done = *now
	}
}

// read reads the item once.
func (u *update) read(ctx context.Context) (*Result, error) {
	u.tries--
	return u.client.Get(ctx, u.bucket, u.key, u.opts...)
}

// write writes a value or a tombstone over what seen covers.
func (u *update) write(ctx context.Context, seen Context, value []byte, remove bool, id RequestID) (*Updated, error) {
	opts := append(append([]CallOption(nil), u.opts...), WithContext(seen), WithRequestID(id))
	if remove {
		w, err := u.client.Delete(ctx, u.bucket, u.key, opts...)
		if err != nil {
			return nil, err
		}
		return &Updated{Written: w, Versions: w.Versions, Context: w.Context}, nil
	}
	w, err := u.client.Put(ctx, u.bucket, u.key, value, opts...)
	if err != nil {
		return nil, err
	}
	return &Updated{Value: value, Found: true, Written: w, Versions: w.Versions, Context: w.Context}, nil
}

// updated is what an Update says of an item that it found like this.
func (r *Result) updated(w *Written) *Updated {
	return &Updated{Value: r.value(), Found: r.Found(), Written: w, Versions: r.count(), Context: r.Context}
}

// value is the first value of the item, nil if there is none.
func (r *Result) value() []byte {
	for _, v := range r.Versions {
		if !v.Tombstone {
			return v.Value
		}
	}
	return nil
}

// count is how many versions the item has where it is stored.
func (r *Result) count() int { return max(len(r.Versions), len(r.Resolved)) }

// version finds what a write left; nil if it is not there, or the id is zero.
func (r *Result) version(id RequestID) *Version {
	if id.IsZero() {
		return nil
	}
	for _, versions := range [][]Version{r.Versions, r.Resolved} {
		for i := range versions {
			if versions[i].RequestID == id {
				return &versions[i]
			}
		}
	}
	return nil
}

// wait waits, and reports whether ctx has not ended meanwhile.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
