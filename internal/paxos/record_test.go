package paxos

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func testRecords() []Record {
	low, high := Ballot{1, testNode(0)}, Ballot{300, testNode(2)}
	return []Record{
		{Instance: 1, Promised: low},
		{Instance: 1<<64 - 1, Promised: Ballot{maxCounter, testNode(4)}},
		{Instance: 128, Promised: high, Accepted: low, Value: []byte("v")},
		{Instance: 7, Promised: high, Accepted: high, Value: bytes.Repeat([]byte{9}, 200)},
	}
}

// TestRecordEncodingIsFixed: acceptors read these bytes after an upgrade. A change here needs a new format number.
func TestRecordEncodingIsFixed(t *testing.T) {
	const id = "000000000000000000000000000000"
	want := "01" + "8001" + "ac02" + "03" + id + "01" + "01" + id + "01" + "76"
	if got := hex.EncodeToString(AppendRecord(nil, testRecords()[2])); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(AppendRecord(nil, testRecords()[0])); got != "01"+"01"+"01"+"01"+id+"00" {
		t.Errorf("a promise alone: %s", got)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	large := testRecords()[3]
	large.Value = make([]byte, MaxValueBytes)
	for _, r := range append(testRecords(), large) {
		b := AppendRecord([]byte("x"), r)[1:]
		got, err := DecodeRecord(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("record of instance %d: %v", r.Instance, err)
		}
	}
}

// TestDecodeRecordRefusesDamage: cut short, longer, or with one byte changed, bytes are refused or are another record's
// only encoding.
func TestDecodeRecordRefusesDamage(t *testing.T) {
	for _, r := range testRecords() {
		b := AppendRecord(nil, r)
		for i := range b {
			if _, err := DecodeRecord(b[:i]); !errors.Is(err, ErrRecord) {
				t.Fatalf("the first %d of %d bytes: %v", i, len(b), err)
			}
			for _, flip := range []byte{1, 0x80, 0xff} {
				bad := bytes.Clone(b)
				bad[i] ^= flip
				if r, err := DecodeRecord(bad); err == nil && !bytes.Equal(AppendRecord(nil, r), bad) {
					t.Fatalf("byte %d flipped: accepted a second encoding", i)
				}
			}
		}
		var re *RecordError
		if _, err := DecodeRecord(append(bytes.Clone(b), 0)); !errors.As(err, &re) || re.Offset != len(b) {
			t.Fatalf("a byte behind: %v", err)
		}
	}
}

func TestDecodeRecordRefusesNonsense(t *testing.T) {
	const id, none = "01000000000000000000000000000000", "00000000000000000000000000000000"
	const good = "0107" + "02" + id + "01" + id + "0176"
	for text, offset := range map[string]int{
		good:                                               -1,
		"02" + good[2:]:                                    0,  // newer format
		"0100" + good[4:]:                                  1,  // instance 0
		"018700" + good[4:]:                                1,  // long number
		"0107" + "00" + "00":                               2,  // nothing promised
		"0107" + "02" + none + "00":                        3,  // promised to nobody
		"0107" + "02" + id + "03" + id + "0176":            19, // accepted above the promise
		"0107" + "02" + id + "01" + none + "0176":          20, // accepted from nobody
		"0107" + "02" + id + "01" + id + "00":              36, // accepted nothing
		"0107" + "02" + id + "01" + id + "81808006" + "76": 36, // more than 12 MiB
		"0107" + "818080808080808040" + id + "00":          2,  // counter beyond 2^62
		good + "00":                                        38, // more behind
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var re *RecordError
		switch r, err := DecodeRecord(b); {
		case offset < 0:
			if err != nil {
				t.Errorf("the one to spoil: %v", err)
			}
		case !errors.As(err, &re) || re.Offset != offset || !errors.Is(err, ErrRecord) || !reflect.DeepEqual(r, Record{}):
			t.Errorf("%s: got %+v, %v, want an error at byte %d", text, r, err, offset)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range testRecords() {
		f.Add(AppendRecord(nil, r))
	}
	f.Add([]byte{1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xf})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("not a record error: %v", err)
			}
			return
		}
		if again := AppendRecord(nil, r); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		if _, err := NewAcceptor(testNode(0), testInstance(t, r.Instance, 3), nil, r); err != nil {
			t.Fatal(err)
		}
	})
}
