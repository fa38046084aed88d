package storage

import (
	"errors"
	"slices"
)

// addUpHints fills the ledger at Open. A hint that can't be decoded is made anew from the record that it
// belongs to, which holds all that it says.
func (s *Store) addUpHints() error {
	return s.each([]byte{hintPrefix}, []byte{hintPrefix + 1}, func(key, value []byte) (bool, error) {
		h, err := decodeHint(key, value)
		if err != nil {
			s.logger.Warn("corrupt hint", "key", key, "error", err)
			return true, s.restoreHint(slices.Clone(key))
		}
		return true, s.ledger.post([]entry{{target: h.Target, items: 1, bytes: h.Bytes}})
	})
}

// restoreHint runs before anybody else uses the store, so it needs no latch. What it can't restore stays as
// it is: Hints reports it.
func (s *Store) restoreHint(key []byte) error {
	h, err := decodeHintKey(key)
	if err != nil {
		return nil
	}
	it, err := s.load(h.Key)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		s.logger.Error("the item of a corrupt hint is corrupt too", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	b := s.newBatch()
	if i, owes := it.old.find(h.Target); owes && it.old.targets[i].since == h.Since {
		t := it.old.targets[i]
		err = errors.Join(
			b.Set(key, it.hintValue(key, t, it.old.state), nil),
			s.ledger.post([]entry{{target: t.node, items: 1, bytes: hintCharge(t.kind, it.dbKey, it.old.state.Size())}}),
		)
	} else {
		err = b.Delete(key, nil)
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	_, err = s.apply(b, true, stripeOf(h.Key.Token))
	return err
}
