package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/starling-db/starling/causal"
)

const hintFormat = 1

// hintOverhead is charged for each hint beside the bytes it keeps: its key and value, and what Pebble adds.
const hintOverhead = 128

// Hint says that Target lacks the present state of an item.
type Hint struct {
	Target NodeID
	// Since is when it was found to lack it first: hints are listed in this order.
	Since causal.HLC
	Key   Key
	// Epoch is the oldest one at which a write missed Target.
	Epoch uint64
	// Bytes is what is charged to the budget for it.
	Bytes int64

	kind hintKind
}

// appendHintKey appends h's key: 'h', target, since, bucket and the item's range key, integers big-endian.
func appendHintKey(dst []byte, target NodeID, since causal.HLC, k Key) []byte {
	dst = append(append(dst, hintPrefix), target[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(since))
	dst = binary.BigEndian.AppendUint64(dst, k.Bucket)
	return AppendRangeKey(dst, k)
}

// hintHeader is the length of a hint's key up to its bucket.
const hintHeader = 1 + 16 + 8

// decodeHintKey is the reverse of appendHintKey. The key may share b's memory.
func decodeHintKey(b []byte) (Hint, error) {
	if len(b) < hintHeader+8 || b[0] != hintPrefix {
		return Hint{}, errors.New("not a hint's key")
	}
	h := Hint{Target: NodeID(b[1:17]), Since: causal.HLC(binary.BigEndian.Uint64(b[17:]))}
	var err error
	h.Key, err = DecodeRangeKey(binary.BigEndian.Uint64(b[hintHeader:]), b[hintHeader+8:])
	return h, err
}

// appendHintValue appends format, checksum, kind, epoch and the bytes charged.
func appendHintValue(dst, key []byte, kind hintKind, epoch uint64, charge int64) []byte {
	start := len(dst)
	dst = append(openSeal(dst, hintFormat), byte(kind))
	dst = binary.AppendUvarint(dst, epoch)
	dst = binary.AppendUvarint(dst, uint64(charge))
	closeSeal(dst[start:], key)
	return dst
}

// decodeHint reads a stored hint. Its key may share the memory of key.
func decodeHint(key, value []byte) (Hint, error) {
	h, err := decodeHintKey(key)
	if err != nil {
		return Hint{}, err
	}
	b, err := checkSeal(key, value, hintFormat)
	if err != nil {
		return Hint{}, err
	}
	if len(b) == 0 {
		return Hint{}, errShort
	}
	if h.kind = hintKind(b[0]); h.kind != kindCopy && h.kind != kindDebt {
		return Hint{}, fmt.Errorf("unknown kind of hint %d", h.kind)
	}
	if h.Epoch, b, err = decodeUvarint(b[1:]); err != nil {
		return Hint{}, err
	}
	charge, b, err := decodeUvarint(b)
	if err != nil {
		return Hint{}, err
	}
	if charge > 1<<50 || len(b) > 0 {
		return Hint{}, errors.New("malformed size")
	}
	h.Bytes = int64(charge)
	return h, nil
}

// hintBounds returns the first key of a target's hints and the first behind them.
func hintBounds(node NodeID) (start, end []byte) {
	start = append([]byte{hintPrefix}, node[:]...)
	return start, successor(start)
}

// successor returns the least key above all that start with prefix, which must not be all 0xFF: the first
// byte of ours never is.
func successor(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for end[len(end)-1] == 0xFF {
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return end
}

// hintCharge is what the budget is charged for one target of a record: the record, if it is kept for the
// target, and in any case the hint.
func hintCharge(kind hintKind, key []byte, stateBytes int) int64 {
	charge := int64(len(key)) + hintOverhead
	if kind == kindCopy {
		charge += int64(stateBytes)
	}
	return charge
}
