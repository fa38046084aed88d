//go:build unix

package chaos

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/starling-db/starling/internal/chaos/seam"
	"github.com/starling-db/starling/internal/spawn"
)

// victim is one node's process at a time, and the pipe over which its seams are told what is broken.
type victim struct {
	name   string
	binary string
	args   []string
	log    string // path; all runs, one behind the other

	mu      sync.Mutex
	present *running // nil: never started
	paused  bool
	disk    seam.Disk
	// sick is when the disk was last broken or mended: for a while after that the node may stop itself.
	sick   time.Time
	faults []string
}

// running is one run of a victim.
type running struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers chan struct{} // room for a few; more are dropped
	ended   chan struct{} // closed when the process has gone
	meant   bool          // somebody ended it
}

func (r *running) gone() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// maySicken is how long after a fault of its disk a node may still stop itself because of it.
const maySicken = 30 * time.Second

// start starts the process and tells it what is broken. It does nothing to one that runs.
func (v *victim) start(s seam.Settings) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.present != nil && !v.present.gone() {
		return nil
	}
	log, err := os.OpenFile(v.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(v.binary, v.args...)
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := spawn.StartApart(cmd); err != nil {
		return fmt.Errorf("start %s: %w", v.name, err)
	}
	r := &running{cmd: cmd, stdin: stdin, answers: make(chan struct{}, 16), ended: make(chan struct{})}
	v.present, v.paused = r, false
	go v.watch(r, stdout) // ends with the process, which close kills
	s.Disk = v.disk
	return v.send(r, s)
}

// watch waits for a run's end.
func (v *victim) watch(r *running, stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if !seam.Applied(lines.Text()) {
			continue
		}
		select {
		case r.answers <- struct{}{}:
		default:
		}
	}
	err := r.cmd.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !r.meant && v.disk == (seam.Disk{}) && time.Since(v.sick) > maySicken {
		v.faults = append(v.faults, fmt.Sprintf("%s ended by itself (%v); its log ends:\n%s", v.name, err, v.tail(15)))
	}
	close(r.ended)
}

// send writes settings to a run. The caller holds mu.
func (v *victim) send(r *running, s seam.Settings) error {
	if err := seam.Send(r.stdin, s); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("tell %s what is broken: %w", v.name, err)
	}
	return nil
}

// answerWithin is how long a process may take to break itself. One that is stopped does so when it goes on.
const answerWithin = time.Second

// set tells the process what is broken, and waits until it is.
func (v *victim) set(s seam.Settings) error {
	v.mu.Lock()
	r, paused := v.present, v.paused
	if r == nil || r.gone() {
		v.mu.Unlock()
		return nil
	}
	for len(r.answers) > 0 {
		<-r.answers
	}
	s.Disk = v.disk
	err := v.send(r, s)
	v.mu.Unlock()
	if err != nil || paused {
		return err
	}
	select {
	case <-r.answers:
	case <-r.ended:
	case <-time.After(answerWithin):
	}
	return nil
}

func (v *victim) setDisk(d seam.Disk) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.disk, v.sick = d, time.Now()
}

func (v *victim) running() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.present != nil && !v.present.gone()
}

// signal sends a signal that ends the process, or not.
func (v *victim) signal(s syscall.Signal, ends bool) (*running, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.present
	if r == nil || r.gone() {
		return nil, errAway
	}
	if ends {
		r.meant = true
	}
	v.paused = s == syscall.SIGSTOP
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("%v to %s: %w", s, v.name, err)
	}
	return r, nil
}

func (v *victim) kill() error {
	r, err := v.signal(syscall.SIGKILL, true)
	if err != nil {
		return err
	}
	<-r.ended
	return nil
}

func (v *victim) resume() error {
	v.mu.Lock()
	paused := v.paused
	v.mu.Unlock()
	if !paused {
		return nil
	}
	_, err := v.signal(syscall.SIGCONT, false)
	return err
}

// terminate ends the process in the orderly way.
func (v *victim) terminate(limit time.Duration) error {
	r, err := v.signal(syscall.SIGTERM, true)
	if err != nil {
		return fmt.Errorf("end %s: %w", v.name, err)
	}
	select {
	case <-r.ended:
	case <-time.After(limit):
		return fmt.Errorf("%s still runs %v after SIGTERM", v.name, limit)
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %v after SIGTERM; its log ends:\n%s", v.name, r.cmd.ProcessState, v.tail(15))
	}
	return nil
}

// found are the faults of all runs so far, crashes that the log tells of included.
func (v *victim) found() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := append([]string(nil), v.faults...)
	log, err := os.ReadFile(v.log)
	if err != nil {
		return append(found, err.Error())
	}
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if at := bytes.Index(append([]byte("\n"), log...), []byte("\n"+bad)); at >= 0 {
			found = append(found, fmt.Sprintf("%s has logged: %s", v.name, log[at:min(at+2000, len(log))]))
		}
	}
	return found
}

// tail is the end of the log.
func (v *victim) tail(lines int) string {
	log, err := os.ReadFile(v.log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
