//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/proctest"
	"github.com/starling-db/starling/internal/spawn"
)

// guided is a tour in a process of its own, as a user runs it.
type guided struct {
	*spawn.Process
	t testing.TB
	// temp is where it makes its temporary directory.
	temp string
}

// tourBinary builds the binary, for a test that starts a tour with it.
func tourBinary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts five processes")
	}
	binary, err := proctest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func startTour(t testing.TB, args ...string) *guided {
	t.Helper()
	binary := tourBinary(t)
	g := &guided{t: t, temp: t.TempDir()}
	g.Process = &spawn.Process{
		Name: "tour", Binary: binary, Args: append([]string{"tour"}, args...),
		Env: append(spawn.ServerEnviron(), "TMPDIR="+g.temp), LogFile: filepath.Join(t.TempDir(), "log"),
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Kill()
		if t.Failed() {
			t.Logf("the tour said:\n%s", g.Log())
		}
	})
	return g
}

// said waits until the tour has said something, and returns what a regular expression finds in it.
func (g *guided) said(pattern string) []string {
	g.t.Helper()
	expression := regexp.MustCompile(pattern)
	for start := time.Now(); time.Since(start) < proctest.Patience; time.Sleep(10 * time.Millisecond) {
		ended := !g.Running()
		if found := expression.FindStringSubmatch(g.Log()); found != nil {
			return found
		}
		if ended {
			break
		}
	}
	g.t.Fatalf("the tour did not say %q", pattern)
	return nil
}

// ended waits for the end of the tour, and checks its exit code.
func (g *guided) ended(want int) {
	g.t.Helper()
	if code, err := g.Wait(2 * proctest.Patience); err != nil || code != want {
		g.t.Fatalf("exit code %d, %v; want %d", code, err, want)
	}
}

var nodeRow = regexp.MustCompile(`(?m)^(n\d) +(\d+)  127\.0\.0\.1:\d+ +http:`)

// processes are the ids of the servers by name, as the tour has printed them.
func (g *guided) processes() map[string]int {
	g.t.Helper()
	ids := map[string]int{}
	for _, row := range nodeRow.FindAllStringSubmatch(g.Log(), -1) {
		pid, err := strconv.Atoi(row[2])
		if err != nil {
			g.t.Fatal(err)
		}
		ids[row[1]] = pid
	}
	if len(ids) != tourNodes {
		g.t.Fatalf("found %d processes", len(ids))
	}
	return ids
}

// running says whether a process runs: one that has ended and was not asked for its exit code does not.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

// nothingLeft fails the test if a server still runs after a while, or a directory has anything in it.
func (g *guided) nothingLeft(ids map[string]int, dirs ...string) {
	g.t.Helper()
	for name, pid := range ids {
		for start := time.Now(); running(pid); time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > proctest.Patience {
				g.t.Errorf("server %s, process %d, still runs", name, pid)
				break
			}
		}
	}
	for _, dir := range dirs {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			g.t.Errorf("left in %s: %v, %v", dir, entries, err)
		}
	}
}

// TestTour takes the whole tour: all of its claims hold, and nothing of it stays.
func TestTour(t *testing.T) {
	g := startTour(t)
	g.ended(exitDone)
	if n := strings.Count(g.Log(), "\nholds: "); n != 8 {
		t.Errorf("%d claims", n)
	}
	if strings.Contains(g.Log(), "\x1b") {
		t.Error("colours, where there is no terminal")
	}
	g.said(`All 8 steps held`)
	g.nothingLeft(g.processes(), g.temp)
}

// The tour believes nothing: somebody who writes the same item makes a claim untrue, and it says which.
func TestTourThatDoesNotHold(t *testing.T) {
	g := startTour(t, "--pause", "1s")
	addr := g.said(`\$ starling put greeting hello .*--addr (\S+)`)[1]
	ctx, cancel := context.WithTimeout(t.Context(), proctest.Patience)
	defer cancel()
	g.said(`(?m)^3\. `)
	c, err := client.Open(ctx, []string{addr})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Put(ctx, defaultBucket, client.NewKey(tourKey, ""), []byte("a stranger's"))
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	g.ended(exitProblem)
	g.said(`(?m)^starling: tour: step \d \(.*\) did not hold: the item h.*`)
	g.nothingLeft(g.processes(), g.temp)
}

// A server that dies without being asked to ends the tour at once.
func TestTourThatLosesAServer(t *testing.T) {
	dir := t.TempDir()
	g := startTour(t, "--pause", "10m", "--keep", "--dir", dir)
	g.said(`(?m)^holds: `)
	ids := g.processes()
	if err := syscall.Kill(ids["n4"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.ended(exitProblem)
	g.said(`(?m)^starling: tour: step \d \(.*\) did not hold: server n4 has ended by itself`)
	g.nothingLeft(ids, g.temp)
	for name := range ids {
		for _, path := range []string{name, name + ".log"} {
			if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
				t.Errorf("--keep: %v", err)
			}
		}
	}
}

// Whoever has seen enough leaves no process and no directory behind. The directory that was there stays, empty.
func TestTourInterrupted(t *testing.T) {
	dir := t.TempDir()
	g := startTour(t, "--pause", "10m", "--dir", dir)
	g.said(`Any node takes any request`)
	ids := g.processes()
	if err := g.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	g.ended(exitFailed)
	g.said(`(?m)^starling: tour interrupted in step \d`)
	g.nothingLeft(ids, g.temp, dir)
}

// A reader who leaves the pager has seen enough.
func TestTourInAPipe(t *testing.T) {
	g := &guided{t: t, temp: t.TempDir()}
	cmd := exec.Command(tourBinary(t), "tour")
	cmd.Env = append(spawn.ServerEnviron(), "TMPDIR="+g.temp)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := spawn.Start(cmd); err != nil {
		t.Fatal(err)
	}
	_, readErr := io.ReadFull(out, make([]byte, 100))
	closeErr := out.Close()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("%v, %v, %v: %s", readErr, closeErr, err, &errs)
	}
	g.nothingLeft(nil, g.temp)
}

// A tour that is killed can tidy nothing away, but its servers go with it.
func TestTourKilled(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only Linux kills a process with its parent")
	}
	g := startTour(t, "--pause", "10m")
	g.said(`Any node takes any request`)
	ids := g.processes()
	g.Kill()
	g.nothingLeft(ids)
}

func TestTourRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"tour", "--dir", dir}, exitMisused, "not empty"},
		{[]string{"tour", "--dir", filepath.Join(file, "below")}, exitFailed, "--dir"},
		{[]string{"tour", "--dir", file}, exitFailed, "precious"},
		{[]string{"tour", "--pause", "-1s"}, exitMisused, "negative"},
		{[]string{"tour", "extra"}, exitMisused, "extra"},
	} {
		if r := (cli{}).run(t, test.args...); r.code != test.code || !strings.Contains(r.errors, test.says) {
			t.Errorf("%v: exit %d: %s", test.args, r.code, r.errors)
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// What the tour shows of its servers is what it starts.
func TestTourServerLine(t *testing.T) {
	c, err := newTourCluster("/somewhere with spaces", func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		line := strings.ReplaceAll(serverLine(n), " \\\n    ", " ")
		if got := words(line); strings.Join(got[1:], "\x00") != strings.Join(n.Args, "\x00") || got[0] != "starling" {
			t.Errorf("%s is started as %q", line, n.Args)
		}
	}
}
