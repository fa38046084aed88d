package spawn

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Process is one process at a time of a program that may be started again when it has ended, and what all its runs have
// written. Its methods are safe for concurrent use; starting it is not. Whoever starts it ends it, by Kill at the latest.
type Process struct {
	// Name is for messages.
	Name string
	// Binary is the path of the program, Args are its arguments, Env is its environment.
	Binary    string
	Args, Env []string
	// LogFile is the path of the file to which stdout and stderr are appended.
	LogFile string
	// Apart keeps a ^C at the terminal from the process.
	Apart bool

	mu  sync.Mutex
	cmd *exec.Cmd     // nil: never started
	end chan struct{} // closed when cmd has ended
}

// Start starts the process. It must not run.
func (p *Process) Start() error {
	if p.Running() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(p.Binary, p.Args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, p.Env
	begin := Start
	if p.Apart {
		begin = StartApart
	}
	if err := begin(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	end := make(chan struct{})
	go func() { // ends with the process; Kill and Wait wait for it
		defer close(end)
		_ = cmd.Wait() // told by cmd.ProcessState
	}()
	p.mu.Lock()
	p.cmd, p.end = cmd, end
	p.mu.Unlock()
	return nil
}

// ServerEnviron is this process's environment without the settings of a server that it may hold.
func ServerEnviron() []string {
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

// PID is the id of the present process, or of the last one; 0 if there was none.
func (p *Process) PID() int {
	cmd, _ := p.current()
	if cmd == nil {
		return 0
	}
	return cmd.Process.Pid
}

// Ended is closed when the present process has ended; nil if there was none.
func (p *Process) Ended() <-chan struct{} {
	_, end := p.current()
	return end
}

// Signal sends a signal. One that has ended takes none.
func (p *Process) Signal(s os.Signal) error {
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
		return 0, fmt.Errorf("%s was not started", p.Name)
	}
	select {
	case <-end:
		return cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s still runs after %v", p.Name, limit)
	}
}

// Kill ends the process at once and waits for that. It does nothing to one that doesn't run.
func (p *Process) Kill() {
	if !p.Running() {
		return
	}
	cmd, end := p.current()
	_ = cmd.Process.Kill() // fails only when it has ended meanwhile
	<-end
}

// Log is all that the process has written so far, over all its runs.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Tail is the last lines of what it has written.
func (p *Process) Tail(lines int) string {
	all := bytes.Split(bytes.TrimSpace([]byte(p.Log())), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
