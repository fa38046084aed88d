// Package phantom checks that what is read was written: under that key, with that value, by a write that had begun and
// was not refused; and that names are kept: a dot is of one write only, and no reply holds one write twice.
//
// A write with two dots is no fault by itself: each coordinator that a try reaches may mint its own, and by their
// request id they are one write.
package phantom

import (
	"fmt"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "phantom"

// Check looks at every version in every read and copy.
func Check(run *history.Run) (out []history.Violation) {
	recorded := map[history.WriteID]*history.Op{}
	for i := range run.Ops {
		op := &run.Ops[i]
		if op.Kind == history.Read {
			continue
		}
		if twin := recorded[op.Write]; twin != nil {
			out = append(out, history.Violation{Checker: name, Key: op.Key, Op: op.Index, Message: fmt.Sprintf(
				"write %s is recorded twice, before as operation %d: tries of one write are one operation", op.Write, twin.Index)})
		}
		recorded[op.Write] = op
	}
	for _, it := range item.All(run) {
		c := &checker{it: it, recorded: recorded, dots: map[causal.Dot]history.WriteID{}}
		c.check()
		out = append(out, c.out...)
	}
	return out
}

type checker struct {
	it       *item.Item
	recorded map[history.WriteID]*history.Op
	dots     map[causal.Dot]history.WriteID
	out      []history.Violation
}

func (c *checker) violated(op int, format string, args ...any) {
	c.out = append(c.out, history.Violation{Checker: name, Key: c.it.Key, Op: op, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) check() {
	for _, w := range c.it.Writes {
		if w.Op.Outcome == history.Done {
			c.dot(w.Op.Write, w.Op.Dot, w.Op.Index, "its answer")
		}
		for _, id := range w.Op.Saw {
			if seen := c.recorded[id]; seen == nil || seen.Key != c.it.Key || seen.Start > w.Op.Start {
				c.violated(w.Op.Index, "carried a context of write %s, which nobody had begun on this item", id)
			}
		}
	}
	for _, r := range c.it.Reads {
		c.reply(r.Versions, r, r.Index, "a read")
	}
	if f := c.it.Final; f != nil {
		c.reply(f.Read, nil, -1, "the last read")
		for _, copied := range f.Copies {
			c.reply(copied.Versions, nil, -1, "the copy of "+copied.Node)
		}
	}
}

// reply checks what one read or copy shows.
func (c *checker) reply(versions []history.Version, read *history.Op, index int, where string) {
	for i, v := range versions {
		c.version(v, read, index, where)
		for _, o := range versions[:i] {
			if o.Write == v.Write {
				c.violated(index, "%s shows write %s twice, as %v and %v", where, v.Write, o.Dot, v.Dot)
			}
		}
	}
}

func (c *checker) version(v history.Version, read *history.Op, index int, where string) {
	op := c.recorded[v.Write]
	switch {
	case op == nil:
		c.violated(index, "%s shows %s (%q), which nobody wrote", where, v.Write, v.Value)
		return
	case op.Key != c.it.Key:
		c.violated(index, "%s shows %s (%q), which was written to %v", where, v.Write, v.Value, op.Key)
		return
	case op.Outcome == history.Refused:
		c.violated(index, "%s shows %s (%q), which was refused (operation %d): %s", where, v.Write, v.Value, op.Index, op.Error)
	case read != nil && read.End < op.Start:
		c.violated(index, "%s shows %s (%q), which was begun only afterwards (operation %d)", where, v.Write, v.Value, op.Index)
	}
	if tombstone := op.Kind == history.Delete; v.Tombstone != tombstone || v.Value != op.Value {
		c.violated(index, "%s shows %s as value %q, tombstone %t; written was %q, tombstone %t (operation %d)",
			where, v.Write, v.Value, v.Tombstone, op.Value, tombstone, op.Index)
	}
	c.dot(v.Write, v.Dot, index, where)
}

func (c *checker) dot(id history.WriteID, d causal.Dot, index int, where string) {
	if d == (causal.Dot{}) {
		return
	}
	if other, known := c.dots[d]; known && other != id {
		c.violated(index, "%s gives write %s the dot %v, which is of write %s", where, id, d, other)
		return
	}
	c.dots[d] = id
}
