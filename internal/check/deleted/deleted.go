// Package deleted checks that no deleted item returns. Once a delete is done, nothing that it certainly covered is there
// at the end, nor in a strict read at R that begins later, if R+W>N. What it covered is what its context had been issued
// with and everything covered by that; and for a delete without a context, whose server reads first, whatever a strict
// quorum read certainly finds when the delete begins. In buckets where the last write wins nothing with a lower dot may
// be there instead.
package deleted

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "deleted"

// Check looks at strict reads and at the end of each item.
func Check(run *history.Run) (out []history.Violation) {
	for _, it := range item.All(run) {
		deletes := done(it)
		if len(deletes) == 0 {
			continue
		}
		c := &checker{it: it}
		judge := c.covered
		if it.Bucket.Policy == history.LWW {
			judge = c.lower
		}
		c.finals(deletes, judge)
		c.reads(deletes, judge)
		out = append(out, c.out...)
	}
	return out
}

// done are the deletes that were acknowledged and can't be lost, by End.
func done(it *item.Item) (out []int) {
	for p := range it.Writes {
		if op := it.Writes[p].Op; op.Kind == history.Delete && op.Outcome == history.Done && it.Kept(p) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(it.Writes[a].Op.End, it.Writes[b].Op.End) })
	return out
}

// verdict finds the delete that a version has come back from; added deletes are those that count.
type verdict interface {
	add(p int)
	by(v history.Version) (p int, back bool)
}

type checker struct {
	it  *item.Item
	out []history.Violation
}

func (c *checker) look(d verdict, versions []history.Version, op int, where string) {
	for _, v := range versions {
		if v.Tombstone {
			continue
		}
		if p, back := d.by(v); back {
			del := c.it.Writes[p].Op
			c.out = append(c.out, history.Violation{Checker: name, Key: c.it.Key, Op: op, Message: fmt.Sprintf(
				"%s shows %s (%q), which delete %s (operation %d) had deleted by %v", where, v.Write, v.Value, del.Write, del.Index, del.End)})
		}
	}
}

func (c *checker) finals(deletes []int, judge func() verdict) {
	if c.it.Final == nil {
		return
	}
	d := judge()
	for _, p := range deletes {
		d.add(p)
	}
	c.look(d, c.it.Final.Read, -1, "the last read")
	for _, copied := range c.it.Final.Copies {
		if copied.Owner {
			c.look(d, copied.Versions, -1, "owner "+copied.Node)
		}
	}
}

func (c *checker) reads(deletes []int, judge func() verdict) {
	rs := map[int]bool{}
	for _, r := range c.it.Reads {
		if r.Strict {
			rs[r.Quorum] = true
		}
	}
	for r := range rs {
		d, next := judge(), 0
		for _, read := range c.it.Reads {
			if !read.Strict || read.Quorum != r {
				continue
			}
			for ; next < len(deletes) && c.it.Writes[deletes[next]].Op.End < read.Start; next++ {
				if c.it.Acknowledged(deletes[next], r) {
					d.add(deletes[next])
				}
			}
			c.look(d, read.Versions, read.Index, "a strict read")
		}
	}
}

// covered judges by causality.
func (c *checker) covered() verdict { return &coveredBy{c.it, c.it.NewMarker()} }

type coveredBy struct {
	it *item.Item
	*item.Marker
}

func (d *coveredBy) add(p int) { d.Add(p) }

func (d *coveredBy) by(v history.Version) (int, bool) {
	p, ok := d.it.Find(v.Write)
	if !ok {
		return 0, false
	}
	return d.By(p)
}

// lower judges by dots.
func (c *checker) lower() verdict { return &lowerThan{it: c.it, place: -1} }

type lowerThan struct {
	it    *item.Item
	place int
	dot   causal.Dot
}

func (d *lowerThan) add(p int) {
	if dot := d.it.Writes[p].Op.Dot; dot.Compare(d.dot) > 0 {
		d.place, d.dot = p, dot
	}
}

func (d *lowerThan) by(v history.Version) (int, bool) { return d.place, v.Dot.Compare(d.dot) < 0 }
