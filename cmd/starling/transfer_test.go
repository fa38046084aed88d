package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/starling-db/starling/internal/kvfake"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

const sample = "testdata/unicode.jsonl"

// importSample imports the sample, with the state file out of the way.
func importSample(t *testing.T, c cli, more ...string) ran {
	t.Helper()
	args := []string{"import", "unicode", sample, "--partition-key", "block", "--sort-key", "code",
		"--state", filepath.Join(t.TempDir(), "state")}
	return c.run(t, append(args, more...)...)
}

func sampleLines(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func TestImportAndExport(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 5)}
	r := importSample(t, c)
	if r.code != exitDone || !strings.Contains(r.errors, "Made bucket unicode (N=3, siblings).") ||
		!strings.Contains(r.errors, "Imported 193 rows") || !strings.Contains(r.errors, "0 failed") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	// Byte for byte, in another order.
	want := sampleLines(t)
	got := strings.Split(strings.TrimSuffix(c.must(t, "export", "unicode"), "\n"), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%d lines come back, of %d", len(got), len(want))
	}
	// In order, within bounds.
	out := c.must(t, "query", "unicode", "Greek and Coptic", "--from", "U+0391", "--to", "U+03A9", "-o", "raw")
	var letters []string
	for line := range strings.Lines(out) {
		var row struct{ Char string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		letters = append(letters, row.Char)
	}
	if got := strings.Join(letters, ""); got != "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ" {
		t.Fatal(got)
	}
}

// versions counts the versions of all items of a bucket by their number.
func versions(t *testing.T, c cli, bucket string) map[int]int {
	t.Helper()
	counts := make(map[int]int)
	for line := range strings.Lines(c.must(t, "scan", bucket, "-o", "json")) {
		var item struct{ Versions []struct{} }
		if err := json.Unmarshal([]byte(line), &item); err != nil {
			t.Fatal(err)
		}
		counts[len(item.Versions)]++
	}
	return counts
}

func TestImportTwiceLeavesOneVersion(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	importSample(t, c)
	r := importSample(t, c, "-o", "json", "--batch", "7")
	if r.code != exitDone {
		t.Fatal(r.errors)
	}
	var report importReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatal(err)
	}
	if report.Rows != 193 || report.Replaced != 193 || report.Failed != 0 || !report.Complete {
		t.Fatalf("%+v", report)
	}
	if got := versions(t, c, "unicode"); got[1] != 193 || len(got) != 1 {
		t.Fatalf("items by their number of versions: %v", got)
	}
	importSample(t, c, "--keep-siblings")
	if got := versions(t, c, "unicode"); got[2] != 193 || len(got) != 1 {
		t.Fatalf("with --keep-siblings: %v", got)
	}
}

func TestImportKeepsTheLastOfEqualKeys(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	var in strings.Builder
	for i := range 500 {
		fmt.Fprintf(&in, "{\"k\": %d, \"n\": %d}\n", i%3, i)
	}
	c.stdin = in.String()
	c.must(t, "import", "same", "-", "--partition-key", "k")
	for k := range 3 {
		want := fmt.Sprintf("{\"k\": %d, \"n\": %d}\n", k, 497+(k+1)%3)
		if got := c.must(t, "get", "-b", "same", fmt.Sprint(k)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestImportReportsLines(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	path := filepath.Join(t.TempDir(), "in.jsonl")
	input := "{\"k\": \"a\"}\nnonsense\n\n{\"j\": 1}\n{\"k\": {}}\n{\"k\": \"\"}\n{\"k\": \"\\ud800\"}\n{\"k\": true}"
	if err := os.WriteFile(path, []byte(input), 0o600); err != nil {
		t.Fatal(err)
	}
	r := c.run(t, "import", "b", path, "--partition-key", "k")
	if r.code != exitFailed {
		t.Fatalf("exit %d", r.code)
	}
	for _, want := range []string{
		"line 2: no JSON object", `line 4: no field "k"`, `line 5: field "k" is an object`,
		`line 6: field "k" is empty`, `line 7: field "k": not valid Unicode`, "Imported 2 rows", "5 failed",
	} {
		if !strings.Contains(r.errors, want) {
			t.Errorf("no %q in:\n%s", want, r.errors)
		}
	}
	if got := c.must(t, "export", "b"); !strings.Contains(got, "{\"k\": true}\n") {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat(path + importStateSuffix); !os.IsNotExist(err) {
		t.Errorf("no line is left that another run could store, but there is a state file: %v", err)
	}
	if r := c.run(t, "import", "other", path, "--partition-key", "k", "--no-create"); r.code != exitNotFound {
		t.Errorf("exit %d: %s", r.code, r.errors)
	}
	if r := c.run(t, "import", "b", path+".absent", "--partition-key", "k"); r.code != exitFailed {
		t.Errorf("exit %d: %s", r.code, r.errors)
	}
}

// puts counts the items that the cluster was sent.
func puts(c *kvfake.Cluster) int {
	n := 0
	for _, node := range c.Nodes {
		n += node.Calls("Put")
	}
	return n
}

func TestImportResumes(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	path := filepath.Join(t.TempDir(), "in.jsonl")
	lines := sampleLines(t)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"import", "unicode", path, "--partition-key", "block", "--sort-key", "code",
		"--batch", "5", "--workers", "1"}

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stored atomic.Int32
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "Put" && stored.Add(1) == 100 {
			interrupt()
		}
		return nil
	})
	r := cli{cluster: cluster, ctx: ctx}.run(t, args...)
	cluster.Intercept(nil)
	if r.code != exitFailed || !strings.Contains(r.errors, "interrupted") || !strings.Contains(r.errors, "goes on behind line") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	var state importState
	if found, err := (stateFile{path: path + importStateSuffix}).load(&state); err != nil || !found || state.Line < 50 {
		t.Fatalf("%v, %v, %+v", found, err, state)
	}
	if want := int64(len(strings.Join(lines[:state.Line], "\n")) + 1); state.Offset != want {
		t.Fatalf("line %d ends at %d, want %d", state.Line, state.Offset, want)
	}

	before := puts(cluster)
	c := cli{cluster: cluster}
	r = c.run(t, args...)
	if r.code != exitDone || !strings.Contains(r.errors, fmt.Sprintf("Going on behind line %d", state.Line)) {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	// Lines behind the mark may have been stored already: they are sent twice more, to replace.
	if sent, left := puts(cluster)-before, len(lines)-state.Line; sent < left || sent > left+2*(100-state.Line)+20 {
		t.Errorf("%d items sent for %d lines that were left", sent, left)
	}
	if got := versions(t, c, "unicode"); got[1] != len(lines) || len(got) != 1 {
		t.Fatalf("items by their number of versions: %v", got)
	}
	if _, err := os.Stat(path + importStateSuffix); !os.IsNotExist(err) {
		t.Errorf("the state file stays: %v", err)
	}
}

func TestImportStopsWithoutAQuorumAndResumes(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := cli{cluster: cluster}
	path := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(sampleLines(t), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"import", "unicode", path, "--partition-key", "block", "--sort-key", "code", "--batch", "5", "--patience", "0s"}
	var n atomic.Int32
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "Put" && n.Add(1) > 60 {
			return kvfake.Fault(codes.Unavailable, pb.Reason_REASON_QUORUM_UNAVAILABLE, "too few", 2, 0, 1)
		}
		return nil
	})
	r := c.run(t, args...)
	if r.code != exitQuorum || !strings.Contains(r.errors, "import stopped") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	cluster.Intercept(nil)
	c.must(t, args...)
	if got := versions(t, c, "unicode"); got[1] != 193 {
		t.Fatalf("%v", got)
	}
}

