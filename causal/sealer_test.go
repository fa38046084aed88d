package causal

import (
	"bytes"
	"errors"
	"testing"
)

var (
	testSealer = NewSealer([16]byte{1, 2, 3})
	testItem   = ItemKey{Bucket: 7, Partition: []byte("ab"), Sort: []byte("c")}
	testPast   = NewPast([]Dot{{1, 10}, {2, 20}}, []RequestID{rid(1)})
)

func TestSealerRoundTrip(t *testing.T) {
	token := testSealer.Seal(testItem, testPast)
	p, err := testSealer.Open(testItem, token)
	if err != nil || !p.Equal(testPast) {
		t.Fatal(p, err)
	}
	if token := testSealer.Seal(testItem, Past{}); len(token) != 0 {
		t.Fatal("nothing seen is the empty token")
	}
	if p, err := testSealer.Open(testItem, nil); err != nil || !p.IsZero() {
		t.Fatal(p, err)
	}
}

func TestSealerBindsTokensToItemAndCluster(t *testing.T) {
	token := testSealer.Seal(testItem, testPast)
	for name, item := range map[string]ItemKey{
		"bucket":          {Bucket: 8, Partition: []byte("ab"), Sort: []byte("c")},
		"partition key":   {Bucket: 7, Partition: []byte("ax"), Sort: []byte("c")},
		"sort key":        {Bucket: 7, Partition: []byte("ab")},
		"moved key bytes": {Bucket: 7, Partition: []byte("a"), Sort: []byte("bc")},
	} {
		if _, err := testSealer.Open(item, token); !errors.Is(err, ErrContext) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := NewSealer([16]byte{9}).Open(testItem, token); !errors.Is(err, ErrContext) {
		t.Errorf("another cluster: %v", err)
	}
}

func TestSealerRefusesDamage(t *testing.T) {
	token := testSealer.Seal(testItem, testPast)
	for i := range token {
		for bit := range 8 {
			bad := bytes.Clone(token)
			bad[i] ^= 1 << bit
			if _, err := testSealer.Open(testItem, bad); !errors.Is(err, ErrContext) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		if _, err := testSealer.Open(testItem, token[:i]); i > 0 && !errors.Is(err, ErrContext) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := testSealer.Open(testItem, make([]byte, MaxContextSize+1)); !errors.Is(err, ErrContext) {
		t.Fatal(err)
	}
	// Well sealed, by somebody who knows the cluster id, and wrong all the same.
	for name, body := range map[string][]byte{
		"no past":           {formatContext},
		"the zero past":     {formatContext, 0, 0},
		"bytes left over":   append(AppendPast([]byte{formatContext}, testPast), 0),
		"a claim of plenty": {formatContext, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		tag := testSealer.tag(testItem, body)
		_, err := testSealer.Open(testItem, append(body, tag[:]...))
		var ce *ContextError
		if !errors.As(err, &ce) || !errors.Is(err, ErrContext) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzSealerOpen(f *testing.F) {
	f.Add(testSealer.Seal(testItem, testPast))
	f.Add([]byte{})
	f.Add([]byte{formatContext})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		// As it came, and as the body of a token with a true tag, to get behind the seal.
		if p, err := testSealer.Open(testItem, b); err == nil && !bytes.Equal(testSealer.Seal(testItem, p), b) {
			t.Fatalf("%x opens and seals differently", b)
		} else if err != nil && !errors.Is(err, ErrContext) {
			t.Fatal(err)
		}
		body := append([]byte{formatContext}, b...)
		tag := testSealer.tag(testItem, body)
		token := append(body, tag[:]...)
		p, err := testSealer.Open(testItem, token)
		if err == nil && !bytes.Equal(testSealer.Seal(testItem, p), token) {
			t.Fatalf("%x opens and seals differently", token)
		} else if err != nil && !errors.Is(err, ErrContext) {
			t.Fatal(err)
		}
	})
}
