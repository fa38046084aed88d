package causal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"
)

// goldenState pins format 1: floor, a tombstone with all there is, a value with nothing but its dot.
func goldenState() (State, string) {
	tomb := Version{
		Dot:       Dot{0x0102030405060708, NewHLC(1_700_000_000_000, 1)},
		Past:      NewPast([]Dot{{1, 2}, {3, 4}}, []RequestID{rid(1)}),
		RequestID: rid(2), Tombstone: true, ExpiresAt: 9,
	}
	value := Version{Dot: Dot{1, NewHLC(1_700_000_000_001, 0)}, Value: []byte("hello")}
	return State{Versions: []Version{tomb, value}, Floor: 300}, "01" + "ac02" + "02" +
		"0f" + "0102030405060708" + "018bcfe568000001" +
		"00000000000270008000000000000000" + "0000000000000009" +
		"02" + "00000000000000010000000000000002" + "00000000000000030000000000000004" +
		"01" + "00000000000170008000000000000000" +
		"00" + "0000000000000001" + "018bcfe568010000" + "05" + "68656c6c6f"
}

func TestGoldenEncoding(t *testing.T) {
	s, want := goldenState()
	b := AppendState([]byte("prefix"), s)
	if got := hex.EncodeToString(b[len("prefix"):]); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	raw, _ := hex.DecodeString(want)
	back, err := DecodeState(raw)
	if err != nil || !sameState(back, s) {
		t.Fatal(show(back), err)
	}
	if s.Size() != len(raw) {
		t.Fatal(s.Size(), len(raw))
	}
}

// TestGoldenPurged pins format 2, which differs in having a purge level.
func TestGoldenPurged(t *testing.T) {
	s := State{Floor: 300, PurgeLevel: 100}
	raw, _ := hex.DecodeString("02" + "ac02" + "c801" + "00")
	if got := AppendState(nil, s); !bytes.Equal(got, raw) || s.Size() != len(raw) {
		t.Fatalf("got %x of size %d, want %x", got, s.Size(), raw)
	}
	if back, err := DecodeState(raw); err != nil || !sameState(back, s) {
		t.Fatal(show(back), err)
	}
	for _, wrong := range []string{"02ac02ac0200", "02ac02ad0200", "02000000", "02ac02"} {
		raw, _ := hex.DecodeString(wrong)
		if s, err := DecodeState(raw); err == nil {
			t.Errorf("%s was taken for %s", wrong, show(s))
		}
	}
}

// randomRealState has values, tombstones and expiries too.
func randomRealState(rng *rand.Rand) State {
	s := randomState(rng, Siblings)
	for i := range s.Versions {
		v := &s.Versions[i]
		v.Value = make([]byte, rng.IntN(300))
		if v.Tombstone = rng.IntN(3) == 0; v.Tombstone {
			v.Value = nil
		}
		v.ExpiresAt = HLC(rng.IntN(2))
	}
	return s
}

func TestEncodingRoundTrip(t *testing.T) {
	rng := newRand(4)
	for range 3_000 {
		s := randomRealState(rng)
		b := AppendState(nil, s)
		back, err := DecodeState(b)
		if err != nil || !sameState(s, back) || len(b) != s.Size() {
			t.Fatalf("%s became %s: %v", show(s), show(back), err)
		}
		p := s.Context()
		pb := AppendPast(nil, p)
		pback, rest, err := DecodePast(append(pb, "rest"...))
		if err != nil || !pback.Equal(p) || string(rest) != "rest" || len(pb) != p.Size() {
			t.Fatalf("%v became %v: %v", p, pback, err)
		}
	}
}

func TestDecodedValuesAliasTheInput(t *testing.T) {
	b := AppendState(nil, state(ver(1, 10, 1, Past{})))
	s, err := DecodeState(b)
	if err != nil {
		t.Fatal(err)
	}
	v := s.Versions[0].Value
	if unsafe.SliceData(v) != &b[len(b)-len(v)] {
		t.Fatal("the value was copied")
	}
	if cap(v) != len(v) {
		t.Fatal("an append to the value would write into its neighbour")
	}
}

