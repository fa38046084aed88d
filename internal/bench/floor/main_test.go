package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the other end of an echo, too: a floor starts its own binary for that.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveCommand {
		main()
		return
	}
	// The thread that starts processes lasts as long as this one.
	thread := goleak.IgnoreAnyFunction("github.com/starling-db/starling/internal/spawn.startAll")
	// Pebble leaves this behind when it can't be opened.
	ticker := goleak.IgnoreAnyFunction("github.com/cockroachdb/pebble/v2/vfs.(*diskHealthCheckingFS).startTickerLocked.func1")
	goleak.VerifyTestMain(m, thread, ticker)
}

func TestFloors(t *testing.T) {
	for _, floor := range []string{"echo", "pebble"} {
		t.Run(floor, func(t *testing.T) {
			var out strings.Builder
			cmd := command(&out)
			cmd.SetArgs([]string{floor, "--duration", "300ms", "--warmup", "50ms", "--callers", "8"})
			if err := cmd.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			var r Report
			if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			if r.Floor != floor || r.Result.All.Done == 0 || r.Result.All.Failed != 0 || (floor == "echo") != (r.ServerCPU > 0) {
				t.Errorf("%s", out.String())
			}
		})
	}
}

func TestPebbleElsewhere(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(os.Stderr)
	cmd.SetArgs([]string{"pebble", "--dir", file})
	if err := cmd.ExecuteContext(t.Context()); err == nil {
		t.Error("a file was taken for a directory")
	}
}
