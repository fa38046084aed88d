//go:build unix

package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/starling-db/starling/internal/chaos"
	"github.com/starling-db/starling/internal/history"
)

// TestExitCodes runs the command line as far as no cluster is needed.
func TestExitCodes(t *testing.T) {
	key := history.Key{Bucket: "b", Partition: "p"}
	whole := &history.Run{
		Buckets: map[string]history.Bucket{"b": {Policy: history.Siblings, N: 3}},
		Ops: []history.Op{{
			Kind: history.Put, Key: key, Outcome: history.Done, Write: "w", Value: "v", Start: 1, End: 2, Quorum: 2, Acks: 2, Tries: 1, Blind: true,
		}},
		Finals: []history.Final{{Key: key, Read: []history.Version{{Write: "w", Value: "v"}}}},
	}
	lost := *whole
	lost.Finals = []history.Final{{Key: key}}
	dir := t.TempDir()
	wholeFile, lostFile := filepath.Join(dir, "whole"), filepath.Join(dir, "lost")
	for path, run := range map[string]*history.Run{wholeFile: whole, lostFile: &lost} {
		if err := chaos.WriteFile(path, run); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--help"}, 0},
		{[]string{"--replay-check", wholeFile}, 0},
		{[]string{"--replay-check", lostFile}, exitBroken},
		{[]string{"--replay-check", filepath.Join(dir, "none")}, exitFailed},
		{[]string{"--nonsense"}, exitMisuse},
		{[]string{"nonsense"}, exitMisuse},
		{[]string{"--duration", "soon"}, exitMisuse},
		{[]string{"--duration", "0s"}, exitMisuse},
		{[]string{"--min-gap", "2s", "--max-gap", "1s"}, exitMisuse},
	} {
		cmd := command()
		cmd.SetArgs(c.args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		if got := exitCode(cmd.ExecuteContext(t.Context())); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.args, got, c.want)
		}
	}
}
