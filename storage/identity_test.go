package storage

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func sampleIdentity() identityRecord {
	return identityRecord{Identity: Identity{
		Format: Format, NodeID: node(9), Name: "node \"1\"\n", ClusterID: node(8), Cluster: "ästhetik",
	}, Ready: true}
}

func TestIdentityRoundTrip(t *testing.T) {
	for _, want := range []identityRecord{sampleIdentity(), {Identity: Identity{Format: 1}}} {
		got, err := decodeIdentity("file", want.encode())
		if err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestIdentityDamage(t *testing.T) {
	good := sampleIdentity().encode()
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := decodeIdentity("file", bad); err == nil {
			t.Fatalf("bit %d flipped and not noticed:\n%s", i, bad)
		}
	}
	for i := range good {
		if _, err := decodeIdentity("file", good[:i]); err == nil {
			t.Fatalf("cut to %d bytes and not noticed", i)
		}
	}
}

// A newer format is refused as such, whatever the rest of the file is like.
func TestIdentityNewerFormat(t *testing.T) {
	b := []byte(identityTitle + "format: 2\nsomething: else\n")
	_, err := decodeIdentity("file", b)
	var format *FormatError
	if !errors.As(err, &format) || format.Found != 2 || format.Known != Format {
		t.Fatalf("got %v", err)
	}
}

func FuzzDecodeIdentity(f *testing.F) {
	f.Add(sampleIdentity().encode())
	f.Add([]byte(identityTitle + "format: 99999999999999999999\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeIdentity("file", b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Fatalf("%q is not the encoding of what it decodes to", b)
		}
	})
}

// edit changes the identity file of a closed store.
func edit(t *testing.T, fs vfs.FS, change func(string) string) {
	t.Helper()
	const path = "/data/node/" + identityFile
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	g, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Write([]byte(change(string(b))))
	if err = errors.Join(err, g.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesNewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	mustClose(t, open(t, fs))
	edit(t, fs, func(s string) string { return strings.Replace(s, "format: 1", "format: 2", 1) })
	_, err := tryOpen(fs)
	var format *FormatError
	if !errors.As(err, &format) {
		t.Fatalf("got %v", err)
	}
}

func TestOpenRefusesWhatDoesNotBelongTogether(t *testing.T) {
	other := vfs.NewMem()
	mustClose(t, open(t, other))
	for name, damage := range map[string]func(t *testing.T, fs vfs.FS){
		"edited":           func(t *testing.T, fs vfs.FS) { edit(t, fs, func(s string) string { return s + "\n" }) },
		"identity missing": func(t *testing.T, fs vfs.FS) { must(t, fs.Remove("/data/node/"+identityFile)) },
		"database missing": func(t *testing.T, fs vfs.FS) { must(t, fs.RemoveAll("/data/node/"+databaseIn)) },
		"another's database": func(t *testing.T, fs vfs.FS) {
			must(t, fs.RemoveAll("/data/node/"+databaseIn))
			if _, err := vfs.Clone(other, fs, "/data/node/"+databaseIn, "/data/node/"+databaseIn); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			mustClose(t, open(t, fs))
			damage(t, fs)
			s, err := tryOpen(fs)
			if err == nil {
				mustClose(t, s)
				t.Fatal("opened")
			}
			t.Log(err)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
