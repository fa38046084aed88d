// Package lastwrite checks buckets in which the last write wins. When all is over one version is there, the same on all
// owners, and its dot is no lower than that of any write that was acknowledged or shown. That it is of a write which was
// made is for package phantom. A write answered as repeated and replaced since has no dot, and asks for nothing.
//
// In any bucket a write that carried a context has a dot above those of what it saw.
//
// That a higher dot is of a write which was acknowledged long ago is no fault: a retry that nobody recognises takes
// effect again there.
package lastwrite

import (
	"fmt"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "lastwrite"

// Check looks at the end of each item, and at the dots of all writes.
func Check(run *history.Run) (out []history.Violation) {
	for _, it := range item.All(run) {
		c := &checker{it: it}
		c.causal()
		if it.Bucket.Policy == history.LWW && it.Final != nil {
			c.finals()
		}
		out = append(out, c.out...)
	}
	return out
}

type checker struct {
	it  *item.Item
	out []history.Violation
}

func (c *checker) violated(op int, format string, args ...any) {
	c.out = append(c.out, history.Violation{Checker: name, Key: c.it.Key, Op: op, Message: fmt.Sprintf(format, args...)})
}

// causal compares dots with those of what was seen.
func (c *checker) causal() {
	for p := range c.it.Writes {
		w := &c.it.Writes[p]
		if len(w.Dots) == 0 {
			continue
		}
		for _, q := range w.Saw {
			seen := &c.it.Writes[q]
			// A context of one write may come from the answer to another try than the one that was recorded.
			if len(seen.Dots) == 0 || seen.Op.Tries != 1 && len(w.Saw) == 1 || w.Dots[0].Compare(seen.Dots[0]) > 0 {
				continue
			}
			c.violated(w.Op.Index, "%s %s has the dot %v and had seen %s, whose dot %v is not lower",
				w.Op.Kind, w.Op.Write, w.Dots[0], seen.Op.Write, seen.Dots[0])
		}
	}
}

// newest is the write with the highest dot of those that must be there or beaten; -1: there is none.
func (c *checker) newest() (place int, dot causal.Dot) {
	place = -1
	for p := range c.it.Writes {
		w := &c.it.Writes[p]
		if !c.it.Kept(p) {
			continue
		}
		d := w.Op.Dot
		if c.it.ShownIsKept(p) && len(w.Dots) > 0 {
			d = w.Dots[len(w.Dots)-1]
		}
		if d.Compare(dot) > 0 {
			place, dot = p, d
		}
	}
	return place, dot
}

func (c *checker) finals() {
	f := c.it.Final
	place, dot := c.newest()
	c.final("the last read", f.Read, place, dot, len(f.Read) == 0 && (place < 0 || c.hidden(place, dot)))
	var first *history.Copy
	for i := range f.Copies {
		copied := &f.Copies[i]
		if !copied.Owner {
			continue
		}
		c.final("owner "+copied.Node, copied.Versions, place, dot, place < 0 && len(copied.Versions) == 0)
		if first == nil {
			first = copied
		}
		if a, b := top(first.Versions), top(copied.Versions); a != b {
			c.violated(-1, "owner %s has %v, and owner %s has %v", first.Node, a, copied.Node, b)
		}
	}
}

// final checks one read or copy; empty says that it may show nothing.
func (c *checker) final(where string, versions []history.Version, place int, dot causal.Dot, empty bool) {
	switch {
	case len(versions) > 1:
		c.violated(-1, "%s has %d versions", where, len(versions))
	case empty || place < 0:
	case top(versions).Compare(dot) < 0:
		op := c.it.Writes[place].Op
		c.violated(op.Index, "%s has %v: lower than %v of %s %s (%q)", where, top(versions), dot, op.Kind, op.Write, op.Value)
	}
}

func top(versions []history.Version) (d causal.Dot) {
	for _, v := range versions {
		if v.Dot.Compare(d) > 0 {
			d = v.Dot
		}
	}
	return d
}

// hidden says that a read which shows nothing may have found a tombstone that is not below the newest write.
func (c *checker) hidden(place int, dot causal.Dot) bool {
	if c.it.Writes[place].Op.Kind == history.Delete {
		return true
	}
	for p := range c.it.Writes {
		if c.it.Writes[p].Op.Kind == history.Delete && c.it.MayBeAbove(p, dot) {
			return true
		}
	}
	return false
}
