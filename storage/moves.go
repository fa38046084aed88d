package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/starling-db/starling/causal"
)

// Move is what an owner pulls: all items with tokens from First to Last, both inclusive and whole leaves, of the buckets with N
// replicas, as one of the owners that came in at epoch Origin.
type Move struct {
	First, Last uint64
	N           int
	Origin      uint64
}

// Check reports whether this can be a move.
func (m Move) Check() error {
	const inLeaf = 1<<(64-LeafBits) - 1
	if m.First > m.Last || m.First&inLeaf != 0 || m.Last&inLeaf != inLeaf || m.N < 1 || m.N > 255 {
		return fmt.Errorf("storage: no move: tokens %016x to %016x at N=%d", m.First, m.Last, m.N)
	}
	return nil
}

// Complete says that a move was pulled whole, from so many sources.
type Complete struct {
	Move
	Sources int
}

// Pulled is how far one source of a move was read. It may be behind the items that were merged, never ahead of them.
type Pulled struct {
	Move
	Source NodeID
	// Epoch is the one at which reading this source began.
	Epoch uint64
	// Floor is what the source claimed then, and Level the purge level that the own claim held when this was written.
	Floor, Level causal.HLC
	// Cursor is the last key that was merged, as LeafItem.Key; nil: none. Done: all were.
	Cursor []byte
	Done   bool
}

const (
	moveFormat = 1
	// Behind the prefix: what a record is of.
	completeKind = 'c'
	pulledKind   = 'p'
	moveKeySize  = 1 + 1 + 1 + 8 + 8 + 8
	maxCursor    = 8 + maxRangeKey
	// maxRangeKey bounds a range key: every byte of its parts may be escaped.
	maxRangeKey = 8 + 2*MaxPartitionKey + 2 + 2*MaxSortKey + 2
)

// moveKey is 'v', the kind, N, origin, first and last token; a source's id follows.
func moveKey(kind byte, m Move) []byte {
	key := binary.BigEndian.AppendUint64([]byte{movePrefix, kind, byte(m.N)}, m.Origin)
	key = binary.BigEndian.AppendUint64(key, m.First)
	return binary.BigEndian.AppendUint64(key, m.Last)
}

func decodeMoveKey(key []byte) (Move, error) {
	if len(key) < moveKeySize {
		return Move{}, fmt.Errorf("a key of %d bytes", len(key))
	}
	m := Move{
		N: int(key[2]), Origin: binary.BigEndian.Uint64(key[3:]),
		First: binary.BigEndian.Uint64(key[11:]), Last: binary.BigEndian.Uint64(key[19:]),
	}
	return m, m.Check()
}

// SetComplete marks moves as complete, durably, and forgets how far their sources were read. Marks come behind all that was
// merged before: who finds one after a crash finds the items as well.
func (s *Store) SetComplete(ctx context.Context, marks ...Complete) error {
	return s.changeMoves(ctx, func(b *batch) error {
		for _, c := range marks {
			if err := c.Check(); err != nil {
				return err
			}
			key := moveKey(completeKind, c.Move)
			value := binary.AppendUvarint(openSeal(nil, moveFormat), uint64(c.Sources))
			closeSeal(value, key)
			if err := errors.Join(b.Set(key, value, nil), forgetPulled(b, c.Move)); err != nil {
				return err
			}
		}
		return nil
	})
}

// SetPulled stores, durably, how far a source was read.
func (s *Store) SetPulled(ctx context.Context, p Pulled) error {
	if err := p.Check(); err != nil {
		return err
	}
	if n := len(p.Cursor); n > maxCursor {
		return &KeyError{Part: "cursor of a move", Size: n, Max: maxCursor}
	}
	return s.changeMoves(ctx, func(b *batch) error {
		key := append(moveKey(pulledKind, p.Move), p.Source[:]...)
		value := binary.BigEndian.AppendUint64(openSeal(nil, moveFormat), p.Epoch)
		value = binary.BigEndian.AppendUint64(value, uint64(p.Floor))
		value = binary.BigEndian.AppendUint64(value, uint64(p.Level))
		done := byte(0)
		if p.Done {
			done = 1
		}
		value = append(append(value, done), p.Cursor...)
		closeSeal(value, key)
		return b.Set(key, value, nil)
	})
}

