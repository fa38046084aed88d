package antientropy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/time/rate"

	"github.com/starling-db/starling/antientropy/merkle"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Report is what an exchange found and did.
type Report struct {
	Partitions int   // compared
	Differed   int   // of those, that did not have the same sum
	Leaves     int   // looked at
	Items      int   // compared, of this side
	Fetched    int   // items that this side lacked, or had in another state
	Pushed     int   // items that the other side lacked, or had in another state
	Refused    int   // items that one side would not take
	Doubtful   []int // partitions with such items: they may still differ
	Recounted  int   // leaves whose sum was wrong here
	Bytes      int64 // of states, both ways
	// Unlike is how many items were found to differ by an exchange that only looks, Keys are the first MaxKeys of them.
	Unlike int
	Keys   [][]byte
}

// MaxKeys bounds the keys in a Report.
const MaxKeys = 100

// Scope is what an exchange is about.
type Scope struct {
	// Partitions, ascending, are the only ones to compare; nil: all that are shared.
	Partitions []int
	// N, if it is not zero, are the only buckets to compare: those with so many replicas. Then it is an error if the two nodes
	// do not share all of Partitions at that N.
	N int
	// Bucket is the only one to compare; 0: all that are shared.
	Bucket uint64
	// Yield has it make room, before each step, for exchanges that somebody waits for, and for clients.
	Yield bool
	// Look finds what differs and changes nothing.
	Look bool
}

// of takes from a share what is not in the scope.
func (s Scope) of(share Share) []int {
	if s.N != 0 && s.N != share.N {
		return nil
	}
	if s.Partitions == nil {
		return share.Partitions
	}
	var out []int
	for _, p := range share.Partitions {
		if _, in := slices.BinarySearch(s.Partitions, p); in {
			out = append(out, p)
		}
	}
	return out
}

// missing reports whether a plan lacks something that the scope insists on.
func (s Scope) missing(plan Plan) bool {
	if s.N == 0 {
		return false
	}
	found := 0
	for _, share := range plan.Shares {
		found += len(s.of(share))
	}
	return found != len(s.Partitions)
}

// exchange is one comparison with one other owner.
type exchange struct {
	o     *Options
	limit *rate.Limiter
	with  ring.NodeID
	plan  Plan
	scope Scope
	// from turns the partitions that differ, so that nodes that mend the same one begin at different ends.
	from uint64
	at   int // the partition that is being compared
	// pause is called before each step of some size, with what the last one cost; nil: the exchange does not wait for anything.
	pause func(ctx context.Context, cost int64) error
	paid  int64 // of Bytes
	Report
}

