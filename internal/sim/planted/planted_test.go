package planted

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	only  = flag.String("bug", "", "the only bug to plant")
	count = flag.Int("count-seeds", 0, "run each bug against this many seeds, and print a table of how many catch it")
)

const (
	// within is how many seeds may pass until a bug is caught.
	within = 300
	// tries of the seed that is known to catch a bug: Go's scheduler is not seeded.
	tries = 8
	// patience bounds one bug.
	patience = 10 * time.Minute
)

// TestPlanted switches on one bug at a time and has the simulation find it. What it runs is the simulation of this
// package's parent, built with the bugs in it.
func TestPlanted(t *testing.T) {
	binary := build(t)
	if *count > 0 {
		table(t, binary)
		return
	}
	for _, b := range Bugs {
		if *only != "" && *only != b.Name {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			start := time.Now()
			if b.Test != "" {
				found := huntBy(t, binary, b.Test, b.Name)
				if found == "" {
					t.Fatalf("not caught: %s", b.What)
				}
				t.Logf("caught after %v: %s", time.Since(start).Round(time.Millisecond), found)
				return
			}
			for try := 0; b.Seed > 0 && try < tries; try++ {
				if c := hunt(t, binary, b.Name, b.Seed, 1); c.seed > 0 {
					t.Logf("caught after %v: %v", time.Since(start).Round(time.Millisecond), c)
					return
				}
			}
			c := hunt(t, binary, b.Name, 1, within)
			if c.seed == 0 {
				t.Fatalf("not caught in %d seeds: %s", within, b.What)
			}
			t.Logf("caught after %v: %v", time.Since(start).Round(time.Millisecond), c)
		})
	}
}

// TestNothingPlanted: without a bug switched on, the build with the bugs in it finds nothing.
func TestNothingPlanted(t *testing.T) {
	if c := hunt(t, build(t), "", 1, 10); c.seed > 0 {
		t.Errorf("a violation without any bug: %v", c)
	}
	for _, test := range []string{deletes, floors} {
		if found := huntBy(t, build(t), test, ""); found != "" {
			t.Errorf("a complaint without any bug: %s", found)
		}
	}
}

// TestShippedHasNoSwitch: what is built without the overlay has none of the switches.
func TestShippedHasNoSwitch(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", module+"/cmd/starling").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(deps)) {
		if strings.HasPrefix(dep, module) && strings.Contains(dep, "planted") {
			t.Errorf("the server is built from %s", dep)
		}
	}
}

var built string // by an earlier test

// build builds the simulation with all bugs planted and none switched on.
func build(t *testing.T) string {
	t.Helper()
	if built != "" {
		return built
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := Overlay(root, scratch)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(scratch, "sim.test")
	out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, module+"/internal/sim").CombinedOutput()
	if err != nil {
		t.Fatalf("build the simulation with the bugs in it: %v\n%s", err, out)
	}
	built = binary
	return binary
}

var scratch string // for all tests

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "starling-planted-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(scratch) }()
		return m.Run()
	}())
}

// catch is what the simulation said of a bug: in which seed, and what.
type catch struct {
	seed    uint64
	checker string
	message string
}

func (c catch) String() string {
	return fmt.Sprintf("seed %d, %s: %.300s", c.seed, c.checker, c.message)
}

var caught = regexp.MustCompile(`(?m)^caught: seed (\d+): (\w+):(.*)$`)

// hunt runs seeds until one catches the bug. Without one the catch has no seed.
func hunt(t *testing.T, binary, bug string, first uint64, seeds int) catch {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^TestSeeds$", "-test.timeout", patience.String(),
		"-until", "-repair=false", "-first", strconv.FormatUint(first, 10), "-seeds", strconv.Itoa(seeds))
	cmd.Env = append(os.Environ(), "STARLING_PLANTED_BUG="+bug)
	out, err := cmd.CombinedOutput()
	found := caught.FindStringSubmatch(string(out))
	switch {
	case found != nil:
		seed, _ := strconv.ParseUint(found[1], 10, 64) // digits, by the pattern
		return catch{seed, found[2], found[3]}
	case strings.Contains(string(out), "not caught:"):
		return catch{}
	default:
		t.Fatalf("the simulation with %q: %v\n%.5000s", bug, err, out)
		return catch{}
	}
}

var broken = regexp.MustCompile(`(?m)_test\.go:\d+: (.*)$`)

// huntBy runs one test, and returns what it complains of.
func huntBy(t *testing.T, binary, test, bug string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^"+test+"$", "-test.timeout", patience.String(), "-deletes", "200")
	cmd.Env = append(os.Environ(), "STARLING_PLANTED_BUG="+bug)
	out, err := cmd.CombinedOutput()
	found := broken.FindStringSubmatch(string(out))
	if (err == nil) != (found == nil) {
		t.Fatalf("%s with %q: %v\n%.5000s", test, bug, err, out)
	}
	if found == nil {
		return ""
	}
	return found[1]
}

// table runs every bug against the same seeds and prints which are caught how often.
func table(t *testing.T, binary string) {
	fmt.Printf("| Bug | What the database does then | First seed | Of %d seeds | Caught by |\n| --- | --- | --- | --- | --- |\n", *count)
	for _, b := range Bugs {
		if b.Test != "" || *only != "" && *only != b.Name {
			continue
		}
		var firstOf catch
		n := 0
		checkers := map[string]int{}
		for next := uint64(1); next <= uint64(*count); {
			c := hunt(t, binary, b.Name, next, int(uint64(*count)-next+1))
			if c.seed == 0 {
				break
			}
			if n == 0 {
				firstOf = c
			}
			n++
			checkers[c.checker]++
			next = c.seed + 1
		}
		fmt.Printf("| `%s` | %s | %d | %d | %s |\n", b.Name, b.What, firstOf.seed, n, ranked(checkers))
	}
}

// ranked lists checkers, the busiest first.
func ranked(checkers map[string]int) string {
	var out []string
	for len(checkers) > 0 {
		best := ""
		for c, n := range checkers {
			if best == "" || n > checkers[best] || n == checkers[best] && c < best {
				best = c
			}
		}
		out = append(out, best)
		delete(checkers, best)
	}
	return strings.Join(out, ", ")
}