func TestEveryPrefixIsRefused(t *testing.T) {
	s, _ := goldenState()
	b := AppendState(nil, s)
	for n := range b {
		var e *DecodeError
		if _, err := DecodeState(b[:n]); !errors.As(err, &e) || !errors.Is(err, ErrMalformed) || e.Offset > n {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestNonCanonicalIsRefused(t *testing.T) {
	v1, v2 := ver(1, 10, 1, Past{}), ver(2, 20, 2, Past{})
	encode := func(vs ...Version) []byte { return AppendState(nil, state(vs...)) }
	withPast := func(p Past) []byte {
		v := ver(9, 90, 9, Past{})
		v.Past = p
		return encode(v)
	}
	for name, b := range map[string][]byte{
		"nothing":              {},
		"unknown format":       {2, 0, 0},
		"bytes left over":      append(encode(v1), 0),
		"long varint":          {1, 0x80, 0x00, 0},
		"varint of 11 bytes":   append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...),
		"count beyond input":   {1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"versions unordered":   encode(v2, v1),
		"one dot twice":        encode(v1, v1),
		"replaced version":     encode(v1, ver(2, 20, 2, saw(v1))),
		"replaced by its id":   encode(v1, ver(2, 20, 2, NewPast(nil, []RequestID{rid(1)}))),
		"one request twice":    encode(v1, ver(2, 20, 1, Past{})),
		"saw its own dot":      withPast(NewPast([]Dot{{9, 90}}, nil)),
		"saw its own id":       withPast(NewPast(nil, []RequestID{rid(9)})),
		"dot without HLC":      encode(ver(1, 0, 1, Past{})),
		"vector unordered":     withPast(Past{vector: []Dot{{2, 1}, {1, 1}}}),
		"vector repeats":       withPast(Past{vector: []Dot{{2, 1}, {2, 2}}}),
		"vector without HLC":   withPast(Past{vector: []Dot{{2, 0}}}),
		"ids unordered":        withPast(Past{replaced: []RequestID{rid(2), rid(1)}}),
		"ids repeat":           withPast(Past{replaced: []RequestID{rid(2), rid(2)}}),
		"zero id in past":      withPast(Past{replaced: []RequestID{{}}}),
		"unknown flag":         {1, 0, 1, 0x11, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1},
		"flag and no expiry":   append([]byte{1, 0, 1, 0x05, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 8)...),
		"flag and no id":       append([]byte{1, 0, 1, 0x03, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 16)...),
		"flag and no past":     {1, 0, 1, 0x09, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0},
		"value beyond the end": {1, 0, 1, 0x00, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x90, 0x4e},
	} {
		if s, err := DecodeState(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %s", name, err, show(s))
		}
	}
}

func TestTooManyVersionsAreRefused(t *testing.T) {
	s := State{Versions: make([]Version, MaxVersions+1)}
	for i := range s.Versions {
		s.Versions[i] = Version{Dot: Dot{1, HLC(i + 1)}, Tombstone: true}
	}
	if _, err := DecodeState(AppendState(nil, s)); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	s.Versions = s.Versions[:MaxVersions]
	if _, err := DecodeState(AppendState(nil, s)); err != nil {
		t.Fatal(err)
	}
}

// What counts promise, their bytes must hold before room for it is made. Bytes are counted, not
// allocations, whose number says nothing of their size and varies under the race detector.
func TestHostileCountsAllocateLittle(t *testing.T) {
	b := append([]byte{1, 0, 0xff, 0x1f}, make([]byte, 100)...)
	past := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	const calls, most = 1000, 4 << 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		_, _ = DecodeState(b)
		_, _, _ = DecodePast(past)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / calls; each > most {
		t.Fatalf("%d bytes allocated for %d bytes of hostile input, want at most %d", each, len(b)+len(past), most)
	}
}

func FuzzDecodeState(f *testing.F) {
	golden, _ := goldenState()
	f.Add(AppendState(nil, golden))
	f.Add(AppendState(nil, State{}))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	rng := newRand(5)
	for range 8 {
		f.Add(AppendState(nil, randomRealState(rng)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again := AppendState(nil, s); !bytes.Equal(again, b) || s.Size() != len(b) {
			t.Fatalf("%x decodes and encodes to %x", b, again)
		}
		checkCanonical(t, s)
		if m := Merge(Siblings, s, s); !sameState(m, s) {
			t.Fatalf("merge with itself: %s became %s", show(s), show(m))
		}
		s.Context()
		s.Digest()
	})
}

func FuzzDecodePast(f *testing.F) {
	f.Add(AppendPast(nil, testPast))
	f.Add(AppendPast(nil, Past{}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, rest, err := DecodePast(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again := append(AppendPast(nil, p), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes to %x", b, again)
		}
	})
}
