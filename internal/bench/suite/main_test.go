//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The thread that starts processes lasts as long as this one.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/starling-db/starling/internal/spawn.startAll"))
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"--frobnicate"},
		{"--starling", "s"},
		{"--starling", "s", "--floor", "f", "--nodes", "0"},
		{"--starling", "s", "--floor", "f", "--runs", "0"},
		{"--starling", "s", "--floor", "f", "--duration", "1ms"},
	} {
		cmd := command()
		cmd.SetArgs(args)
		cmd.SetOut(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); exitCode(err) != exitMisuse {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		0: nil, exitMissed: fmt.Errorf("so: %w", errMissed), exitFailed: errors.New("no disk"),
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
}

// TestBinaryThatIsNot: what can't be started is an error, and leaves nothing behind.
func TestBinaryThatIsNot(t *testing.T) {
	dir := t.TempDir() + "/data"
	cmd := command()
	cmd.SetArgs([]string{"--starling", "/nowhere/starling", "--floor", "/nowhere/floor", "--nodes", "1", "--dir", dir})
	if err := cmd.ExecuteContext(t.Context()); exitCode(err) != exitFailed {
		t.Error(err)
	}
}
