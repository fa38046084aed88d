package ring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// ErrNodeID is what every error of ParseNodeID matches.
var ErrNodeID = errors.New("not a node id")

// NodeID names a node for ever: a random UUID (version 4) that lives with the node's data. Names
// and addresses are mere attributes of it.
type NodeID [16]byte

// NewNodeID draws an id from rand, which must yield 16 bytes fit for a UUID nobody else draws.
func NewNodeID(rand io.Reader) (NodeID, error) {
	var id NodeID
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return NodeID{}, fmt.Errorf("draw a node id: %w", err)
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// ParseNodeID reads the text form that String writes, in either case of letters. Any 16 bytes but
// sixteen zeros are an id: which UUID version made it is not checked.
func ParseNodeID(s string) (NodeID, error) {
	const form = "want 36 characters like 6f1b2c3d-0011-4a22-8b33-445566778899"
	if len(s) != 36 {
		return NodeID{}, fmt.Errorf("%w: %d characters, %s", ErrNodeID, len(s), form)
	}
	var digits [32]byte
	n := 0
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return NodeID{}, fmt.Errorf("%w: %q, %s", ErrNodeID, s, form)
			}
			continue
		}
		digits[n] = s[i]
		n++
	}
	var id NodeID
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return NodeID{}, fmt.Errorf("%w: %q, %s", ErrNodeID, s, form)
	}
	if id.IsZero() {
		return NodeID{}, fmt.Errorf("%w: %q is the id that stands for no node", ErrNodeID, s)
	}
	return id, nil
}

// String is the UUID's text: 36 characters, lower case.
func (id NodeID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// IsZero reports whether the id is the zero value, which no node has.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// Compare orders ids by their bytes: -1, 0 or 1.
func (id NodeID) Compare(o NodeID) int { return bytes.Compare(id[:], o[:]) }
