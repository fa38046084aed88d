package causal

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRequestID(t *testing.T) {
	r, err := NewRequestID(1_700_000_000_123, bytes.NewReader(bytes.Repeat([]byte{0xff}, 10)))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.String(); got != "018bcfe5-687b-7fff-bfff-ffffffffffff" {
		t.Fatal(got)
	}
	if r.Millis() != 1_700_000_000_123 || r.IsZero() || !(RequestID{}).IsZero() {
		t.Fatal(r.Millis())
	}
	if back, err := ParseRequestID(r[:]); err != nil || back != r {
		t.Fatal(back, err)
	}
	if early, _ := NewRequestID(-1, strings.NewReader("0123456789")); early.Millis() != 0 || early.Compare(r) >= 0 {
		t.Fatal(early)
	}
	if _, err := NewRequestID(1, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
}

func TestParseRequestIDRefuses(t *testing.T) {
	good := rid(1)
	version4, variant, zero := good, good, RequestID{}
	version4[6] = 0x40
	variant[8] = 0xc0
	for name, b := range map[string][]byte{
		"nothing": nil, "short": good[:15], "long": append(good[:], 0),
		"version 4": version4[:], "other variant": variant[:], "zero": zero[:],
	} {
		if _, err := ParseRequestID(b); !errors.Is(err, ErrRequestID) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseRequestID(f *testing.F) {
	good := rid(77)
	f.Add(good[:])
	f.Add([]byte{})
	f.Add(make([]byte, 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRequestID(b)
		if err != nil {
			if !errors.Is(err, ErrRequestID) {
				t.Fatal(err)
			}
			return
		}
		again, err := NewRequestID(r.Millis(), bytes.NewReader(b[6:]))
		if err != nil || again != r || !bytes.Equal(r[:], b) {
			t.Fatalf("%v and %v: %v", r, again, err)
		}
	})
}