// run compares all that is shared. It ends with the first error that is not an item's: what it has mended stays so.
func (x *exchange) run(ctx context.Context) error {
	for _, share := range x.plan.Only(x.scope.Bucket).Shares {
		for rest := x.scope.of(share); len(rest) > 0; {
			n := min(len(rest), MaxRoots)
			if err := x.partitions(ctx, share, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}

func (x *exchange) place(share Share, partition int) Place {
	return Place{Epoch: x.plan.Epoch, N: share.N, Partition: partition, Bucket: x.scope.Bucket}
}

func (x *exchange) partitions(ctx context.Context, share Share, partitions []int) error {
	if err := x.step(ctx); err != nil {
		return err
	}
	sums := make([]merkle.Sum, len(partitions))
	for i, p := range partitions {
		sums[i] = root(x.o.Store, x.plan, share, p)
	}
	differ, err := x.o.Peer.Roots(ctx, x.with, x.place(share, 0), partitions, sums)
	if err != nil {
		return fmt.Errorf("compare %d partitions: %w", len(partitions), err)
	}
	x.Partitions += len(partitions)
	asked := make(map[int]bool, len(partitions))
	for _, p := range partitions {
		asked[p] = true
	}
	for _, p := range differ {
		if !asked[p] {
			return fmt.Errorf("%w: an answer about partition %d, which was not asked about", ErrAsked, p)
		}
		delete(asked, p)
	}
	for i := range differ {
		p := differ[(uint64(i)+x.from)%uint64(len(differ))]
		x.Differed++
		x.at = p
		if err := x.partition(ctx, share, p); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

// partition finds the leaves that differ.
func (x *exchange) partition(ctx context.Context, share Share, p int) error {
	walk := merkle.NewWalk(storage.LeafBits-x.plan.PartitionBits, storage.LeafCount)
	for {
		depth, nodes := walk.Ask()
		if len(nodes) == 0 {
			break
		}
		var theirs []merkle.Sum
		for rest := nodes; len(rest) > 0; {
			n := min(len(rest), MaxNodes)
			sums, err := x.o.Peer.Nodes(ctx, x.with, x.place(share, p), depth, rest[:n])
			if err != nil {
				return err
			}
			theirs, rest = append(theirs, sums...), rest[n:]
		}
		if err := walk.Compare(tree(x.o.Store, x.plan, share, p), theirs); err != nil {
			return err
		}
	}
	first, count := leavesOf(x.plan, p)
	own := x.o.Store.Leaves(make([]storage.Leaf, 0, count), share.Buckets, first, first+count-1)
	bare := func(leaf int) bool { return own[leaf] == storage.Leaf{} }
	for _, run := range runsOf(walk.Leaves(), bare) {
		x.Leaves += run.leaves
		ask := Ask{Place: x.place(share, p), First: first + run.first, Last: first + run.last, Keys: x.scope.Look}
		if err := x.leaves(ctx, share, ask); err != nil {
			return fmt.Errorf("leaves %d to %d: %w", run.first, run.last, err)
		}
	}
	return nil
}

// run is some neighbouring leaves, so many of which differ.
type run struct{ first, last, leaves int }

// runsOf joins ascending leaves that differ to runs, with nothing between them but leaves that are alike and bare: what a replica
// lacks altogether then costs one question and one fsync for a page, and not for each item.
func runsOf(leaves []int, bare func(int) bool) (runs []run) {
	for _, leaf := range leaves {
		if n := len(runs); n > 0 {
			at := runs[n-1].last + 1
			for at < leaf && bare(at) {
				at++
			}
			if at == leaf {
				runs[n-1].last = leaf
				runs[n-1].leaves++
				continue
			}
		}
		runs = append(runs, run{leaf, leaf, 1})
	}
	return runs
}

// leaves compares the items of a run of leaves, page by page.
func (x *exchange) leaves(ctx context.Context, share Share, ask Ask) error {
	differed := false
	for {
		claim := x.o.Store.ClaimOf(share.N, tokenIn(x.plan, ask.Partition))
		ask.Claims = told(claim)
		if err := x.step(ctx); err != nil {
			return err
		}
		own, more, err := x.o.Store.LeafItems(ctx, share.Buckets, ask.First, ask.Last, ask.After, MaxPage)
		if err != nil {
			return err
		}
		ask.Through, ask.Hashes = nil, make([]uint64, len(own))
		for i, item := range own {
			ask.Hashes[i] = item.Hash
		}
		if more {
			ask.Through = own[len(own)-1].Key
		}
		answer, err := x.o.Peer.Items(ctx, x.with, ask)
		if err != nil {
			return err
		}
		if answer.Slow {
			x.o.Slowed()
		}
		sent := len(answer.Items)
		if answer.Items, err = checkAnswer(share, ask, answer); err != nil {
			return err
		}
		if len(answer.Items) < sent || answer.Damaged && !x.scope.Look {
			x.doubt()
		}
		x.Items += len(own)
		differed = differed || len(answer.Items) > 0 || len(answer.Lacks) > 0
		if x.scope.Look {
			x.note(own, answer)
		} else if err := x.settle(ctx, share, ask, claim, own, answer); err != nil {
			return err
		}
		switch {
		case answer.Through != nil:
			ask.After = answer.Through
		case more:
			ask.After = ask.Through
		case !differed && !x.scope.Look:
			return x.recount(ctx, share, ask)
		default:
			return nil
		}
	}
}

// note counts what differs in a page.
func (x *exchange) note(own []storage.LeafItem, answer Answer) {
	seen := make(map[string]bool, len(answer.Items))
	unlike := func(key []byte) {
		if seen[string(key)] {
			return
		}
		seen[string(key)] = true
		if x.Unlike++; len(x.Keys) < MaxKeys {
			x.Keys = append(x.Keys, key)
		}
	}
	for _, item := range answer.Items {
		unlike(item.Key)
	}
	for _, key := range ownLacked(own, answer) {
		unlike(key)
	}
}

func lacked(answer Answer) map[uint64]bool {
	lacks := make(map[uint64]bool, len(answer.Lacks))
	for _, h := range answer.Lacks {
		lacks[h] = true
	}
	return lacks
}

// recount is for leaves whose items are alike on both sides and whose sums were not: one of them has lost count, or a leaf has
// changed since it was compared.
func (x *exchange) recount(ctx context.Context, share Share, ask Ask) error {
	wrong, err := recount(ctx, x.o.Store, share, ask.First, ask.Last)
	x.Recounted += wrong
	if err != nil || wrong > 0 {
		return err
	}
	_, err = x.o.Peer.Items(ctx, x.with, Ask{Place: ask.Place, First: ask.First, Last: ask.Last, Recount: true})
	return err
}

// checkAnswer refuses items that don't belong where they were asked for, and an answer that makes no progress. It leaves out
// those of buckets that were made since the exchange began, or are gone there already.
func checkAnswer(share Share, ask Ask, answer Answer) (items []Item, err error) {
	last := ask.After
	within := func(key []byte) bool {
		return bytes.Compare(key, last) > 0 && (ask.Through == nil || bytes.Compare(key, ask.Through) <= 0)
	}
	for _, item := range answer.Items {
		k, err := keyOf(item.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAsked, err)
		}
		if leaf := storage.LeafOf(k.Token); leaf < ask.First || leaf > ask.Last || !within(item.Key) {
			return nil, fmt.Errorf("%w: an item that was not asked for", ErrAsked)
		}
		last = item.Key
		if _, shared := share.policy(k.Bucket); shared {
			items = append(items, item)
		}
	}
	if answer.Through != nil && (len(answer.Items) == 0 || !bytes.Equal(answer.Through, last)) {
		return nil, fmt.Errorf("%w: an answer that goes no further than its items", ErrAsked)
	}
	return items, nil
}

func (s Share) policy(bucket uint64) (causal.Policy, bool) {
	for i, b := range s.Buckets {
		if b == bucket {
			return s.Policies[i], true
		}
	}
	return 0, false
}

// settle merges what came, and hands over what the other side lacks.
func (x *exchange) settle(ctx context.Context, share Share, ask Ask, claim storage.Claim, own []storage.LeafItem, answer Answer) error {
	theirs := make(map[string]causal.Digest, len(answer.Items))
	var merges []storage.Merge
	size := 0
	add := func(key []byte, s causal.State) {
		k, _ := keyOf(key) // it was looked at before, or is from here
		policy, _ := share.policy(k.Bucket)
		merges = append(merges, storage.Merge{Key: k, Policy: policy, State: s, N: share.N, Sync: true, Epoch: ask.Epoch})
	}
	for _, item := range answer.Items {
		add(item.Key, item.State)
		theirs[string(item.Key)] = item.State.Digest()
		size += item.State.Size()
	}
	lacking := ownLacked(own, answer)
	if answer.Claims.PurgeLevel > claim.Floor {
		if !claim.Rebuilding {
			x.o.Stale(Part{share.N, ask.Partition}, answer.Claims.PurgeLevel)
		}
		for _, key := range lacking { // what it has purged since
			if _, sent := theirs[string(key)]; !sent && !answer.Damaged {
				add(key, answer.Claims)
			}
		}
	}
	if err := x.spend(ctx, size); err != nil {
		return err
	}
	var failed error // here: what this side alone has is handed over all the same
	for i, err := range x.o.Store.Merge(ctx, merges) {
		count := &x.Fetched
		if i >= len(answer.Items) {
			count = new(int)
		}
		if err := x.took(err, count, "here"); err != nil && failed == nil {
			failed = err
		}
	}
	if told(claim).PurgeLevel > answer.Claims.Floor { // so it may be the other way round, too
		for _, item := range answer.Items {
			if !slices.ContainsFunc(lacking, func(key []byte) bool { return bytes.Equal(key, item.Key) }) {
				lacking = append(lacking, item.Key)
			}
		}
	}
	var push []Item
	size = 0
	for _, key := range lacking {
		state, err := stateOf(ctx, x.o.Store, share.N, key)
		if damaged(err) {
			continue // since it was listed
		}
		if err != nil {
			return err
		}
		if d, sent := theirs[string(key)]; sent && d == state.Digest() || !sent && len(state.Versions) == 0 {
			continue // gone, or what came from there replaced it
		}
		if len(push) == maxPush || size > 0 && size+state.Size() > maxBytes {
			if err := x.push(ctx, share, ask.Place, push, size); err != nil {
				return err
			}
			push, size = nil, 0
			if err := x.step(ctx); err != nil {
				return err
			}
		}
		push, size = append(push, Item{key, state}), size+state.Size()
	}
	return errors.Join(x.push(ctx, share, ask.Place, push, size), failed)
}

// ownLacked are the keys of this side's items in a page that the other side lacks, as they are here. Those behind the answer's
// end come with a later page.
func ownLacked(own []storage.LeafItem, answer Answer) (keys [][]byte) {
	lacks := lacked(answer)
	for _, item := range own {
		if lacks[item.Hash] && (answer.Through == nil || bytes.Compare(item.Key, answer.Through) <= 0) {
			keys = append(keys, item.Key)
		}
	}
	return keys
}

func (x *exchange) push(ctx context.Context, share Share, place Place, items []Item, size int) error {
	if len(items) == 0 {
		return nil
	}
	if err := x.spend(ctx, size); err != nil {
		return err
	}
	policy := func(bucket uint64) causal.Policy {
		p, _ := share.policy(bucket)
		return p
	}
	for _, err := range x.o.Peer.Push(ctx, x.with, place, policy, items) {
		if err := x.took(err, &x.Pushed, "there"); err != nil {
			return err
		}
	}
	return nil
}

// took counts an item that was merged. One that a side refuses for what it is must not keep the others from being mended.
func (x *exchange) took(err error, count *int, where string) error {
	var limit *storage.LimitError
	var corrupt *storage.CorruptError
	switch {
	case err == nil:
		*count++
	case errors.Is(err, ErrRefused), errors.As(err, &limit), errors.As(err, &corrupt):
		x.Refused++
		x.doubt()
		x.o.Logger.Warn("an item that differs was not taken", "where", where, "peer", x.with, "error", err)
	default:
		return err
	}
	return nil
}

// doubt notes that the partition may still differ when it has been compared.
func (x *exchange) doubt() {
	if n := len(x.Doubtful); n == 0 || x.Doubtful[n-1] != x.at {
		x.Doubtful = append(x.Doubtful, x.at)
	}
}

// spend waits until so many bytes may be sent or fetched.
func (x *exchange) spend(ctx context.Context, bytes int) error {
	x.Bytes += int64(bytes)
	for bytes > 0 {
		n := min(bytes, x.limit.Burst())
		if err := x.limit.WaitN(ctx, n); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}
