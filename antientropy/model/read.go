package model

import "github.com/starling-db/starling/causal"

// read merges the copies of some nodes and gives the client a token. With repair the owners among them
// are sent the join.
func (w *world) read(item int, from set, repair bool) {
	var s causal.State
	answered, vouched := set(0), false
	for i := range guardians {
		n := &w.nodes[i]
		if !from.has(i) || !n.up || isOwner(i) && n.memory.rebuilding && w.rules.RebuildingUnread {
			continue
		}
		s = w.merge(s, w.state(i, item))
		answered |= 1 << i
		vouched = vouched || isOwner(i)
	}
	if answered == 0 {
		return
	}
	t := token{context: s.Context()}
	if !w.rules.RememberRequestIDs {
		t.context = causal.NewPast(t.context.Vector(), nil)
	}
	for _, v := range s.Versions {
		n := number(v.RequestID)
		t.seen |= w.writes[n].seen | 1<<n
	}
	w.log("read item %d from %v: %v", item, answered, s.Versions)
	w.tokens[item] = append(w.tokens[item], t)
	if vouched {
		w.checkRead(item, s)
	}
	for i := range owners {
		if repair && answered.has(i) {
			w.send(message{kind: repairMessage, from: i, to: i, item: item, state: s, hintFor: -1})
		}
	}
}
