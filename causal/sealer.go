package causal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxContextSize is how long a context token may be, in bytes.
const MaxContextSize = 1 << 20

const (
	formatContext = 1
	tagSize       = 8
)

// ErrContext says that a context token can't be used. The error is a *ContextError.
var ErrContext = errors.New("causal: unusable context")

// ContextError says what is wrong with a token. It doesn't repeat the token.
type ContextError struct {
	Problem string
	Err     error // what decoding said, where it came to that
}

// Error names the problem.
func (e *ContextError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %s: %v", ErrContext, e.Problem, e.Err)
	}
	return fmt.Sprintf("%v: %s", ErrContext, e.Problem)
}

// Is matches ErrContext.
func (e *ContextError) Is(target error) bool { return target == ErrContext }

// Unwrap returns the cause.
func (e *ContextError) Unwrap() error { return e.Err }

// ItemKey addresses an item. Bucket is the id of its bucket.
type ItemKey struct {
	Bucket          uint64
	Partition, Sort []byte
}

// Sealer turns pasts into the opaque tokens that clients carry, and back. A token is bound to its item
// and its cluster, so a client that mixes tokens up is told rather than loses siblings:
//
//	format(1) past tag(8)
//
// where the tag is the front of an HMAC-SHA256, keyed by the cluster id, over item, format and past. The
// cluster id is no great secret: the tag stops mistakes and damage, not an attacker inside. It can
// do no more harm than delete what the attacker may overwrite anyway.
type Sealer struct {
	clusterID [16]byte
}

// NewSealer returns the sealer of a cluster. It is safe for concurrent use.
func NewSealer(clusterID [16]byte) Sealer { return Sealer{clusterID: clusterID} }

// Seal returns the token of what a client has seen of an item. Having seen nothing is the empty token.
// A token above MaxContextSize is returned, but no node opens it.
func (s Sealer) Seal(item ItemKey, p Past) []byte {
	if p.IsZero() {
		return nil
	}
	token := make([]byte, 0, 1+p.Size()+tagSize)
	token = append(token, formatContext)
	token = AppendPast(token, p)
	tag := s.tag(item, token)
	return append(token, tag[:]...)
}

// Open returns what a token says. The empty token has seen nothing. It fails with a *ContextError on
// one that is damaged, above MaxContextSize, or of another item or cluster.
func (s Sealer) Open(item ItemKey, token []byte) (Past, error) {
	switch {
	case len(token) == 0:
		return Past{}, nil
	case len(token) > MaxContextSize:
		return Past{}, &ContextError{Problem: fmt.Sprintf("%d bytes, at most %d are allowed", len(token), MaxContextSize)}
	case token[0] != formatContext:
		return Past{}, &ContextError{Problem: fmt.Sprintf("format %d is not known, only %d", token[0], formatContext)}
	case len(token) < 1+tagSize:
		return Past{}, &ContextError{Problem: "cut short"}
	}
	body, got := token[:len(token)-tagSize], token[len(token)-tagSize:]
	if want := s.tag(item, body); !hmac.Equal(got, want[:]) {
		return Past{}, &ContextError{Problem: "damaged, or of another item or cluster"}
	}
	p, rest, err := DecodePast(body[1:])
	if err != nil {
		return Past{}, &ContextError{Problem: "damaged", Err: err}
	}
	if len(rest) > 0 || p.IsZero() {
		return Past{}, &ContextError{Problem: "damaged"}
	}
	return p, nil
}

// tag delimits both keys by their lengths, so that no byte can move from one to the other.
func (s Sealer) tag(item ItemKey, body []byte) (tag [tagSize]byte) {
	mac := hmac.New(sha256.New, s.clusterID[:])
	head := make([]byte, 0, 8+2*binary.MaxVarintLen64+len(item.Partition)+len(item.Sort))
	head = binary.BigEndian.AppendUint64(head, item.Bucket)
	head = binary.AppendUvarint(head, uint64(len(item.Partition)))
	head = append(head, item.Partition...)
	head = binary.AppendUvarint(head, uint64(len(item.Sort)))
	head = append(head, item.Sort...)
	mac.Write(head)
	mac.Write(body)
	copy(tag[:], mac.Sum(nil))
	return tag
}
