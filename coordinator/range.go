package coordinator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/ring"
)

// ReadRange is one page of a ranged read within one partition of the ring.
type ReadRange struct {
	Bucket     uint64
	N, R       int
	Policy     causal.Policy
	Strict     bool
	Sync       bool
	Token      ring.Token // of the partition key, or the one that Start begins with
	Start, End []byte     // storage's range keys; End is exclusive, and cut to the end of the partition of the ring
	Reverse    bool
	LimitItems int   // live items to return, at least 1
	Slack      int   // how many items more a replica is asked for, for what is deleted or expired; at least 16
	LimitBytes int64 // of a replica's answer
	Explain    bool
}

// Page holds items in order, all of them live at AsOf. Unless Done, more may follow behind Last, the last key that was
// read (live or not); forward reads go on behind it, reverse reads before it.
type Page struct {
	Items []RangeItem
	Last  []byte
	Done  bool
	// Through is the last token of the partition that was read: Done speaks of the range up to it.
	Through ring.Token
	// AsOf as in a GetResult.
	AsOf causal.HLC
	quorum.Count
	Trace *Trace
}

// errNothing is an answer that neither holds an item nor ends the range: no progress could be made on it.
var errNothing = errors.New("replica sent a part of the range without any item")

// replicaSlack is how many items more than wanted a replica is asked for, so that a few
// that don't show don't cost another round.
const replicaSlack = 16

// Range reads one page from R replicas, in a move from R of each layout, and joins it item by item. A replica that stopped at its
// limit says nothing of what lies behind, so the page ends at the nearest such end: a limit hides
// nothing. Items in which the replicas differ are written back as by Get before the page is
// returned. A page may hold fewer live items than asked for, even none, without being the last. A page is planned again when
// the owners have changed, as by Get.
func (c *Coordinator) Range(ctx context.Context, req ReadRange) (Page, error) {
	if err := c.enter(); err != nil {
		return Page{}, err
	}
	defer c.running.Done()
	for {
		planned := c.Cluster.Epoch().Number
		page, err := c.readRange(ctx, req)
		if err == nil || !c.again(ctx, planned, err) {
			return page, err
		}
	}
}

// readRange is one try, planned at one epoch. Partitions may have been cut since the caller looked at the ring: what lies
// behind the partition of the token has other owners, and is left to the next page.
func (c *Coordinator) readRange(ctx context.Context, req ReadRange) (Page, error) {
	pl := c.placeAt(req.Token, req.N, nil)
	_, through := pl.epoch.PartitionRange(pl.partition)
	req.End = cutEnd(req.End, through)
	list, owners := c.readers(pl, req.Strict)
	plan := pl.getPlan(list, owners, req.R)
	if count, refused := plan.Refusal(); refused {
		return Page{}, &QuorumError{Op: "range", Kind: ErrRefused, Count: count}
	}
	run := &rangeRun{
		c: c, req: req, pl: pl, list: list, plan: plan, tally: quorum.NewGet(plan), trace: c.newTracer(req.Explain, pl, req.Strict),
	}
	replies, err := run.collect(ctx)
	if err != nil {
		return Page{}, err
	}
	page := merge(req.Policy, req.Reverse, req.LimitItems, c.Clock(), replies)
	if err := run.settle(ctx, page.merged); err != nil {
		return Page{}, err
	}
	page.Through = through
	page.Count = run.tally.Count()
	page.Trace = run.trace.done(page.Required, page.Received)
	return page.Page, nil
}

// cutEnd is the end of a range that goes no further than a token. Range keys begin with their token, big-endian.
func cutEnd(end []byte, through ring.Token) []byte {
	if through == math.MaxUint64 {
		return end
	}
	if behind := binary.BigEndian.AppendUint64(nil, uint64(through)+1); end == nil || bytes.Compare(end, behind) > 0 {
		return behind
	}
	return end
}

type rangeRun struct {
	c     *Coordinator
	req   ReadRange
	pl    *placement
	list  []candidate
	plan  quorum.GetPlan
	tally *quorum.Get // of the answers
	trace *tracer
}

type rangeAnswer struct {
	place  int
	handle int
	reply  RangeReply
	err    error
}

func (r *rangeRun) request() RangeRequest {
	return RangeRequest{
		Bucket: r.req.Bucket, N: r.req.N, Partition: r.pl.partition, Start: r.req.Start, End: r.req.End, Reverse: r.req.Reverse,
		LimitItems: r.req.LimitItems + max(r.req.Slack, replicaSlack), LimitBytes: r.req.LimitBytes, Epoch: r.pl.epoch.Number,
	}
}

