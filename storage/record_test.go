package storage

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/starling-db/starling/causal"
)

func sampleRecord(targets int) record {
	state, _ := causal.Mint(causal.Siblings, causal.State{}, 11, causal.NewHLC(start, 3), causal.Write{
		Context:   causal.NewPast([]causal.Dot{{Actor: 4, HLC: 9}}, []causal.RequestID{{1, 2, 3}}),
		RequestID: causal.RequestID{7}, Value: []byte("value"),
	})
	r := record{boot: 1, actor: 11, state: state}
	for i := range targets {
		r.targets = append(r.targets, target{node: node(byte(i + 1)), kind: kindCopy, since: 77, epoch: 300})
	}
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	dbKey := AppendKey(nil, key("p", "s"))
	damaged := sampleRecord(2)
	damaged.boot, damaged.actor, damaged.damaged = 0, 0, true
	for _, want := range []record{{}, sampleRecord(0), sampleRecord(1), sampleRecord(maxTargets), {damaged: true}, damaged} {
		b := appendRecord([]byte("before"), dbKey, &want)[6:]
		got, err := decodeRecord(dbKey, b)
		if err != nil {
			t.Fatal(err)
		}
		if got.damaged != want.damaged || got.boot != want.boot || got.actor != want.actor || !reflect.DeepEqual(got.targets, want.targets) ||
			!bytes.Equal(causal.AppendState(nil, got.state), causal.AppendState(nil, want.state)) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

// Damage is never taken for data: not a flipped bit, a missing end, something appended, nor another key.
func TestRecordDamage(t *testing.T) {
	dbKey := AppendKey(nil, key("p", "s"))
	r := sampleRecord(2)
	good := appendRecord(nil, dbKey, &r)
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := decodeRecord(dbKey, bad); err == nil {
			t.Fatalf("bit %d flipped and not noticed", i)
		}
	}
	for i := range good {
		if _, err := decodeRecord(dbKey, good[:i]); err == nil {
			t.Fatalf("cut to %d bytes and not noticed", i)
		}
	}
	if _, err := decodeRecord(dbKey, append(bytes.Clone(good), 0)); err == nil {
		t.Fatal("a byte more and not noticed")
	}
	if _, err := decodeRecord(AppendKey(nil, key("p", "other")), good); err == nil {
		t.Fatal("found under another key and not noticed")
	}
}

// reseal gives b a checksum that fits, so that fuzzing gets behind it.
func reseal(key, b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) >= sealSize {
		closeSeal(b, key)
	}
	return b
}

func FuzzDecodeRecord(f *testing.F) {
	dbKey := AppendKey(nil, key("p", "s"))
	for _, n := range []int{0, 1, 3} {
		r := sampleRecord(n)
		f.Add(appendRecord(nil, dbKey, &r))
	}
	f.Add([]byte{recordFormat, 0, 0, 0, 0})
	f.Add(appendRecord(nil, dbKey, &record{damaged: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = reseal(dbKey, b)
		r, err := decodeRecord(dbKey, b)
		if err != nil {
			return
		}
		if back := appendRecord(nil, dbKey, &r); !bytes.Equal(back, b) {
			t.Fatalf("%x is not the encoding of what it decodes to: %x", b, back)
		}
	})
}

func FuzzDecodeHint(f *testing.F) {
	k := appendHintKey(nil, node(3), 5, key("p", "s"))
	f.Add(k, appendHintValue(nil, k, kindCopy, 1, 1000))
	f.Add(k, appendHintValue(nil, k, kindDebt, 1<<40, 0))
	f.Add([]byte{hintPrefix}, []byte{hintFormat})
	f.Fuzz(func(t *testing.T, k, value []byte) {
		value = reseal(k, value)
		h, err := decodeHint(k, value)
		if err != nil {
			return
		}
		if back := appendHintKey(nil, h.Target, h.Since, h.Key); !bytes.Equal(back, k) {
			t.Fatalf("key %x is not the encoding of what it decodes to: %x", k, back)
		}
		if back := appendHintValue(nil, k, h.kind, h.Epoch, h.Bytes); !bytes.Equal(back, value) {
			t.Fatalf("value %x is not the encoding of what it decodes to: %x", value, back)
		}
	})
}

// Hints of a target come in the order of their age.
func TestHintKeyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		sa, sb := causal.HLC(r.Uint64()>>r.IntN(64)), causal.HLC(r.Uint64()>>r.IntN(64))
		a, b := appendHintKey(nil, node(1), sa, awkwardKey(r)), appendHintKey(nil, node(1), sb, awkwardKey(r))
		if sa != sb && (bytes.Compare(a, b) < 0) != (sa < sb) {
			t.Fatalf("%d and %d are out of order", sa, sb)
		}
		lower, upper := hintBounds(node(1))
		if bytes.Compare(a, lower) < 0 || bytes.Compare(a, upper) >= 0 {
			t.Fatalf("%x is out of its target's bounds", a)
		}
	}
	if _, upper := hintBounds(NodeID(bytes.Repeat([]byte{0xFF}, 16))); !bytes.Equal(upper, []byte{hintPrefix + 1}) {
		t.Fatalf("the last target's bound is %x", upper)
	}
}
