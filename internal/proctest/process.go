//go:build unix

package proctest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one `starling` process at a time, and what its runs have written to stderr, one behind the other. Its
// methods are safe for concurrent use; starting it is not.
type Process struct {
	name string
	args []string
	log  string // path

	mu  sync.Mutex
	cmd *exec.Cmd     // nil: never started
	end chan struct{} // closed when cmd has ended
}

func newProcess(name, dir string, args []string) *Process {
	return &Process{name: name, args: args, log: filepath.Join(dir, name+".log")}
}

// Start starts the process. It must not run.
func (p *Process) Start() error {
	binary, err := Binary()
	if err != nil {
		return err
	}
	if p.Running() {
		return fmt.Errorf("%s runs already", p.name)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(binary, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = environment()
	if err := spawn(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	end := make(chan struct{})
	go func() { // ends with the process, which the test's cleanup kills
		defer close(end)
		_ = cmd.Wait() // told by cmd.ProcessState
	}()
	p.mu.Lock()
	p.cmd, p.end = cmd, end
	p.mu.Unlock()
	return nil
}

// environment is this process's without the settings of a server that it may hold.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "STARLING_") {
			env = append(env, kv)
		}
	}
	return env
}

func (p *Process) current() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.end
}

// Running says whether the process has been started and has not ended.
func (p *Process) Running() bool {
	_, end := p.current()
	if end == nil {
		return false
	}
	select {
	case <-end:
		return false
	default:
		return true
	}
}

// Signal sends a signal. One that has ended takes none.
func (p *Process) Signal(s syscall.Signal) error {
	cmd, _ := p.current()
	if cmd == nil {
		return errors.New("not started")
	}
	return cmd.Process.Signal(s)
}

// Wait waits until the process has ended and returns its exit code, -1 if a signal ended it.
func (p *Process) Wait(limit time.Duration) (int, error) {
	cmd, end := p.current()
	if cmd == nil {
		return 0, fmt.Errorf("%s was not started", p.name)
	}
	select {
	case <-end:
		return cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s still runs after %v", p.name, limit)
	}
}

// kill ends the process at once and waits for that.
func (p *Process) kill() {
	if !p.Running() {
		return
	}
	_ = p.Signal(syscall.SIGKILL) // fails only when it has ended meanwhile
	_, end := p.current()
	<-end
}

// Log is all that the process has written so far, over all its runs.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// tail is the end of the log.
func (p *Process) tail(lines int) string {
	all := bytes.Split([]byte(p.Log()), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
