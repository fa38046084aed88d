package storage

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// compareKeys is what the encoding must preserve.
func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Token, b.Token),
		bytes.Compare(a.Partition, b.Partition), bytes.Compare(a.Sort, b.Sort))
}

// awkward draws strings from the bytes that the escape is about, short enough that many are beginnings of
// others.
func awkward(r *rand.Rand, least int) []byte {
	alphabet := []byte{0x00, 0x01, 0x02, 'a', 0xFE, 0xFF}
	b := make([]byte, least+r.IntN(5))
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return b
}

func awkwardKey(r *rand.Rand) Key {
	numbers := []uint64{0, 1, 255, 256, math.MaxUint64 - 1, math.MaxUint64}
	return Key{
		Bucket: numbers[r.IntN(len(numbers))], Token: numbers[r.IntN(len(numbers))],
		Partition: awkward(r, 1), Sort: awkward(r, 0),
	}
}

func TestKeyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		a, b := awkwardKey(r), awkwardKey(r)
		if r.IntN(2) == 0 {
			b.Bucket, b.Token = a.Bucket, a.Token
		}
		if r.IntN(4) == 0 {
			b.Partition = a.Partition
		}
		ea, eb := AppendKey(nil, a), AppendKey(nil, b)
		if got, want := bytes.Compare(ea, eb), compareKeys(a, b); got != want {
			t.Fatalf("%x and %x compare %d, the keys %+v and %+v %d", ea, eb, got, a, b, want)
		}
		back, err := DecodeKey(ea)
		if err != nil || compareKeys(back, a) != 0 {
			t.Fatalf("%+v came back as %+v, %v", a, back, err)
		}
	}
}

func TestQueryBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		k, partition := awkwardKey(r), awkward(r, 1)
		from, to := awkward(r, 0), awkward(r, 0)
		fromp, top := &from, &to
		if r.IntN(3) == 0 {
			fromp = nil
		}
		if r.IntN(3) == 0 {
			top = nil
		}
		start, end := QueryBounds(9, partition, fromp, top)
		if r.IntN(2) == 0 {
			k.Token, k.Partition = 9, partition
		}
		want := k.Token == 9 && bytes.Equal(k.Partition, partition) &&
			(fromp == nil || bytes.Compare(k.Sort, from) >= 0) && (top == nil || bytes.Compare(k.Sort, to) <= 0)
		e := AppendRangeKey(nil, k)
		if got := bytes.Compare(e, start) >= 0 && bytes.Compare(e, end) < 0; got != want {
			t.Fatalf("key %+v within %q [%q, %q]: %t", k, partition, from, to, got)
		}
	}
}

func TestPartitionBounds(t *testing.T) {
	for _, c := range []struct{ first, last, token uint64 }{
		{0, 0, 0}, {0, 0, 1}, {5, 9, 4}, {5, 9, 5}, {5, 9, 9}, {5, 9, 10},
		{1 << 63, math.MaxUint64, math.MaxUint64}, {1 << 63, math.MaxUint64, 1<<63 - 1},
	} {
		start, end := PartitionBounds(c.first, c.last)
		k := AppendRangeKey(nil, Key{Token: c.token, Partition: []byte{0xFF, 0xFF}})
		got := bytes.Compare(k, start) >= 0 && (end == nil || bytes.Compare(k, end) < 0)
		if want := c.token >= c.first && c.token <= c.last; got != want {
			t.Errorf("token %x in [%x, %x]: %t", c.token, c.first, c.last, got)
		}
	}
}

func TestKeyBounds(t *testing.T) {
	long := bytes.Repeat([]byte{0}, MaxPartitionKey)
	if err := (Key{Partition: long, Sort: long}).Check(); err != nil {
		t.Error(err)
	}
	if _, err := DecodeKey(AppendKey(nil, Key{Partition: long, Sort: long})); err != nil {
		t.Error(err)
	}
	var keyErr *KeyError
	for _, k := range []Key{{}, {Partition: append(long, 1)}, {Partition: long, Sort: append(long, 1)}} {
		if err := k.Check(); !errors.As(err, &keyErr) {
			t.Errorf("key of %d and %d bytes: %v", len(k.Partition), len(k.Sort), err)
		}
		if _, err := DecodeKey(AppendKey(nil, k)); err == nil {
			t.Errorf("key of %d and %d bytes was decoded", len(k.Partition), len(k.Sort))
		}
	}
}

func FuzzDecodeKey(f *testing.F) {
	f.Add(AppendKey(nil, key("partition", "sort")))
	f.Add(AppendKey(nil, Key{Partition: []byte{0, 0xFF, 0}, Sort: []byte{0}}))
	f.Add([]byte{itemPrefix})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := DecodeKey(b)
		if err != nil {
			return
		}
		if back := AppendKey(nil, k); !bytes.Equal(back, b) {
			t.Fatalf("%x decodes to %+v, which is %x", b, k, back)
		}
	})
}

func FuzzDecodeRangeKey(f *testing.F) {
	f.Add(AppendRangeKey(nil, key("partition", "")))
	f.Add(AppendRangeKey(nil, Key{Partition: []byte{0, 1}, Sort: []byte{0xFF, 0}}))
	f.Add(bytes.Repeat([]byte{0, 0xFF}, 70_000))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := DecodeRangeKey(3, b)
		if err != nil {
			return
		}
		if back := AppendRangeKey(nil, k); !bytes.Equal(back, b) || k.Bucket != 3 {
			t.Fatalf("%x decodes to %+v, which is %x", b, k, back)
		}
	})
}

func BenchmarkAppendKey(b *testing.B) {
	k := key("some partition key", "some sort key")
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendKey(buf[:0], k)
	}
}
