package session

import (
	"slices"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

// frontier demands writes in a bucket that keeps siblings. It keeps those that no other demand implies.
type frontier struct {
	it      *item.Item
	hidden  *item.Hidden
	implied *item.Implied
	firm    []event
}

func newFrontier(it *item.Item) *frontier {
	return &frontier{it: it, hidden: it.NewHidden(), implied: it.NewImplied()}
}

func (f *frontier) add(e event) {
	if f.implied.Has(e.place) {
		return
	}
	f.implied.Add(e.place)
	f.firm = append(slices.DeleteFunc(f.firm, func(o event) bool { return f.implied.ByOther(o.place) }), e)
}

func (f *frontier) unmet(read *history.Op, own []event) (event, bool) {
	demanded := slices.Concat(f.firm, own)
	if len(read.Versions) == 0 {
		i := slices.IndexFunc(demanded, func(e event) bool { return !f.hidden.At(e.place, read) })
		if i < 0 {
			return event{}, false
		}
		return demanded[i], true
	}
	places := make([]int, len(demanded))
	for i, e := range demanded {
		places[i] = e.place
	}
	missing := f.it.Missing(f.it.Places(read.Versions), places)
	if len(missing) == 0 {
		return event{}, false
	}
	return demanded[slices.Index(places, missing[0])], true
}

// newest demands the highest dot so far in a bucket where the last write wins.
type newest struct {
	it      *item.Item
	deletes []int
	top     event
}

func newNewest(it *item.Item) *newest {
	n := &newest{it: it}
	for p := range it.Writes {
		if it.Writes[p].Op.Kind == history.Delete {
			n.deletes = append(n.deletes, p)
		}
	}
	return n
}

func (n *newest) add(e event) {
	if e.shown.Dot.Compare(n.top.shown.Dot) > 0 {
		n.top = e
	}
}

func (n *newest) unmet(read *history.Op, own []event) (event, bool) {
	top := n.top
	for _, e := range own {
		if e.shown.Dot.Compare(top.shown.Dot) > 0 {
			top = e
		}
	}
	if top.shown.Dot == (causal.Dot{}) {
		return event{}, false
	}
	for _, v := range read.Versions {
		if v.Dot.Compare(top.shown.Dot) >= 0 {
			return event{}, false
		}
	}
	return top, len(read.Versions) > 0 || !n.hidden(top, read)
}

// hidden says that a read which shows nothing may have found a tombstone no older than e.
func (n *newest) hidden(e event, read *history.Op) bool {
	return e.shown.Tombstone || slices.ContainsFunc(n.deletes, func(d int) bool {
		return n.it.Writes[d].Op.Start <= read.End && n.it.MayBeAbove(d, e.shown.Dot)
	})
}
