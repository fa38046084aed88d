package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/starling-db/starling/causal"
)

const (
	metaFormat = 1
	maxName    = 255
	// MaxMeta bounds a document, in bytes.
	MaxMeta = 64 << 20
)

// Marks of the store's own.
var (
	ownerMark    = []byte{markPrefix, 'o', 'w', 'n', 'e', 'r'}      // the node id that wrote this database
	boundMark    = []byte{markPrefix, 'h', 'l', 'c'}                // the HLC bound
	attestedMark = []byte{markPrefix, 'a', 't', 't', 'e', 's', 't'} // up to where fresh writes are refused
	treeMark     = []byte{markPrefix, 't', 'r', 'e', 'e'}           // there while the store is closed in order: its trees are right
)

// SetMeta stores a small named document (1 to 255 bytes of name, up to MaxMeta of value). It is durable when
// SetMeta returns. A nil value removes the document.
func (s *Store) SetMeta(name string, value []byte) error {
	if n := len(name); n < 1 || n > maxName {
		return &KeyError{Part: "document name", Size: n, Min: 1, Max: maxName}
	}
	if n := len(value); n > MaxMeta {
		return &KeyError{Part: "document", Size: n, Max: MaxMeta}
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return s.setSealed(metaKey(name), value)
}

// Meta returns a document, nil if there is none.
func (s *Store) Meta(name string) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	value, err := s.sealed(metaKey(name))
	if err != nil {
		return nil, err
	}
	return value, s.await(context.Background(), s.stripes[metaStripe].pending.Load())
}

// HLCBound returns the highest bound that SetHLCBound made durable, in this run or an earlier one; zero for
// a new directory.
func (s *Store) HLCBound() causal.HLC { return causal.HLC(s.hlc.Load()) }

// SetHLCBound makes a bound of the clock durable. A bound that isn't higher than the present one is ignored.
func (s *Store) SetHLCBound(h causal.HLC) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	ctx := context.Background()
	if err := s.lock(ctx, metaStripe); err != nil {
		return err
	}
	c, err := s.applyBound(h)
	s.stripes.unlock(metaStripe)
	if err == nil {
		err = s.await(ctx, c)
	}
	if err != nil {
		return err
	}
	for old := s.hlc.Load(); uint64(h) > old && !s.hlc.CompareAndSwap(old, uint64(h)); old = s.hlc.Load() {
	}
	return nil
}

// applyBound runs under the latch, so that a lower bound never overwrites a higher one that is on its way.
func (s *Store) applyBound(h causal.HLC) (*commit, error) {
	if h <= s.bound {
		return s.settled(metaStripe)
	}
	b, err := s.sealedBatch(boundMark, binary.BigEndian.AppendUint64(nil, uint64(h)))
	if err != nil {
		return nil, err
	}
	s.bound = h
	return s.apply(b, true, metaStripe)
}

func (s *Store) loadBound() error {
	b, err := s.sealed(boundMark)
	if err != nil || b == nil {
		return err
	}
	if len(b) != 8 {
		return s.fail(&CorruptError{Key: boundMark, What: "HLC bound", Err: errShort})
	}
	s.bound = causal.HLC(binary.BigEndian.Uint64(b))
	s.hlc.Store(uint64(s.bound))
	return nil
}

// checkOwner compares the node id in the database with the one in the identity file, so that a directory put
// together from two nodes is noticed. At the first start it writes it, and then marks the directory
// complete.
func (s *Store) checkOwner() error {
	id := s.dir.identity.Load().NodeID
	owner, err := s.sealed(ownerMark)
	if err != nil {
		return err
	}
	switch ready := s.dir.identity.Load().Ready; {
	case bytes.Equal(owner, id[:]):
	case owner != nil:
		return &IdentityError{Path: s.dir.file(), Detail: fmt.Sprintf("node id %x, but the database beside it is of %x", id, owner)}
	case ready:
		return &IdentityError{Path: s.dir.file(), Detail: "the database beside it is of no node"}
	default:
		if err := s.setSealed(ownerMark, id[:]); err != nil {
			return err
		}
	}
	return s.dir.update(func(r *identityRecord) error {
		r.Ready = true
		return nil
	})
}

func metaKey(name string) []byte { return append([]byte{metaPrefix}, name...) }

// setSealed writes, or removes, one value durably.
func (s *Store) setSealed(key, value []byte) error {
	b, err := s.sealedBatch(key, value)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.lock(ctx, metaStripe); err != nil {
		return err
	}
	c, err := s.apply(b, true, metaStripe)
	s.stripes.unlock(metaStripe)
	if err != nil {
		return err
	}
	return s.await(ctx, c)
}

// sealedBatch returns a batch that sets key to value, or removes it if value is nil.
func (s *Store) sealedBatch(key, value []byte) (*batch, error) {
	b := s.newBatch()
	if value == nil {
		return b, b.Delete(key, nil)
	}
	sealed := append(openSeal(make([]byte, 0, sealSize+len(value)), metaFormat), value...)
	closeSeal(sealed, key)
	return b, b.Set(key, sealed, nil)
}

// sealed reads one value, nil if it isn't there.
func (s *Store) sealed(key []byte) ([]byte, error) {
	value, err := s.read(key)
	if err != nil || value == nil {
		return nil, err
	}
	b, err := checkSeal(key, value, metaFormat)
	if err != nil {
		return nil, &CorruptError{Key: key, What: "document", Err: err}
	}
	return b, nil
}

// read returns a copy of the value under key; nil if there is none.
func (s *Store) read(key []byte) (b []byte, err error) {
	err = s.view(key, func(value []byte) error {
		// bytes.Clone would round the size up, and values may be large. No value is empty: all have a seal.
		b = make([]byte, len(value))
		copy(b, value)
		return nil
	})
	return b, err
}

// view shows the value under key to look, which must not keep it, if there is one.
func (s *Store) view(key []byte, look func([]byte) error) error {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return s.readError(key, err)
	}
	return errors.Join(look(value), closer.Close())
}

// readError makes corruption of a file the store's failure.
func (s *Store) readError(key []byte, err error) error {
	if pebble.IsCorruptionError(err) {
		return s.fail(fmt.Errorf("read %x: %w", key, err))
	}
	return fmt.Errorf("storage: read %x: %w", key, err)
}
