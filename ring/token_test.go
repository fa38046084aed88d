package ring

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/spaolacci/murmur3"
)

// TestTokenOfIsFixed: these are on disk. A change here needs a new storage format.
func TestTokenOfIsFixed(t *testing.T) {
	for _, c := range []struct {
		bucket uint64
		key    string
		want   string
	}{
		{0, "", "28df63b7cc57c3cb"},
		{1, "", "5752fae69d1653da"},
		{1, "a", "2310534d717f2455"},
		{0x0123456789abcdef, "Greek and Coptic", "66f3978256e52988"},
	} {
		if got := TokenOf(c.bucket, []byte(c.key)).String(); got != c.want {
			t.Errorf("TokenOf(%#x, %q) = %s, want %s", c.bucket, c.key, got, c.want)
		}
	}
}

// TestTokenOfAgainstLibrary compares with another implementation of the hash, at every length up to
// some blocks.
func TestTokenOfAgainstLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(71, 1))
	key := make([]byte, 1<<16)
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	for size := range 100 {
		checkToken(t, r.Uint64(), key[:size])
	}
	checkToken(t, 1, key)
}

func checkToken(t *testing.T, bucket uint64, key []byte) {
	t.Helper()
	want, _ := murmur3.Sum128(append(binary.BigEndian.AppendUint64(nil, bucket), key...))
	if got := TokenOf(bucket, key); got != Token(want) {
		t.Errorf("bucket %d, a key of %d bytes: got %v, want %v", bucket, len(key), got, Token(want))
	}
}

func FuzzTokenOf(f *testing.F) {
	f.Add(uint64(0), []byte(nil))
	f.Add(uint64(1), []byte("Greek and Coptic"))
	f.Fuzz(checkToken)
}

func TestTokenOfAllocatesNothing(t *testing.T) {
	key := make([]byte, 1<<10)
	if n := testing.AllocsPerRun(100, func() { TokenOf(42, key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
