package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

// FuzzLines holds the reader against bytes.Split.
func FuzzLines(f *testing.F) {
	f.Add([]byte(""), 10)
	f.Add([]byte("a\nb\r\n\n\xff\x00"), 10)
	f.Add([]byte("long line\nshort\n"), 5)
	f.Add([]byte("\n"), 0)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		if limit < 0 || limit > len(in)+1 {
			return
		}
		want := bytes.Split(in, []byte("\n"))
		if len(want[len(want)-1]) == 0 {
			want = want[:len(want)-1]
		}
		l := newLines(bytes.NewReader(in), 0, 0)
		l.limit = limit
		for i, line := range want {
			got, err := l.next()
			if len(line) > limit {
				if !errors.Is(err, errLineTooLong) {
					t.Fatalf("line %d of %d bytes: %v", i+1, len(line), err)
				}
				continue
			}
			if err != nil || !bytes.Equal(got, line) || l.number != i+1 {
				t.Fatalf("line %d: %q, %v, want %q", l.number, got, err, line)
			}
		}
		if _, err := l.next(); !errors.Is(err, io.EOF) || l.offset != int64(len(in)) {
			t.Fatalf("at the end: %v, offset %d of %d", err, l.offset, len(in))
		}
	})
}

// Lines that are longer than the reader's buffer are put together.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	l := newLines(strings.NewReader(long+"\nshort"), 7, 100)
	if got, err := l.next(); err != nil || string(got) != long || l.number != 8 || l.offset != int64(101+len(long)) {
		t.Fatalf("%d bytes, %v, line %d, offset %d", len(got), err, l.number, l.offset)
	}
	if got, err := l.next(); err != nil || string(got) != "short" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestLineKey(t *testing.T) {
	f := keyFields{Partition: "p", Sort: "s"}
	tests := []struct{ line, partition, sort, err string }{
		{`{"p": "a", "s": "b", "x": [1]}`, "a", "b", ""},
		{`{"p": 1.50, "s": false}`, "1.50", "false", ""},
		{`{"p": "\u00e9\n", "s": ""}`, "é\n", "", ""},
		{`{"p": "\ufffd", "s": "�"}`, "�", "�", ""},
		{`{"p": "\ud83d\ude00", "s": "a"}`, "😀", "a", ""},
		{`{"p": "\ud83d", "s": "a"}`, "", "", "not valid Unicode"},
		{"{\"p\": \"\xff\", \"s\": \"a\"}", "", "", "not valid Unicode"},
		{`{"p": "a"}`, "", "", `no field "s"`},
		{`{"p": "a", "s": null}`, "", "", "null"},
		{`{"p": "", "s": "a"}`, "", "", "empty"},
		{`["p"]`, "", "", "no JSON object"},
		{`{"p": "a", "s": "b"} x`, "", "", "no JSON object"},
		{``, "", "", "no JSON object"},
	}
	for _, test := range tests {
		key, err := f.key([]byte(test.line))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", test.line, err, test.err)
			}
			continue
		}
		if err != nil || string(key.Partition) != test.partition || string(key.Sort) != test.sort {
			t.Errorf("%s: %s, %v", test.line, key, err)
		}
	}
}

func FuzzLineKey(f *testing.F) {
	f.Add([]byte(`{"p": "a", "s": 1}`))
	f.Add([]byte(`{"p": "\ud800\ufffd", "s": {}}`))
	f.Add([]byte("\xff{"))
	f.Fuzz(func(t *testing.T, line []byte) {
		key, err := keyFields{Partition: "p", Sort: "s"}.key(line)
		if err == nil && len(key.Partition) == 0 {
			t.Fatal("an empty partition key")
		}
	})
}

// The tracker's mark is the longest run of settled lines, whatever the order; a held line ends it.
func TestTracker(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		const first, n = 10, 30
		tr := newTracker(first, 100)
		state := make([]byte, n) // 0 open, 1 settled, 2 held
		for _, i := range rnd.Perm(n)[:rnd.IntN(n+1)] {
			line := first + 1 + i
			if rnd.IntN(15) == 0 {
				state[i] = 2
				tr.hold(line)
			} else {
				state[i] = 1
				tr.settle(line, int64(line*10))
			}
			want := first
			for want-first < n && state[want-first] == 1 {
				want++
			}
			if line, offset := tr.position(); line != want || offset != int64(want*10) {
				t.Fatalf("line %d, offset %d, want %d: %v", line, offset, want, state)
			}
		}
	}
}

func TestShellWords(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to ask")
	}
	for _, word := range []string{"plain-1.2_x:/@%+=,", "", "two words", "it's", "$HOME `id` \"x\" \\", "é☃", "tab\tnl\n'q'\\", "\xff\x01z", "-", "*?[a]{b,c}~#!"} {
		out, err := exec.Command(bash, "-c", "printf %s "+shellWord([]byte(word))).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q becomes %s, which is %q to a shell (%v)", word, shellWord([]byte(word)), out, err)
		}
	}
}

func TestTextForPeople(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 29: "1.5 GiB", 1<<64 - 1: "16.0 EiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "", 1500 * time.Microsecond: "2ms", 61499 * time.Millisecond: "1m1s", 2340 * time.Millisecond: "2.3s"} {
		if got := ageText(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
	for in, want := range map[string]string{"plain ☃\tx": "plain ☃\tx", "\x1b[31m": `"\x1b[31m"`, "\xff": `"\xff"`, "a\nb": `"a\nb"`} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCannotConnect(t *testing.T) {
	r := cli{}.run(t, "get", "k", "--addr", "127.0.0.1:1", "--timeout", "2s")
	if r.code != exitConnect || !strings.Contains(r.errors, "starling dev") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	if r := (cli{}).run(t, "version"); r.code != exitDone || !strings.HasPrefix(r.out, "starling ") {
		t.Fatalf("%+v", r)
	}
	if r := (cli{}).run(t); r.code != exitDone || !strings.Contains(r.out, "Available Commands") {
		t.Fatalf("%+v", r)
	}
}

func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		client.ErrConnect: exitConnect, client.ErrPermission: exitPermission, client.ErrNotFound: exitNotFound,
		client.ErrQuorum: exitQuorum, client.ErrOutcomeUnknown: exitUnknown, client.ErrTooOld: exitPrecondition,
		errors.Join(client.ErrQuorum, client.ErrOutcomeUnknown): exitUnknown,
		misused("x"): exitMisused, io.EOF: exitFailed, &silentError{code: 5}: exitNotFound,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
