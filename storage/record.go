package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/starling-db/starling/causal"
)

const (
	recordFormat = 1
	// damagedFormat is that of a record that was set aside: it holds what was merged since, not what was there before.
	damagedFormat = 2
	// maxTargets bounds the owners that one record stands in for; there are at most seven owners, twice that
	// while a layout changes.
	maxTargets = 64
	// sealSize is the format byte and the checksum at the start of every value.
	sealSize = 1 + crc32.Size
	// targetSize is a target's encoding without its epoch.
	targetSize = 16 + 1 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is what is stored under an item's key:
//
//	format(1) crc(4) boot(8) actor(8) count(varint) target* state
//	target = node(16) kind(1) since(8) epoch(varint)
//
// Targets ascend by node id. The format is recordFormat, or damagedFormat for one that is damaged, where boot and actor
// are 0.
type record struct {
	// boot and actor: which process drew the actor. Of another process it is never used again.
	boot    uint64
	actor   causal.Actor
	targets []target
	state   causal.State
	// damaged: what was here could not be read, so the state is not all that this node once acknowledged. It has no vote
	// and no part in its leaf, and nothing is minted on it, until Mend.
	damaged bool
}

// target is an owner that lacks what the record holds: each has a hint.
type target struct {
	node  NodeID
	kind  hintKind
	since causal.HLC
	epoch uint64
}

// hintKind says what a hint costs.
type hintKind uint8

const (
	// kindCopy: the record is kept for the target, and the whole of it is charged.
	kindCopy hintKind = 1
	// kindDebt: the record is here anyway, the hint is only a note.
	kindDebt hintKind = 2
)

func (r *record) find(node NodeID) (int, bool) {
	return slices.BinarySearchFunc(r.targets, node, func(t target, n NodeID) int {
		return bytes.Compare(t.node[:], n[:])
	})
}

func (r *record) format() byte {
	if r.damaged {
		return damagedFormat
	}
	return recordFormat
}

// recordSize is at least the size of r's encoding, and little more.
func recordSize(r *record) int {
	return sealSize + 16 + binary.MaxVarintLen64 + len(r.targets)*(targetSize+binary.MaxVarintLen64) + r.state.Size()
}

// appendRecord appends r's encoding for the given key.
func appendRecord(dst, key []byte, r *record) []byte {
	start := len(dst)
	dst = openSeal(slices.Grow(dst, recordSize(r)), r.format())
	dst = binary.BigEndian.AppendUint64(dst, r.boot)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.actor))
	dst = binary.AppendUvarint(dst, uint64(len(r.targets)))
	for i := range r.targets {
		t := &r.targets[i]
		dst = append(append(dst, t.node[:]...), byte(t.kind))
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.since))
		dst = binary.AppendUvarint(dst, t.epoch)
	}
	dst = causal.AppendState(dst, r.state)
	closeSeal(dst[start:], key)
	return dst
}

// decodeRecord is the reverse of appendRecord. The state's values share b's memory.
func decodeRecord(key, b []byte) (record, error) {
	r := record{damaged: len(b) > 0 && b[0] == damagedFormat}
	b, err := checkSeal(key, b, r.format())
	if err != nil {
		return record{}, err
	}
	if len(b) < 16 {
		return record{}, errShort
	}
	r.boot, r.actor = binary.BigEndian.Uint64(b), causal.Actor(binary.BigEndian.Uint64(b[8:]))
	if r.damaged && (r.boot != 0 || r.actor != 0) {
		return record{}, errors.New("a damaged record with an actor")
	}
	if r.targets, b, err = decodeTargets(b[16:]); err != nil {
		return record{}, err
	}
	if r.state, err = causal.DecodeState(b); err != nil {
		return record{}, err
	}
	return r, nil
}

func decodeTargets(b []byte) ([]target, []byte, error) {
	n, b, err := decodeUvarint(b)
	if err != nil || n == 0 {
		return nil, b, err
	}
	if n > maxTargets {
		return nil, nil, fmt.Errorf("%d targets, at most %d are possible", n, maxTargets)
	}
	targets := make([]target, n)
	for i := range targets {
		t := &targets[i]
		if len(b) < targetSize {
			return nil, nil, errShort
		}
		copy(t.node[:], b)
		t.kind = hintKind(b[16])
		t.since = causal.HLC(binary.BigEndian.Uint64(b[17:]))
		if t.kind != kindCopy && t.kind != kindDebt {
			return nil, nil, fmt.Errorf("unknown kind of hint %d", t.kind)
		}
		if i > 0 && bytes.Compare(targets[i-1].node[:], t.node[:]) >= 0 {
			return nil, nil, errors.New("targets out of order")
		}
		if t.epoch, b, err = decodeUvarint(b[targetSize:]); err != nil {
			return nil, nil, err
		}
	}
	return targets, b, nil
}

var errShort = errors.New("cut short")

// decodeUvarint reads a varint in its shortest form.
func decodeUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errShort
	}
	if n != (bits.Len64(v|1)+6)/7 {
		return 0, nil, errors.New("varint longer than needed")
	}
	return v, b[n:], nil
}

// Every value starts with a seal: a format byte, and a CRC-32C over the key and all behind the CRC.

// openSeal appends a seal whose checksum closeSeal fills in.
func openSeal(dst []byte, format byte) []byte {
	return append(dst, format, 0, 0, 0, 0)
}

func closeSeal(value, key []byte) {
	binary.BigEndian.PutUint32(value[1:], sealSum(value, key))
}

// sealSum covers the format byte too: with a damaged one the rest would be read as what it isn't.
func sealSum(value, key []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, value[:1])
	return crc32.Update(sum, castagnoli, value[sealSize:])
}

// checkSeal returns what is behind the seal.
func checkSeal(key, value []byte, format byte) ([]byte, error) {
	if len(value) < sealSize {
		return nil, errShort
	}
	if value[0] != format {
		return nil, fmt.Errorf("format %d; this binary knows format %d", value[0], format)
	}
	if binary.BigEndian.Uint32(value[1:]) != sealSum(value, key) {
		return nil, errors.New("the checksum does not match")
	}
	return value[sealSize:], nil
}
