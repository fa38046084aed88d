//go:build unix

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/starling-db/starling/internal/spawn"
)

// engine is a container engine's command line.
type engine struct {
	compose []string // docker compose, or docker-compose
}

const (
	// findLimit bounds the look for an engine, commandLimit any other command.
	findLimit    = 10 * time.Second
	commandLimit = 5 * time.Minute
)

// findEngine looks for an engine that answers and for compose. The error says what is missing.
func findEngine(ctx context.Context) (*engine, error) {
	ctx, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	if _, err := command(ctx, nil, nil, "docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, fmt.Errorf("no container engine answers: %w", err)
	}
	var last error
	for _, compose := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if _, last = command(ctx, nil, nil, compose[0], append(compose[1:], "version")...); last == nil {
			return &engine{compose: compose}, nil
		}
	}
	return nil, fmt.Errorf("neither docker compose nor docker-compose is there: %w", last)
}

// EngineAnswers is nil where a compose cluster can be run, and says why not elsewhere.
func EngineAnswers(ctx context.Context) error {
	_, err := findEngine(ctx)
	return err
}

// run runs a command that has its own time limit: what is begun to clean up must not be broken off.
func run(stdin io.Reader, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	return command(ctx, stdin, env, name, args...)
}

// command returns what a command writes to stdout. The terminal's ^C does not reach it.
func command(ctx context.Context, stdin io.Reader, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	cmd.Env = append(os.Environ(), env...)
	if err := spawn.StartApart(cmd); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func docker(args ...string) (string, error) { return run(nil, nil, "docker", args...) }
