// Package item takes a history apart into its items, and answers what the checkers ask about one: which write covers
// which, and which may rightly be gone.
//
// A write covers another when whoever made it had seen it: the context that it carried had been issued with that other
// write, or with one that covers it. A delete without a context is the hard case. The server reads before such a delete,
// and nobody is told what it found. So there are two answers: what a write covers for certain ([Marker], [Item.Overlap]),
// and what it may cover ([Item.Missing]). A checker that complains of something that is there needs the first, one that
// complains of something that is missing needs the second; that way neither raises a false alarm.
package item

import (
	"cmp"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
)

// late is how long after its start a write of unknown outcome may still be made: the window of its request id, and what
// clocks may be off, generously.
const late = causal.RetryWindow + 30*time.Second

// Write is a recorded write that may have taken effect.
type Write struct {
	Op *history.Op
	// Saw are the places of the writes that its context had been issued with; all come before it.
	Saw []int
	// Dots are all under which it was acknowledged or shown, ascending. More than one is no fault: each coordinator that
	// a try reaches may mint its own, and they are one write by their request id.
	Dots []causal.Dot
	// Shown says that a read, or a copy at the end, had it.
	Shown bool
}

// Effective says that the write certainly took place.
func (w *Write) Effective() bool { return w.Op.Outcome == history.Done || w.Shown }

// Item is one item and all that was done to it.
type Item struct {
	Key    history.Key
	Bucket history.Bucket
	Run    *history.Run
	// Writes are those not refused, in the order in which they were begun. Their places in it name them.
	Writes []Write
	// Refused are the others.
	Refused []*history.Op
	// Reads are those that were answered, in the order in which they were begun.
	Reads []*history.Op
	Final *history.Final // nil: nobody looked

	places map[history.WriteID]int
	memory bool // some write of the bucket may be lost in a crash

	quorum   []int           // writes that a strict quorum read certainly finds once they are over, by End
	coversTo []time.Duration // for each place the latest start that deletes without a context up to there may cover
	stamp    int             // of the walk under way
	stamps   []int           // the last walk that came by
	apart    map[pair]bool   // where walks have come by in vain
	astray   map[pair]bool   // the same of walks by what may be covered
}

// Most is how many violations a checker looks for in one item: where a promise is broken once it mostly is on every read
// after that.
const Most = 10

// All takes a history apart. Items ascend by key; those that were only read at the end are included.
func All(run *history.Run) []*Item {
	items := map[history.Key]*Item{}
	of := func(k history.Key) *Item {
		if items[k] == nil {
			items[k] = &Item{Key: k, Bucket: run.Buckets[k.Bucket], Run: run, places: map[history.WriteID]int{}, apart: map[pair]bool{}, astray: map[pair]bool{}}
		}
		return items[k]
	}
	memory := map[string]bool{}
	for i := range run.Ops {
		op := &run.Ops[i]
		it := of(op.Key)
		switch {
		case op.Kind == history.Read:
			if op.Outcome == history.Done {
				it.Reads = append(it.Reads, op)
			}
		case op.Outcome == history.Refused:
			it.Refused = append(it.Refused, op)
		default:
			it.Writes = append(it.Writes, Write{Op: op})
		}
		memory[op.Key.Bucket] = memory[op.Key.Bucket] || op.Memory
	}
	for i := range run.Finals {
		of(run.Finals[i].Key).Final = &run.Finals[i]
	}
	out := make([]*Item, 0, len(items))
	for _, it := range items {
		it.memory = memory[it.Key.Bucket]
		it.index()
		out = append(out, it)
	}
	slices.SortFunc(out, func(a, b *Item) int { return compareKeys(a.Key, b.Key) })
	return out
}

func compareKeys(a, b history.Key) int {
	return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Sort, b.Sort))
}

func byStart(a, b *history.Op) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Index, b.Index))
}

// index orders everything and links it.
func (it *Item) index() {
	slices.SortFunc(it.Writes, func(a, b Write) int { return byStart(a.Op, b.Op) })
	slices.SortFunc(it.Reads, byStart)
	for p := range it.Writes {
		w := &it.Writes[p]
		it.places[w.Op.Write] = p
		it.note(p, w.Op.Dot)
	}
	it.Versions(func(v history.Version, _ *history.Op) {
		if p, ok := it.places[v.Write]; ok {
			it.Writes[p].Shown = true
			it.note(p, v.Dot)
		}
	})
	for p := range it.Writes {
		it.link(p)
	}
	it.stamps = make([]int, len(it.Writes))
	it.indexDeletes()
}

func (it *Item) note(p int, d causal.Dot) {
	w := &it.Writes[p]
	if i, found := slices.BinarySearchFunc(w.Dots, d, causal.Dot.Compare); !found && d != (causal.Dot{}) {
		w.Dots = slices.Insert(w.Dots, i, d)
	}
}

// link finds what a write saw. A context can only be of writes begun before.
func (it *Item) link(p int) {
	w := &it.Writes[p]
	for _, id := range w.Op.Saw {
		if q, ok := it.places[id]; ok && q < p {
			w.Saw = append(w.Saw, q)
		}
	}
}