// ForgetMoves removes, durably, marks and how far sources were read.
func (s *Store) ForgetMoves(ctx context.Context, moves ...Move) error {
	if len(moves) == 0 {
		return nil
	}
	return s.changeMoves(ctx, func(b *batch) error {
		for _, m := range moves {
			if err := errors.Join(b.Delete(moveKey(completeKind, m), nil), forgetPulled(b, m)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ForgetPulled removes, durably, how far the sources of a move were read: it begins anew.
func (s *Store) ForgetPulled(ctx context.Context, m Move) error {
	return s.changeMoves(ctx, func(b *batch) error { return forgetPulled(b, m) })
}

func forgetPulled(b *batch, m Move) error {
	key := moveKey(pulledKind, m)
	return b.DeleteRange(key, successor(key), nil)
}

// changeMoves applies, and waits for, a batch of marks alone.
func (s *Store) changeMoves(ctx context.Context, fill func(*batch) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	b := s.newBatch()
	if err := fill(b); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := s.lock(ctx, metaStripe); err != nil {
		return errors.Join(err, b.Close())
	}
	c, err := s.apply(b, true, metaStripe)
	s.stripes.unlock(metaStripe)
	if err != nil {
		return err
	}
	return s.await(context.WithoutCancel(ctx), c)
}

// Completes lists the marks of complete moves, by N, origin and range. One that can't be read is left out: then that move is
// pulled again, which costs nothing but time.
func (s *Store) Completes() ([]Complete, error) {
	var out []Complete
	err := s.eachMove([]byte{movePrefix, completeKind}, func(m Move, key, body []byte) error {
		n, rest, err := decodeUvarint(body)
		if err != nil || len(rest) > 0 || len(key) != moveKeySize || n > 255 {
			return errors.New("not a mark of a complete move")
		}
		out = append(out, Complete{m, int(n)})
		return nil
	})
	return out, err
}

// PulledOf lists how far each source of a move was read. What can't be read is left out: that source is read from the beginning.
func (s *Store) PulledOf(m Move) ([]Pulled, error) {
	const fixed = 8 + 8 + 8 + 1
	var out []Pulled
	err := s.eachMove(moveKey(pulledKind, m), func(m Move, key, body []byte) error {
		if len(key) != moveKeySize+len(NodeID{}) || len(body) < fixed || body[24] > 1 {
			return errors.New("not a record of a source that was read")
		}
		p := Pulled{
			Move: m, Source: NodeID(key[moveKeySize:]), Epoch: binary.BigEndian.Uint64(body),
			Floor: causal.HLC(binary.BigEndian.Uint64(body[8:])), Level: causal.HLC(binary.BigEndian.Uint64(body[16:])), Done: body[24] == 1,
		}
		if len(body) > fixed {
			p.Cursor = slices.Clone(body[fixed:])
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// PulledMoves lists the moves of which some source was read at least in part.
func (s *Store) PulledMoves() ([]Move, error) {
	var out []Move
	err := s.eachMove([]byte{movePrefix, pulledKind}, func(m Move, _, _ []byte) error {
		if len(out) == 0 || out[len(out)-1] != m {
			out = append(out, m)
		}
		return nil
	})
	return out, err
}

// eachMove shows the records below a prefix. Those that decode refuses are logged, for nothing depends on them that can't be
// done again.
func (s *Store) eachMove(prefix []byte, decode func(m Move, key, body []byte) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return s.each(prefix, successor(prefix), func(key, value []byte) (bool, error) {
		m, err := decodeMoveKey(key)
		var body []byte
		if err == nil {
			body, err = checkSeal(key, value, moveFormat)
		}
		if err == nil {
			err = decode(m, key, body)
		}
		if err != nil {
			s.logger.Error("corrupt record of a move: it is pulled again", "key", slices.Clone(key), "error", err)
		}
		return true, nil
	})
}

// Buckets lists the buckets of which there is an item, or a leaf that is not empty, in order.
func (s *Store) Buckets() ([]uint64, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	var out []uint64
	for from := uint64(0); ; from++ {
		bucket, found, err := s.nextBucket(from)
		if err != nil || !found {
			return out, err
		}
		if out = append(out, bucket); bucket == ^uint64(0) {
			return out, nil
		}
		from = bucket
	}
}
