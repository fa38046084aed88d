// Package pasts looks into the causality of items in buckets with siblings. A version replaces what its writer had seen,
// and nothing else: a past that says more drops, sooner or later, a write that nobody has seen, and this finds it before
// that happens.
//
// A version vector names, for each actor, one dot and all before it (Parker et al. 1983; Preguiça et al. 2010 on what
// goes wrong when there are gaps). So there are two rules. The past of a version that is left at the end covers only what
// its writer had seen. And every state that is read is closed: where a dot of an actor is, the earlier ones of that actor
// are there or replaced. The second breaks when an actor mints behind writes that it has forgotten, or when a version
// travels without its siblings.
package pasts

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "pasts"

// Check complains of each write that some version's past covers although its writer can't have seen it. Copies whose state
// can't be decoded are complained of too.
func Check(run *history.Run) (out []history.Violation) {
	for _, it := range item.All(run) {
		if it.Bucket.Policy != history.Siblings {
			continue
		}
		out = append(out, checkReads(it)...)
		if it.Final == nil {
			continue
		}
		seen := map[causal.Digest]bool{} // most copies are alike
		for _, c := range it.Final.Copies {
			state, err := causal.DecodeState(c.State)
			if err != nil && len(c.State) > 0 {
				out = append(out, history.Violation{Checker: name, Key: it.Key, Op: -1, Message: fmt.Sprintf("%s holds a state that can't be decoded: %v", c.Node, err)})
				continue
			}
			if d := state.Digest(); !seen[d] {
				seen[d] = true
				out = append(out, checkState(it, c.Node, state)...)
			}
		}
	}
	return out
}

func checkState(it *item.Item, node string, state causal.State) (out []history.Violation) {
	for i := range state.Versions {
		v := &state.Versions[i]
		p, known := it.Find(history.IDOf(v.RequestID))
		if !known {
			continue // a write that nobody recorded: another checker's business
		}
		for _, x := range it.Missing([]int{p}, covered(it, v.Past)) {
			if x == p {
				continue
			}
			op := it.Writes[x].Op
			out = append(out, history.Violation{Checker: name, Key: it.Key, Op: op.Index, Message: fmt.Sprintf(
				"%s has %v of %s (%q), which covers %s %s (%q), a write that its writer had not seen",
				node, v.Dot, it.Writes[p].Op.Write, v.Value, op.Kind, op.Write, op.Value)})
		}
	}
	return out
}

// covered lists the writes that a past covers, by one of their dots or by their request id.
func covered(it *item.Item, past causal.Past) (out []int) {
	named := map[history.WriteID]bool{}
	for _, id := range past.Replaced() {
		named[history.IDOf(id)] = true
	}
	for x := range it.Writes {
		w := &it.Writes[x]
		is := named[w.Op.Write]
		for _, d := range w.Dots {
			is = is || past.Covers(d)
		}
		if is {
			out = append(out, x)
		}
	}
	return out
}

// checkReads complains of reads that show a dot and neither show nor may cover an earlier one of the same actor.
func checkReads(it *item.Item) (out []history.Violation) {
	dots := map[causal.Actor]*actor{}
	for x := range it.Writes {
		for _, d := range it.Writes[x].Dots {
			if dots[d.Actor] == nil {
				dots[d.Actor] = &actor{it: it}
			}
			dots[d.Actor].minted = append(dots[d.Actor].minted, minted{at: d.HLC, place: x})
		}
	}
	for _, a := range dots {
		slices.SortFunc(a.minted, func(x, y minted) int { return cmp.Compare(x.at, y.at) })
	}
	check := func(versions []history.Version, op int) {
		var wanted []int
		for _, v := range versions {
			if a := dots[v.Dot.Actor]; a != nil {
				wanted = append(wanted, a.wanted(v.Dot.HLC)...)
			}
		}
		wanted = slices.DeleteFunc(slices.Clone(wanted), it.MayBePurged)
		for _, x := range it.Missing(it.Places(versions), wanted) {
			w := it.Writes[x].Op
			out = append(out, history.Violation{Checker: name, Key: it.Key, Op: op, Message: fmt.Sprintf(
				"shows %v, and neither shows nor covers %s %s (%q), which one of their actors had minted before", versions, w.Kind, w.Write, w.Value)})
			return
		}
	}
	for _, r := range it.Reads {
		check(r.Versions, r.Index)
	}
	if it.Final == nil {
		return out
	}
	check(it.Final.Read, -1)
	for _, c := range it.Final.Copies {
		check(c.Versions, -1)
	}
	return out
}

// actor are the writes that one actor minted, oldest first.
type actor struct {
	it     *item.Item
	minted []minted
}

// minted is a dot of an actor, and the write that it is of.
type minted struct {
	at    causal.HLC
	place int
	// left are the places of earlier writes of the actor that this one does not cover, once that is known.
	known bool
	left  []int
}

// wanted are the places of the writes before a dot, apart from those that the write of that dot covers: they need not be
// looked for again, however many reads show it.
func (a *actor) wanted(at causal.HLC) []int {
	i, found := slices.BinarySearchFunc(a.minted, at, func(m minted, at causal.HLC) int { return cmp.Compare(m.at, at) })
	if found {
		return a.left(i)
	}
	return a.before(i)
}

// before are the places of the first n writes.
func (a *actor) before(n int) []int {
	out := make([]int, n)
	for k := range out {
		out[k] = a.minted[k].place
	}
	return out
}

// left: a write that certainly covers the one before it covers what that one does. In a chain of writes each is thus
// looked at once.
func (a *actor) left(i int) []int {
	first := i
	for first > 0 && !a.minted[first].known && a.covers(first, first-1) {
		first--
	}
	for k := first; k <= i; k++ {
		m := &a.minted[k]
		if m.known {
			continue
		}
		var wanted []int
		if k > first {
			wanted = a.minted[k-1].left
		} else {
			wanted = a.before(k)
		}
		m.known, m.left = true, a.it.Missing([]int{m.place}, wanted)
	}
	return a.minted[i].left
}

func (a *actor) covers(i, earlier int) bool {
	p, found := a.it.Overlap([]int{a.minted[i].place, a.minted[earlier].place})
	return found && p == a.minted[earlier].place
}
