// Package siblings checks the versions of items in buckets that keep siblings against what causality alone says.
// Effective writes are those acknowledged and any of the unknown ones that show; of these
//
//   - at the end exactly those are there that no other covers, tombstones among them, and none twice;
//   - no read, strict or not, shows two of which one covers the other;
//   - no strict read at R shows one that was covered by a write acknowledged, strictly at W, before the read began, if
//     R+W>N.
package siblings

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "siblings"

// Check looks at all reads and copies of buckets that keep siblings.
func Check(run *history.Run) (out []history.Violation) {
	for _, it := range item.All(run) {
		if it.Bucket.Policy != history.Siblings {
			continue
		}
		c := &checker{it: it}
		c.reads()
		c.covered()
		c.finals()
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

// text names a write in a message.
func (c *checker) text(p int) string {
	op := c.it.Writes[p].Op
	return fmt.Sprintf("%s %s (%q, operation %d)", op.Kind, op.Write, op.Value, op.Index)
}

// reads checks that what one read shows was not seen by what it shows beside it.
func (c *checker) reads() {
	for _, r := range c.it.Reads {
		if p, found := c.it.Overlap(c.it.Places(r.Versions)); found {
			c.violated(r.Index, "a read shows %s beside one that covers it", c.text(p))
		}
		if len(c.out) == item.Most {
			return
		}
	}
}

// covered checks strict reads against what was covered when they began. For each R other writes count.
func (c *checker) covered() {
	byR := map[int][]*history.Op{}
	for _, r := range c.it.Reads {
		if r.Strict && len(r.Versions) > 0 {
			byR[r.Quorum] = append(byR[r.Quorum], r)
		}
	}
	for r, reads := range byR {
		var writes []int
		for p := range c.it.Writes {
			if c.it.Acknowledged(p, r) {
				writes = append(writes, p)
			}
		}
		slices.SortFunc(writes, func(a, b int) int { return cmp.Compare(c.it.Writes[a].Op.End, c.it.Writes[b].Op.End) })
		m := c.it.NewMarker()
		for _, w := range writes {
			m.Add(w)
		}
		for _, read := range reads {
			for _, p := range c.it.Places(read.Versions) {
				if by, covered := m.By(p); covered && item.Before(c.it.Writes[by].Op, read) {
					c.violated(read.Index, "a strict read at %d shows %s, which was covered when it began by %s", r, c.text(p), c.text(by))
				}
			}
		}
	}
}

// finals checks what is there at the end.
func (c *checker) finals() {
	f := c.it.Final
	if f == nil {
		return
	}
	m := c.it.NewMarker()
	var wanted []int
	for p := range c.it.Writes {
		if c.it.Kept(p) {
			m.Add(p)
			wanted = append(wanted, p)
		}
	}
	// The maximal ones: what they cover is judged by what covers it.
	wanted = slices.DeleteFunc(wanted, func(p int) bool { _, covered := m.By(p); return covered })
	c.final("the last read", f.Read, m, wanted)
	for _, copied := range f.Copies {
		if copied.Owner {
			c.final("owner "+copied.Node, copied.Versions, m, wanted)
		}
	}
}

func (c *checker) final(where string, versions []history.Version, m *item.Marker, wanted []int) {
	there := c.it.Places(versions)
	for i, p := range there {
		if by, covered := m.By(p); covered {
			c.violated(-1, "%s still has %s, which was covered by %s", where, c.text(p), c.text(by))
		}
		if slices.Contains(there[:i], p) {
			c.violated(-1, "%s has %s twice", where, c.text(p))
		}
	}
	if p, found := c.it.Overlap(there); found {
		c.violated(-1, "%s has %s beside one that covers it", where, c.text(p))
	}
	if len(versions) == 0 { // tombstones alone don't show in a read: package durable judges that
		return
	}
	for _, p := range c.it.Missing(there, wanted) {
		c.violated(-1, "%s lacks %s, which no write covers", where, c.text(p))
	}
}
