package causal

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// RetryWindow is how long after the time in its request id a put may still be minted. It bounds how
// long replaced request ids must be remembered.
const RetryWindow = 60 * time.Second

// ErrRequestID says that bytes are no request id.
var ErrRequestID = errors.New("causal: malformed request id")

// RequestID is the UUIDv7 that a client draws once for a put and keeps over its retries. Its time is
// the client's estimate of the server's clock. The zero id means none, and is equal to no other.
type RequestID [16]byte

// NewRequestID draws an id for ms milliseconds since 1970 (clamped to 48 bits) with 74 bits from rand.
// It fails only when rand does.
func NewRequestID(ms int64, rand io.Reader) (RequestID, error) {
	var r RequestID
	if _, err := io.ReadFull(rand, r[6:]); err != nil {
		return RequestID{}, fmt.Errorf("causal: draw a request id: %w", err)
	}
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], uint64(min(max(ms, 0), maxMillis)))
	copy(r[:6], t[2:])
	r[6] = r[6]&0x0f | 0x70
	r[8] = r[8]&0x3f | 0x80
	return r, nil
}

// ParseRequestID reads the 16 bytes of a UUIDv7. It fails with ErrRequestID on any other length,
// version or variant.
func ParseRequestID(b []byte) (RequestID, error) {
	var r RequestID
	if len(b) != len(r) {
		return RequestID{}, fmt.Errorf("%w: %d bytes instead of %d", ErrRequestID, len(b), len(r))
	}
	copy(r[:], b)
	if v := r[6] >> 4; v != 7 {
		return RequestID{}, fmt.Errorf("%w: UUID version %d instead of 7", ErrRequestID, v)
	}
	if r[8]>>6 != 0b10 {
		return RequestID{}, fmt.Errorf("%w: not the variant of RFC 9562", ErrRequestID)
	}
	return r, nil
}

// Millis returns the milliseconds since 1970 at which the client drew the id.
func (r RequestID) Millis() int64 {
	return int64(binary.BigEndian.Uint64(r[:8]) >> 16)
}

// IsZero reports whether r is no id at all.
func (r RequestID) IsZero() bool { return r == RequestID{} }

// Compare orders ids bytewise, which is by time first.
func (r RequestID) Compare(o RequestID) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(r[:8]), binary.BigEndian.Uint64(o[:8])); c != 0 {
		return c
	}
	return cmp.Compare(binary.BigEndian.Uint64(r[8:]), binary.BigEndian.Uint64(o[8:]))
}

// String renders the id in the usual form of a UUID.
func (r RequestID) String() string {
	var s [36]byte
	hex.Encode(s[:8], r[:4])
	hex.Encode(s[9:13], r[4:6])
	hex.Encode(s[14:18], r[6:8])
	hex.Encode(s[19:23], r[8:10])
	hex.Encode(s[24:], r[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
