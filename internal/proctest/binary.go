//go:build unix

package proctest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// RaceEnv makes the server binary one with the race detector when it is set to 1: slower, and for a machine with a C
// compiler.
const RaceEnv = "STARLING_RACE"

var built struct {
	once sync.Once
	dir  string
	err  error
}

// Binary builds cmd/starling, once per test process, and returns the path of the binary. RemoveBinary removes it.
func Binary() (string, error) {
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "starling-proctest-"); built.err == nil {
			built.err = build(binaryIn(built.dir))
		}
	})
	return binaryIn(built.dir), built.err
}

func binaryIn(dir string) string { return filepath.Join(dir, "starling") }

func build(path string) error {
	if err := LookAtSources(); err != nil {
		return fmt.Errorf("build the server: %w", err)
	}
	args, cgo := []string{"build", "-o", path}, "CGO_ENABLED=0"
	if os.Getenv(RaceEnv) == "1" {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(args, "github.com/starling-db/starling/cmd/starling")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return nil
}

// LookAtSources looks at every file that the server and its image may be made of. The go command reuses the results of
// tests while the files that they looked at stay the same, and it can't see what the builds that are started here read.
func LookAtSources() error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	root := strings.TrimSpace(string(out))
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		dir := filepath.Dir(path)
		if err == nil && (filepath.Ext(path) == ".go" || dir == filepath.Join(root, "deploy") || dir == filepath.Join(root, "scripts")) {
			_, err = os.Stat(path)
		}
		return err
	})
}

// RemoveBinary removes what Binary has built. It is for TestMain, when all tests are done.
func RemoveBinary() error {
	if built.dir == "" {
		return nil
	}
	return os.RemoveAll(built.dir)
}
