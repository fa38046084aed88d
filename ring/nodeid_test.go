package ring

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestNewNodeID(t *testing.T) {
	id, err := NewNodeID(bytes.NewReader(bytes.Repeat([]byte{0xff}, 16)))
	if want := "ffffffff-ffff-4fff-bfff-ffffffffffff"; err != nil || id.String() != want {
		t.Errorf("got %v, %v, want %s", id, err, want)
	}
	if id, err = NewNodeID(bytes.NewReader(make([]byte, 16))); err != nil || id.IsZero() {
		t.Errorf("of zeros: got %v, %v, want an id that is not zero", id, err)
	}
	if _, err = NewNodeID(bytes.NewReader(make([]byte, 15))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("of 15 bytes: got %v", err)
	}
}

func TestParseNodeID(t *testing.T) {
	const text = "6f1b2c3d-0011-4a22-8b33-445566778899"
	id, err := ParseNodeID(strings.ToUpper(text))
	if err != nil || id.String() != text || id[0] != 0x6f || id[15] != 0x99 {
		t.Errorf("got %v, %v", id, err)
	}
	for _, bad := range []string{
		"", text[1:], text + "0", strings.ReplaceAll(text, "-", ""), "{" + text[1:35] + "}",
		strings.Replace(text, "-", "0", 1), strings.Replace(text, "f", "g", 1), strings.Replace(text, "2", "-", 1),
		"00000000-0000-0000-0000-000000000000", strings.Repeat("é", 18),
	} {
		if id, err := ParseNodeID(bad); !errors.Is(err, ErrNodeID) || !id.IsZero() {
			t.Errorf("%q: got %v, %v, want ErrNodeID", bad, id, err)
		}
	}
}

func FuzzParseNodeID(f *testing.F) {
	f.Add("6f1b2c3d-0011-4a22-8b33-445566778899")
	f.Add("6F1B2C3D-0011-4A22-8B33-445566778899")
	f.Add("00000000-0000-0000-0000-000000000000")
	f.Add("6f1b2c3d00114a228b33445566778899----")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseNodeID(s)
		if err != nil {
			return
		}
		if id.String() != strings.ToLower(s) || id.IsZero() {
			t.Fatalf("%q became %v", s, id)
		}
	})
}
