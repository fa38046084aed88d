package storage

import (
	"bytes"
	"errors"
	"slices"

	"github.com/starling-db/starling/causal"
)

// item is a record on its way from what is stored to what shall be. The latch of its stripe is held all the
// while.
type item struct {
	key   Key
	dbKey []byte
	old   record
	was   causal.Digest // of old
	found bool
	dirty bool // changed by the batch being filled
	new   record
}

// load reads an item to change it.
func (s *Store) load(k Key) (*item, error) {
	it := &item{key: k, dbKey: AppendKey(nil, k)}
	var err error
	if it.old, it.was, it.found, err = s.loadRecord(stripeOf(k.Token), it.dbKey); err != nil {
		return nil, err
	}
	it.new = it.old
	return it, nil
}

// owe adds a target to the new record and reports whether that changed it. A target that is there already
// keeps its place in the order of hints; its epoch is the oldest one.
func (it *item) owe(node NodeID, kind hintKind, since causal.HLC, epoch uint64) (bool, error) {
	i, found := it.new.find(node)
	if !found {
		if len(it.new.targets) == maxTargets {
			return false, &LimitError{What: "hint targets", Value: maxTargets + 1, Limit: maxTargets}
		}
		t := target{node: node, kind: kind, since: since, epoch: epoch}
		it.new.targets = slices.Insert(slices.Clone(it.new.targets), i, t)
		return true, nil
	}
	t := it.new.targets[i]
	t.kind, t.epoch = min(t.kind, kind), min(t.epoch, epoch)
	if t == it.new.targets[i] {
		return false, nil
	}
	it.new.targets = slices.Clone(it.new.targets)
	it.new.targets[i] = t
	return true, nil
}

// newSize is about how many bytes the new record takes.
func (it *item) newSize() int { return len(it.dbKey) + it.new.state.Size() }

// settle takes a target from the new record.
func (it *item) settle(node NodeID) {
	if i, found := it.new.find(node); found {
		it.new.targets = slices.Delete(slices.Clone(it.new.targets), i, i+1)
	}
}

// stage puts the change into the batch: the record, or its removal, and every hint that follows from it.
// Copies for the nodes in enforce are refused with *HintBudgetError when they don't fit the budget; then the
// batch is as it was.
func (s *Store) stage(b *batch, it *item, enforce []NodeID, remove bool) error {
	if remove {
		it.new = record{}
	}
	entries := it.entries(enforce)
	if err := s.ledger.post(entries); err != nil {
		return err
	}
	if err := errors.Join(it.stageHints(b), it.stageMark(b)); err != nil {
		return err
	}
	ch := change{stripe: stripeOf(it.key.Token), uncached: remove || it.new.damaged, kept: kept{block: it.dbKey, keySize: len(it.dbKey)}}
	var err error
	if remove {
		err = b.Delete(it.dbKey, nil)
	} else {
		ch.block = make([]byte, len(it.dbKey), len(it.dbKey)+recordSize(&it.new))
		copy(ch.block, it.dbKey)
		ch.block = appendRecord(ch.block, it.dbKey, &it.new)
		ch.digest = it.new.state.Digest()
		err = b.Set(ch.key(), ch.value(), nil)
	}
	if err != nil {
		return err
	}
	b.changes = append(b.changes, ch)
	s.purges.note(treeKeyOf(it.dbKey), it.new.state.PurgeableAt())
	var delta Leaf // a damaged record has no part in its leaf: others must see that it differs
	if it.found && !it.old.damaged {
		delta = delta.minus(leafOfItem(it.dbKey, it.was))
	}
	if !remove && !it.new.damaged {
		delta = delta.plus(leafOfItem(it.dbKey, ch.digest))
	}
	if delta != (Leaf{}) {
		b.moved(treeKeyOf(it.dbKey), delta)
	}
	// A later change in the same batch starts from here.
	it.old, it.was, it.found = it.new, ch.digest, !remove
	return nil
}

// entries are the changes of the ledger.
func (it *item) entries(enforce []NodeID) []entry {
	if len(it.old.targets) == 0 && len(it.new.targets) == 0 {
		return nil
	}
	var entries []entry
	before, after := it.old.state.Size(), it.new.state.Size()
	for _, t := range it.new.targets {
		e := entry{
			target: t.node, items: 1, bytes: hintCharge(t.kind, it.dbKey, after),
			enforce: t.kind == kindCopy && slices.Contains(enforce, t.node),
		}
		if i, found := it.old.find(t.node); found {
			e.items = 0
			e.bytes -= hintCharge(it.old.targets[i].kind, it.dbKey, before)
		}
		entries = append(entries, e)
	}
	for _, t := range it.old.targets {
		if _, found := it.new.find(t.node); !found {
			entries = append(entries, entry{target: t.node, items: -1, bytes: -hintCharge(t.kind, it.dbKey, before)})
		}
	}
	return entries
}

// stageHints writes the hints that are new or say something else now, and removes those of targets that are
// gone.
func (it *item) stageHints(b *batch) error {
	for _, t := range it.old.targets {
		if _, found := it.new.find(t.node); !found {
			if err := b.Delete(appendHintKey(nil, t.node, t.since, it.key), nil); err != nil {
				return err
			}
		}
	}
	for _, t := range it.new.targets {
		key := appendHintKey(nil, t.node, t.since, it.key)
		value := it.hintValue(key, t, it.new.state)
		if i, found := it.old.find(t.node); found && bytes.Equal(value, it.hintValue(key, it.old.targets[i], it.old.state)) {
			continue
		}
		if err := b.Set(key, value, nil); err != nil {
			return err
		}
	}
	return nil
}

func (it *item) hintValue(key []byte, t target, s causal.State) []byte {
	return appendHintValue(nil, key, t.kind, t.epoch, hintCharge(t.kind, it.dbKey, s.Size()))
}

// sameState reports whether a merge gave back what it was given, as causal.Merge does when there is nothing
// new.
func sameState(a, b causal.State) bool {
	if len(a.Versions) != len(b.Versions) {
		return false
	}
	return len(a.Versions) == 0 || &a.Versions[0] == &b.Versions[0]
}
