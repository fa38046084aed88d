package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/node/state"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

const (
	// Between two tries to mend what could not be mended there are mendFirst, and then twice as much each time, up to mendMost.
	mendFirst, mendMost = time.Second, time.Minute
	// mendPause is how long a round waits for the next at least: a damaged item that is read a lot must not keep a
	// processor busy.
	mendPause = 50 * time.Millisecond
	// mendPage is how many damaged items are listed at once.
	mendPage = 256
)

var (
	errAlone         = errors.New("no other node owns it: what it was can't be fetched")
	errUnknownBucket = errors.New("its bucket is not known here")
)

// mendLoop sets aside what is found corrupt, and fetches what was set aside from the other owners.
func (n *Node) mendLoop(ctx context.Context) {
	select {
	case <-n.ready:
	case <-ctx.Done():
		return
	}
	wait, next := mendFirst, n.opts.Now()
	logged := 0
	for {
		if n.setAside(ctx) > 0 || !n.opts.Now().Before(next) {
			left, err := n.mendAll(ctx)
			if ctx.Err() != nil {
				return
			}
			n.scrub.waiting.Store(int64(left))
			if left != logged && left > 0 {
				n.log.Error("damaged items have no vote until they are mended", "items", left, "last_error", err)
			}
			if logged = left; left == 0 {
				wait = mendFirst
			}
			next = n.opts.Now().Add(wait)
			wait = min(2*wait, mendMost)
		}
		if !n.awaitMend(ctx, &wait, &next) {
			return
		}
	}
}

// awaitMend waits until something was found corrupt, items that wait are to be tried again, or somebody says that
// it is worth while.
func (n *Node) awaitMend(ctx context.Context, wait *time.Duration, next *time.Time) bool {
	if !sleep(ctx, mendPause) {
		return false
	}
	var again <-chan time.Time
	if n.scrub.waiting.Load() > 0 {
		timer := time.NewTimer(max(next.Sub(n.opts.Now()), 0))
		defer timer.Stop()
		again = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-n.store.Noticed():
	case <-again:
		*next = time.Time{}
	case <-n.scrub.try:
		*wait, *next = mendFirst, time.Time{}
	}
	return true
}

// setAside takes out of use what was found corrupt, and returns how many records that were.
func (n *Node) setAside(ctx context.Context) (aside int) {
	for _, key := range n.store.TakeNoticed() {
		damaged, err := n.store.SetAside(ctx, key)
		switch {
		case ctx.Err() != nil:
			return aside
		case err != nil:
			n.log.Error("a corrupt record could not be set aside yet", "key", fmt.Sprintf("%x", key), "error", err)
		case damaged:
			aside++
			n.scrub.aside.Add(1)
			n.log.Error("a corrupt record was set aside", "key", fmt.Sprintf("%x", key))
		}
	}
	return aside
}

// mendAll tries to mend all damaged items and returns how many are left, and why the last of them is.
func (n *Node) mendAll(ctx context.Context) (left int, last error) {
	for after := (*storage.Key)(nil); ; {
		page, err := n.store.Damaged(after, mendPage)
		if err != nil {
			return left + 1, err
		}
		for i := range page {
			mended, err := n.mend(ctx, page[i])
			if ctx.Err() != nil {
				return left, ctx.Err()
			}
			if err != nil {
				left, last = left+1, err
				n.log.Debug("a damaged item could not be mended yet", "key", fmt.Sprintf("%x", storage.AppendKey(nil, page[i])), "error", err)
			} else if mended {
				n.scrub.mended.Add(1)
				n.log.Info("a damaged item was mended", "key", fmt.Sprintf("%x", storage.AppendKey(nil, page[i])))
			}
		}
		if len(page) < mendPage {
			return left, last
		}
		after = &page[len(page)-1]
	}
}

// mend fetches a damaged item from all other owners, brings them to one state, and takes that itself.
func (n *Node) mend(ctx context.Context, k storage.Key) (bool, error) {
	snap := n.state.Snapshot()
	b, ok := snap.BucketByID(k.Bucket)
	if !ok || !snap.Founded() {
		return false, errUnknownBucket // a dropped one goes with all that it had
	}
	m := storage.Mend{Key: k, Policy: b.Policy}
	item := causal.ItemKey{Bucket: k.Bucket, Partition: k.Partition, Sort: k.Sort}
	if storageKey(item).Token != k.Token {
		m.Drop = true // the damage is in the key: no item has this one, and nobody looks here
		return n.store.Mend(ctx, m)
	}
	owners := snap.Epoch.ActiveOwners(snap.Epoch.PartitionOf(ring.Token(k.Token)), b.N) // in a move what either layout holds
	others := slices.DeleteFunc(slices.Clone(owners), func(id ring.NodeID) bool { return id == n.id })
	m.Drop = len(others) == len(owners)
	if len(others) == 0 {
		return false, errAlone
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
	defer cancel()
	var err error
	if m.State, err = n.agree(ctx, item, b, snap.Epoch.Number, others); err != nil {
		return false, err
	}
	return n.store.Mend(ctx, m)
}

// agree reads an item from all of the given owners, hands the join to those that lack some of it, and returns it. The hints that
// a damaged record may have had for them are settled by that.
func (n *Node) agree(ctx context.Context, item causal.ItemKey, b *state.Bucket, epoch uint64, owners []ring.NodeID) (causal.State, error) {
	for _, id := range owners {
		if n.healthOf(id) != coordinator.Up {
			return causal.State{}, fmt.Errorf("node %s can't be asked: it is not up", n.name(id))
		}
	}
	var joined causal.State
	replies := make([]coordinator.ReadReply, len(owners))
	err := n.eachOwner(owners, "read", func(i int, done func(error)) {
		peers{n}.read(ctx, owners[i], coordinator.ReadRequest{Item: item, N: b.N, Epoch: epoch}, func(r coordinator.ReadReply, err error) {
			replies[i] = r
			done(err)
		})
	})
	if err != nil {
		return joined, err
	}
	for _, r := range replies {
		joined = causal.Merge(b.Policy, joined, r.State)
	}
	return joined, n.eachOwner(owners, "written to", func(i int, done func(error)) {
		if replies[i].Digest == joined.Digest() {
			done(nil)
			return
		}
		peers{n}.write(ctx, owners[i], coordinator.WriteRequest{
			Item: item, N: b.N, Policy: b.Policy, State: joined, Sync: true, Epoch: epoch,
		}, done)
	})
}

// eachOwner starts one question to each node and waits for all answers, each of which comes by its deadline. It returns the
// first error in their order.
func (n *Node) eachOwner(ids []ring.NodeID, what string, start func(i int, done func(error))) error {
	type answer struct {
		i   int
		err error
	}
	answers := make(chan answer, len(ids))
	for i := range ids {
		start(i, func(err error) { answers <- answer{i, err} })
	}
	errs := make([]error, len(ids))
	for range ids {
		a := <-answers
		errs[a.i] = a.err
	}
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("node %s could not be %s: %w", n.name(ids[i]), what, err)
		}
	}
	return nil
}