// A quorum that is gone for a moment is waited for.
func TestImportInsists(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := cli{cluster: cluster}
	var n atomic.Int32
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "Put" && n.Add(1) <= 300 {
			return kvfake.Fault(codes.Unavailable, pb.Reason_REASON_QUORUM_UNAVAILABLE, "too few", 2, 0, 1)
		}
		return nil
	})
	if r := importSample(t, c); r.code != exitDone || !strings.Contains(r.errors, "0 failed") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	if got := versions(t, c, "unicode"); got[1] != 193 || len(got) != 1 {
		t.Fatalf("%v", got)
	}
}

func TestImportStateOfAnotherInput(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	state := stateFile{path: filepath.Join(t.TempDir(), "state")}
	if err := state.save(importState{Bucket: "unicode", Size: 3, Line: 100, Offset: 1000}); err != nil {
		t.Fatal(err)
	}
	args := []string{"import", "unicode", sample, "--partition-key", "block", "--sort-key", "code", "--state", state.path}
	r := c.run(t, args...)
	if r.code != exitDone || !strings.Contains(r.errors, "is of another import") || !strings.Contains(r.errors, "Imported 193 rows") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	if err := os.WriteFile(state.path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := c.run(t, args...); r.code != exitFailed || !strings.Contains(r.errors, "remove it to start over") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
}

func TestTransfersOnATerminal(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3), terminal: true}
	if r := importSample(t, c, "--batch", "5"); r.code != exitDone || !strings.Contains(r.errors, "rows") {
		t.Fatalf("exit %d: %q", r.code, r.errors)
	}
	if r := c.run(t, "export", "unicode", "--file", filepath.Join(t.TempDir(), "out")); r.code != exitDone {
		t.Fatalf("exit %d: %q", r.code, r.errors)
	}
	if out := c.must(t, "status"); !strings.Contains(out, "\x1b[32malive") {
		t.Fatalf("%q", out)
	}
}

func TestExportResumes(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := cli{cluster: cluster}
	importSample(t, c)
	whole := c.must(t, "export", "unicode")
	path := filepath.Join(t.TempDir(), "out.jsonl")
	args := []string{"export", "unicode", "--file", path}

	var pages atomic.Int32
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "ScanPage" && pages.Add(1) > 1 {
			return kvfake.Fault(codes.Internal, pb.Reason_REASON_INTERNAL, "a disk failed")
		}
		return nil
	})
	if r := c.run(t, args...); r.code != exitFailed || !strings.Contains(r.errors, "--resume") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	// What is behind the mark, a torn page, is not trusted.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("torn"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cluster.Intercept(nil)
	if r := c.run(t, args...); r.code != exitFailed || !strings.Contains(r.errors, "--force") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	if r := c.run(t, append(args, "--resume", "-o", "json")...); r.code != exitFailed || !strings.Contains(r.errors, "another export") {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	c.must(t, append(args, "--resume")...)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte(whole)) {
		t.Fatalf("%d bytes, want %d", len(got), len(whole))
	}
	if _, err := os.Stat(path + exportStateSuffix); !os.IsNotExist(err) {
		t.Errorf("the state file stays: %v", err)
	}
	// Nothing to resume: an export from the start, which replaces nothing.
	if r := c.run(t, append(args, "--resume")...); r.code != exitFailed {
		t.Fatalf("exit %d", r.code)
	}
	c.must(t, append(args, "--force")...)
}

// An export that fails before its first page leaves nothing that stands in the way of the next.
func TestExportOfNothing(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 3)}
	path := filepath.Join(t.TempDir(), "out")
	if r := c.run(t, "export", "absent", "--file", path); r.code != exitNotFound {
		t.Fatalf("exit %d: %s", r.code, r.errors)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
