package ring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// testEpochs are encodings of genesis and of moves, small and large.
func testEpochs(t testing.TB) [][]byte {
	r := rand.New(rand.NewPCG(51, 1))
	var all [][]byte
	for range 4 {
		for _, e := range randomHistory(r, 6) {
			all = append(all, AppendEpoch(nil, e))
		}
	}
	for _, in := range []PlanInput{
		{Members: testMembers(r, 1, 1), Partitions: 1, Replicas: 1},
		{Members: testMembers(r, 256, 5), Partitions: 64, Replicas: 7, Version: 1 << 60},
		{Members: testMembers(r, 257, 5), Partitions: 64, Replicas: 7},
	} {
		all = append(all, AppendEpoch(nil, Genesis(mustPlan(t, in))))
	}
	for _, e := range newOperator(r).run(8) {
		all = append(all, AppendEpoch(nil, e))
	}
	return all
}

// TestEncodingIsFixed: nodes persist and compare these bytes. A change here needs a new format
// number.
func TestEncodingIsFixed(t *testing.T) {
	members := []Member{{ID: NodeID{2}, Zone: "b", Weight: 300}, {ID: NodeID{1}, Zone: "a", Weight: 1}, {ID: NodeID{3}, Zone: "b", Weight: 1}}
	l := newLayout(7, []Member{members[1], members[0], members[2]}, 2, 2, []uint16{1, 0, 0, 2})
	e := &Epoch{Number: 5, Base: l, Next: l, origin: make(marks, 14), changed: make(marks, 14), nextOrigin: make(marks, 14)}
	e.changed[13], e.nextOrigin[13] = 5, 5
	e.changed[0], e.origin[0], e.nextOrigin[0] = 4, 3, 3
	layout := "07" + "0102" + "02" + "0161" + "0162" + "03" +
		"01000000000000000000000000000000" + "00" + "01" +
		"02000000000000000000000000000000" + "01" + "ac02" +
		"03000000000000000000000000000000" + "01" + "01" + "01000002"
	want := "010105" + layout + layout + "01040c000105" + "01030d00" + "01030c000105"
	if got := hex.EncodeToString(AppendEpoch(nil, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEpochRoundTrip(t *testing.T) {
	for _, b := range testEpochs(t) {
		got, err := DecodeEpoch(b)
		if err != nil {
			t.Fatalf("DecodeEpoch: %v", err)
		}
		if again := AppendEpoch([]byte("x"), got); !bytes.Equal(again[1:], b) {
			t.Fatalf("%x became %x", b, again[1:])
		}
	}
	h := randomHistory(rand.New(rand.NewPCG(52, 1)), 8)
	for _, e := range h[1:] {
		got, err := DecodeEpoch(AppendEpoch(nil, e))
		if err != nil {
			t.Fatal(err)
		}
		for p := range 4 {
			for n := 1; n <= MaxReplicas; n++ {
				if got.Changed(p, n) != e.Changed(p, n) || got.Origin(p, n) != e.Origin(p, n) || got.NextOrigin(p, n) != e.NextOrigin(p, n) {
					t.Fatalf("epoch %d: marks of partition %d at N=%d are lost", e.Number, p, n)
				}
			}
		}
		if !reflect.DeepEqual(got.Base.Members(), e.Base.Members()) || !reflect.DeepEqual(got.Base.owners, e.Base.owners) || got.Joint() != e.Joint() {
			t.Fatalf("epoch %d: the layout is lost", e.Number)
		}
	}
}

// TestDecodeEpochRefusesDamage: cut short, longer, or with one byte changed, bytes are refused or
// are another epoch's only encoding.
func TestDecodeEpochRefusesDamage(t *testing.T) {
	for _, b := range testEpochs(t)[:12] {
		for i := range b {
			if _, err := DecodeEpoch(b[:i]); !errors.Is(err, ErrEncoding) {
				t.Fatalf("the first %d of %d bytes: %v", i, len(b), err)
			}
			for _, flip := range []byte{1, 0x80, 0xff} {
				bad := bytes.Clone(b)
				bad[i] ^= flip
				if e, err := DecodeEpoch(bad); err == nil && !bytes.Equal(AppendEpoch(nil, e), bad) {
					t.Fatalf("byte %d flipped: accepted a second encoding", i)
				}
			}
		}
		var de *DecodeError
		if _, err := DecodeEpoch(append(bytes.Clone(b), 0)); !errors.As(err, &de) || de.Offset != len(b) {
			t.Fatalf("a byte behind: %v", err)
		}
	}
}

func TestDecodeEpochRefusesNonsense(t *testing.T) {
	const id1, id2 = "01000000000000000000000000000000", "02000000000000000000000000000000"
	const good = "010000" + "07" + "0101" + "01" + "0161" + "01" + id1 + "00" + "01" + "0000" + "0e00" + "0e00"
	b, _ := hex.DecodeString(good)
	if _, err := DecodeEpoch(b); err != nil {
		t.Fatalf("the one to spoil: %v", err)
	}
	for name, text := range map[string]string{
		"newer format":        "02" + good[2:],
		"unknown kind":        "0102" + good[4:],
		"long number":         "01008000" + good[6:],
		"65 bits":             "0100ffffffffffffffffff7f" + good[6:],
		"2^17 partitions":     "010000" + "07" + "1101" + good[12:],
		"no replicas":         "010000" + "07" + "0100" + good[12:],
		"more than members":   "010000" + "07" + "0102" + good[12:],
		"no zones":            "010000" + "07" + "0101" + "00" + "01" + id1 + "00" + "01" + "0000" + "0e00" + "0e00",
		"no members":          "010000" + "07" + "0101" + "00" + "00" + "0e00" + "0e00",
		"a zone of nobody":    "010000" + "07" + "0101" + "02" + "0161" + "0162" + "01" + id1 + "00" + "01" + "0000" + "0e00" + "0e00",
		"zones out of order":  "010000" + "07" + "0101" + "02" + "0162" + "0161" + "02" + id1 + "00" + "01" + id2 + "01" + "01" + "0000" + "0e00" + "0e00",
		"ids out of order":    "010000" + "07" + "0101" + "01" + "0161" + "02" + id2 + "00" + "01" + id1 + "00" + "01" + "0000" + "0e00" + "0e00",
		"zero id":             "010000" + "07" + "0101" + "01" + "0161" + "01" + "00000000000000000000000000000000" + "00" + "01" + "0000" + "0e00" + "0e00",
		"no such zone":        "010000" + "07" + "0101" + "01" + "0161" + "01" + id1 + "01" + "01" + "0000" + "0e00" + "0e00",
		"weight 0":            "010000" + "07" + "0101" + "01" + "0161" + "01" + id1 + "00" + "00" + "0000" + "0e00" + "0e00",
		"no such owner":       "010000" + "07" + "0101" + "01" + "0161" + "01" + id1 + "00" + "01" + "0001" + "0e00" + "0e00",
		"one owner twice":     "010000" + "07" + "0002" + "01" + "0161" + "02" + id1 + "00" + "01" + id2 + "00" + "01" + "0101" + "0700" + "0700",
		"too short a table":   good[:len(good)-8] + "0d00" + "0e00",
		"too long a table":    good[:len(good)-8] + "0f00" + "0e00",
		"empty run":           good[:len(good)-8] + "0000" + "0e00",
		"split run":           good[:len(good)-8] + "01000d00" + "0e00",
		"changed tomorrow":    good[:len(good)-8] + "0e01" + "0e00",
		"came before changed": "010002" + good[6:len(good)-8] + "0e01" + "0e02",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e, err := DecodeEpoch(b); !errors.Is(err, ErrEncoding) || e != nil {
			t.Errorf("%s: got %+v, %v, want ErrEncoding", name, e, err)
		}
	}
}

func FuzzDecodeEpoch(f *testing.F) {
	for _, b := range testEpochs(f) {
		f.Add(b)
	}
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 16, 7, 0xff, 0x1f})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEpoch(b)
		if err != nil {
			if !errors.Is(err, ErrEncoding) || e != nil {
				t.Fatalf("got %v, %v", e, err)
			}
			return
		}
		if again := AppendEpoch(nil, e); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
		// Whatever was decoded can be used.
		last := e.Base.Partitions() - 1
		if got := e.Base.Preference(last); len(got) != len(e.Base.Members()) {
			t.Fatalf("%d of %d members on a preference list", len(got), len(e.Base.Members()))
		}
		e.Base.Preflist(last, e.Base.Replicas(), func(id NodeID) bool { return id[0]&1 == 0 })
		e.Fence(0, e.Partitions()-1, MaxReplicas)
		e.FenceRange(0, 0, math.MaxUint64, 1)
		if e.Partitions() > 1<<10 {
			return // the rest would take long, and says the same of few
		}
		for _, end := range []func() (*Epoch, error){e.Commit, e.Abort} {
			next, err := end()
			if (err == nil) != (e.Joint() && e.Number < math.MaxUint64) {
				t.Fatalf("joint %v, number %d: %v", e.Joint(), e.Number, err)
			}
			if err != nil {
				continue
			}
			if next, err = DecodeEpoch(AppendEpoch(nil, next)); err != nil {
				t.Fatalf("the epoch that follows can't be decoded: %v", err)
			}
			if !next.Base.Equal(e.Base) && !next.Base.Equal(e.Next) {
				t.Fatal("a move ends on a third layout")
			}
			if err := e.Follows(next); err != nil && e.Next.Version() > e.Base.Version() {
				t.Fatal(err)
			}
		}
	})
}