func (it *Item) indexDeletes() {
	it.coversTo = make([]time.Duration, len(it.Writes))
	latest := time.Duration(-1)
	for p := range it.Writes {
		w := &it.Writes[p]
		if w.Effective() {
			latest = max(latest, it.limit(p))
		}
		it.coversTo[p] = latest
		if it.Acknowledged(p, it.Bucket.N/2+1) {
			it.quorum = append(it.quorum, p)
		}
	}
	slices.SortStableFunc(it.quorum, func(a, b int) int { return cmp.Compare(it.Writes[a].Op.End, it.Writes[b].Op.End) })
}

// limit is the latest start of what a write may cover unseen: below zero unless it is a delete without a context.
func (it *Item) limit(p int) time.Duration {
	op := it.Writes[p].Op
	switch {
	case !op.CoversAll:
		return -1
	case op.Outcome == history.Done:
		return op.End
	default:
		return op.Start + late
	}
}

// Find gives the place of a write.
func (it *Item) Find(id history.WriteID) (int, bool) {
	p, ok := it.places[id]
	return p, ok
}

// Places gives those of versions that a recorded write made.
func (it *Item) Places(versions []history.Version) (out []int) {
	for _, v := range versions {
		if p, ok := it.places[v.Write]; ok {
			out = append(out, p)
		}
	}
	return out
}

// Versions hands over every version that anybody saw, and the read that showed it; nil for the last reads and copies.
func (it *Item) Versions(see func(v history.Version, read *history.Op)) {
	for _, op := range it.Reads {
		for _, v := range op.Versions {
			see(v, op)
		}
	}
	if it.Final == nil {
		return
	}
	for _, v := range it.Final.Read {
		see(v, nil)
	}
	for _, c := range it.Final.Copies {
		for _, v := range c.Versions {
			see(v, nil)
		}
	}
}

// Before says that a was over before b was begun. Where the clock says the same of both, only a session knows.
func Before(a, b *history.Op) bool {
	return a.End < b.Start || a.End == b.Start && a.Session == b.Session && a.Index < b.Index
}

// Memory says that some writes of the bucket go into memory first.
func (it *Item) Memory() bool { return it.memory }

// MayBePurged says that of a write nothing may be left, not even what covers it: it is a delete, or one may cover it, and both
// are as old as what some owner has purged.
func (it *Item) MayBePurged(p int) bool {
	if !it.old(p) {
		return false
	}
	if it.Writes[p].Op.Kind == history.Delete {
		return true
	}
	for d := range it.Writes {
		if it.Writes[d].Op.Kind != history.Delete || !it.old(d) {
			continue
		}
		// The last write wins whatever it has seen.
		if it.Bucket.Policy == history.LWW && it.MayBeAbove(d, it.highest(p)) || len(it.Missing([]int{d}, []int{p})) == 0 {
			return true
		}
	}
	return false
}

// highest is a write's highest known dot.
func (it *Item) highest(p int) (d causal.Dot) {
	if dots := it.Writes[p].Dots; len(dots) > 0 {
		d = dots[len(dots)-1]
	}
	return d
}

// old says that a write's dots, as far as they are known, are all as old as what was purged.
func (it *Item) old(p int) bool {
	dots := it.Writes[p].Dots
	return it.Run.PurgedBefore > 0 && (len(dots) == 0 || dots[len(dots)-1].HLC <= it.Run.PurgedBefore)
}

// Kept says that a write that was acknowledged, or shown, can't rightly have vanished since.
func (it *Item) Kept(p int) bool {
	w := &it.Writes[p]
	if w.Op.Memory && it.Run.Crashes > 0 || it.MayBePurged(p) {
		return false
	}
	if w.Op.Outcome == history.Done && (it.Run.DisksLost == 0 || w.Op.Acks > it.Run.DisksLost) {
		return true
	}
	return w.Shown && it.ShownIsKept(p)
}

// ShownIsKept says that a read shows of a write only what is on disk already.
func (it *Item) ShownIsKept(p int) bool {
	return it.Run.DisksLost == 0 && !(it.Run.Crashes > 0 && (it.memory || it.Writes[p].Op.Memory))
}

// Acknowledged says that a strict read of so many replicas, once the write is over, certainly meets it or a successor.
func (it *Item) Acknowledged(p, replicas int) bool {
	op := it.Writes[p].Op
	return op.Outcome == history.Done && op.Strict && it.Kept(p) && it.Run.DisksLost == 0 && op.Quorum+replicas > it.Bucket.N
}

// twinAfter is how long a try may take before a second coordinator may have been given the write: by the client, which asks
// another node after 100 ms when answers usually come much sooner and doesn't say so when that one answers, or by the node
// that took it, after 500 ms. A node that was stopped meanwhile may mint the write when it goes on.
const twinAfter = 90 * time.Millisecond

// MayHaveTwin says that a write may have been minted under a dot that nobody was told.
func (it *Item) MayHaveTwin(p int) bool {
	op := it.Writes[p].Op
	return op.Outcome != history.Done || op.Tries != 1 || op.Repeated || op.End-op.Start >= twinAfter
}

// MayBeAbove says that a write may have a dot that is not below d.
func (it *Item) MayBeAbove(p int, d causal.Dot) bool {
	dots := it.Writes[p].Dots
	return len(dots) == 0 || dots[len(dots)-1].Compare(d) >= 0 || it.MayHaveTwin(p)
}
