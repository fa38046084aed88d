package storage

import (
	"context"
	"slices"
	"sync/atomic"
)

// stripeCount is a power of two. With 1,024 stripes, 64 writers of different items meet on one now and then,
// which costs them a memory copy: latches are not held across fsyncs.
const stripeCount = 1024

// stripe serializes changes of the items whose tokens fall on it, and knows the commit that was last under
// way there.
type stripe struct {
	// latch holds one token while it is taken: a channel, not a mutex, so that waiting ends with the context.
	latch chan struct{}
	// pending is set before the commit is applied: whoever sees what it wrote sees it here too. Commits
	// finish in the order of the log, so the last one of a stripe stands for all.
	pending atomic.Pointer[commit]
	// unsynced: something was applied without a sync, and nothing with one since. Guarded by the latch.
	unsynced bool
}

// stripes are the latches of items, and one more for documents and marks.
type stripes [stripeCount + 1]stripe

const metaStripe = stripeCount

func newStripes() *stripes {
	s := new(stripes)
	for i := range s {
		s[i].latch = make(chan struct{}, 1)
	}
	return s
}

// stripeOf takes the low bits of a token's leaf, so that one latch orders all changes of a leaf: those above are alike
// within a partition.
func stripeOf(token uint64) int { return LeafOf(token) % stripeCount }

// lock takes the latches of the given stripes, which must ascend without repetition: everybody takes them in
// that order, so nobody waits in a circle.
func (s *stripes) lock(ctx context.Context, indexes ...int) error {
	for n, i := range indexes {
		select {
		case s[i].latch <- struct{}{}:
			continue
		default:
		}
		select {
		case s[i].latch <- struct{}{}:
		case <-ctx.Done():
			s.unlock(indexes[:n]...)
			return ctx.Err()
		}
	}
	return nil
}

func (s *stripes) unlock(indexes ...int) {
	for _, i := range indexes {
		<-s[i].latch
	}
}

// stripesOf returns the stripes of n tokens in the order that lock wants.
func stripesOf(n int, token func(int) uint64) []int {
	indexes := make([]int, n)
	for i := range indexes {
		indexes[i] = stripeOf(token(i))
	}
	slices.Sort(indexes)
	return slices.Compact(indexes)
}
