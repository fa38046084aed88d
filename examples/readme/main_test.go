package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starling-db/starling/client/clienttest"
)

// The program does what the README says, on a real cluster: its text with the address of that cluster is built and run.
func TestProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and starts a cluster")
	}
	const written = "127.0.0.1:7400"
	text, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), written) != 1 {
		t.Fatalf("want %s once in:\n%s", written, text)
	}
	cluster := clienttest.Start(t, clienttest.Options{})
	out, err := exec.Command(build(t, strings.Replace(string(text), written, cluster.Addrs()[0], 1))).CombinedOutput()
	if want := "2 siblings became one value: 2 apples, 3 pears\n"; err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

// build builds the program with another text, and returns the path of the binary.
func build(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	original, err := filepath.Abs("main.go")
	if err != nil {
		t.Fatal(err)
	}
	replacement, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: replacement}})
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{replacement: []byte(text), overlay: list} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "readme")
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as other tests build, which shares their work
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}
