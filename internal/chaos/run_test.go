//go:build unix

package chaos

import (
	"bytes"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/check"
	"github.com/starling-db/starling/internal/history"
)

// TestProcesses breaks real processes for a short while, holds what they did to what was promised, and then shows that
// the same history without one of its writes hardly ever passes.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	cluster, err := StartProcesses(t.Context(), t.TempDir(), 5)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	run, broken, err := Run(t.Context(), cluster, Options{
		Seed: 1, Duration: 15 * time.Second, Sessions: 2 * len(profiles), Think: DefaultThink,
		MinGap: 2 * time.Second, MaxGap: 4 * time.Second, Out: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range broken {
		t.Error(v)
	}
	for i := range cluster.Size() {
		if cluster.Running(i) {
			t.Errorf("%s runs after the end", nodeName(i))
		}
	}
	for _, f := range run.Finals {
		if owners := slices.DeleteFunc(slices.Clone(f.Copies), func(c history.Copy) bool { return !c.Owner }); len(owners) != replicas {
			t.Errorf("%v: %d copies of owners were looked at, want %d", f.Key, len(owners), replicas)
		}
	}
	file := filepath.Join(t.TempDir(), "history.gz")
	if err := WriteFile(file, run); err != nil {
		t.Fatal(err)
	}
	again, err := ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Ops) != len(run.Ops) || len(again.Finals) != len(run.Finals) {
		t.Errorf("%d operations and %d items were kept of %d and %d", len(again.Ops), len(again.Finals), len(run.Ops), len(run.Finals))
	}
	tried, noticed := 0, 0
	for restore := range losses(again) {
		if passed, err := Verdict(io.Discard, check.All(again)); err != nil {
			t.Fatal(err)
		} else if !passed {
			noticed++
		}
		restore()
		if tried++; tried == 10 {
			break
		}
	}
	if tried < 10 || noticed < tried {
		t.Errorf("the loss of an acknowledged write was noticed %d times of %d", noticed, tried)
	}
}

// losses takes one acknowledged write after the other from what was there at the end, and yields how to put it back. It
// leaves out items of which an acknowledged write may have gone without a fault of the cluster's: by last-write-wins, or by
// a write of which nobody knows whether it was done, or what it covered.
func losses(run *history.Run) iter.Seq[func()] {
	vague := make(map[history.Key]bool)
	for _, op := range run.Ops {
		if op.CoversAll || op.Kind != history.Read && op.Outcome == history.Unknown {
			vague[op.Key] = true
		}
	}
	return func(yield func(func()) bool) {
		for i := range run.Finals {
			f := &run.Finals[i]
			if f.Key.Bucket != siblingsBucket || vague[f.Key] {
				continue
			}
			for k, v := range f.Read {
				acknowledged := slices.ContainsFunc(run.Ops, func(op history.Op) bool {
					return op.Write == v.Write && op.Outcome == history.Done
				})
				if !acknowledged || v.Tombstone {
					continue
				}
				whole := f.Read
				f.Read = slices.Delete(slices.Clone(whole), k, k+1)
				if !yield(func() { f.Read = whole }) {
					return
				}
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		broken int
		passed bool
		lines  int
		want   string
	}{
		{"nothing broken", 0, true, 1, "PASS"},
		{"one", 1, false, 2, "FAIL: 1 violation"},
		{"many", shown + 3, false, shown + 2, "and 3 more"},
	} {
		var out bytes.Buffer
		passed, err := Verdict(&out, make([]history.Violation, c.broken))
		if err != nil || passed != c.passed {
			t.Errorf("%s: %t, %v", c.name, passed, err)
		}
		if lines := strings.Count(out.String(), "\n"); lines != c.lines || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %d lines:\n%s", c.name, lines, &out)
		}
	}
}

func TestReport(t *testing.T) {
	second := time.Second
	ops := []history.Op{
		{Kind: history.Put, Start: 1 * second, End: 2 * second, Outcome: history.Done},
		{Kind: history.Put, Start: 3 * second, End: 6 * second, Outcome: history.Unknown},
		{Kind: history.Read, Start: 5 * second, End: 5 * second, Outcome: history.Refused},
		{Kind: history.Put, Start: 9 * second, End: 10 * second, Outcome: history.Done},
	}
	faults := []Injected{
		{Event: Event{Kind: Kill, Nodes: []int{0}}, Began: 4 * second, Healed: 5 * second, Ready: 7 * second},
		{Event: Event{Kind: Pause, Nodes: []int{1}}, Began: 8 * second, Healed: 9 * second},
	}
	markFaulted(ops, faults)
	for i, want := range []bool{false, true, true, true} {
		if ops[i].Faulted != want {
			t.Errorf("operation %d is under a fault: %t", i, ops[i].Faulted)
		}
	}
	want := []touch{{overlapped: 2, refused: 1, unknown: 1, slow: 1, slowest: 3 * second}, {overlapped: 1, slowest: second}}
	if got := touched(ops, faults); !slices.Equal(got, want) {
		t.Errorf("touched %+v, want %+v", got, want)
	}
	var out bytes.Buffer
	if err := writeReport(&out, ops, faults); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"kill -9 n1", "SIGSTOP n2"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the report lacks %q:\n%s", line, &out)
		}
	}
}

func TestReadFileThatIsNone(t *testing.T) {
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("read a file that is not there")
	}
	path := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil {
		t.Error("read garbage")
	}
}