// mergedItem is an item of a page with what each answer held of it.
type mergedItem struct {
	key    []byte
	join   causal.State
	held   []quorum.Held // each answer's digest; zero where it had none
	differ bool
}

type mergedPage struct {
	Page
	merged []mergedItem
}

// merge joins the answers of a page. It is pure. The page ends where the first answer that was cut
// short ends, or where it holds as many items as asked for that are live at now.
func merge(policy causal.Policy, reverse bool, limit int, now causal.HLC, answers []rangeAnswer) mergedPage {
	before := func(a, b []byte) bool { return bytes.Compare(a, b) < 0 != reverse && !bytes.Equal(a, b) }
	var horizon []byte // the last key that every answer covers; nil: all of them cover everything
	for _, a := range answers {
		if a.reply.Exhausted {
			continue
		}
		last := a.reply.Items[len(a.reply.Items)-1].Key
		if horizon == nil || before(last, horizon) {
			horizon = last
		}
	}
	out := mergedPage{Page: Page{Done: horizon == nil, Last: horizon, AsOf: now}}
	next := make([]int, len(answers))
	for {
		var key []byte
		for i, a := range answers {
			if next[i] < len(a.reply.Items) {
				if k := a.reply.Items[next[i]].Key; key == nil || before(k, key) {
					key = k
				}
			}
		}
		if key == nil || horizon != nil && before(horizon, key) {
			return out
		}
		if len(out.Items) == limit {
			out.Done, out.Last = false, out.merged[len(out.merged)-1].key
			return out
		}
		item := mergeItem(policy, key, answers, next)
		out.merged = append(out.merged, item)
		if item.join.LiveAt(now) {
			out.Items = append(out.Items, RangeItem{Key: key, State: item.join})
		}
	}
}

// mergeItem joins the answers' states of one key and moves their cursors behind it.
func mergeItem(policy causal.Policy, key []byte, answers []rangeAnswer, next []int) mergedItem {
	item := mergedItem{key: key, held: make([]quorum.Held, len(answers))}
	for i, a := range answers {
		item.held[i].Place = a.place
		if n := next[i]; n < len(a.reply.Items) && bytes.Equal(a.reply.Items[n].Key, key) {
			item.held[i].Digest = a.reply.Items[n].State.Digest()
			item.join = causal.Merge(policy, item.join, a.reply.Items[n].State)
			next[i]++
		}
	}
	digest := item.join.Digest()
	item.differ = slices.ContainsFunc(item.held, func(h quorum.Held) bool { return h.Digest != digest })
	return item
}

// settleParallel bounds the write-backs of one page.
const settleParallel = 32

// settle writes back the items in which the answers differed.
func (r *rangeRun) settle(ctx context.Context, items []mergedItem) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(settleParallel)
	for _, item := range items {
		if item.differ {
			g.Go(func() error { return r.settleItem(ctx, item) })
		}
	}
	return g.Wait()
}

// settleItem runs the tally of a Get whose answers are there already. There may be more than R, and those of them that
// agree are no agreement of all.
func (r *rangeRun) settleItem(ctx context.Context, item mergedItem) error {
	tally := quorum.NewJoin(r.plan, item.held)
	if tally.Verdict() != quorum.Conflict {
		return nil
	}
	var causes []Cause
	lost := func() error {
		return &QuorumError{Op: "range", Kind: ErrUnstable, Count: tally.Count(), Causes: causes, Err: ctx.Err()}
	}
	todo := tally.Join(item.join.Digest())
	done := make(chan writeDone, 2*len(r.list))
	for {
		for _, a := range todo {
			r.c.Events.WriteBack()
			r.writeBack(ctx, a.Place, item, func(err error) { done <- writeDone{a.Place, err} })
		}
		todo = nil
		if v := tally.Verdict(); v == quorum.Stable {
			return nil
		} else if v == quorum.ReadLost {
			return lost()
		}
		select {
		case d := <-done:
			if d.err != nil {
				causes = append(causes, Cause{r.list[d.place].node.String(), d.err})
				todo = tally.WriteFailed(d.place)
			} else {
				todo = tally.Wrote(d.place)
			}
		case <-ctx.Done():
			return lost()
		}
	}
}

type writeDone struct {
	place int
	err   error
}

func (r *rangeRun) writeBack(ctx context.Context, place int, item mergedItem, done func(error)) {
	address, err := r.c.Replicas.ItemOf(r.req.Bucket, item.key)
	if err != nil {
		done(err)
		return
	}
	to := r.list[place]
	r.c.Replicas.Write(ctx, to.node, WriteRequest{
		Item: address, N: r.req.N, Policy: r.req.Policy, State: item.join, Sync: r.req.Sync,
		HintFor: to.hintFor, Epoch: r.pl.epoch.Number,
	}, done)
}
