//go:build unix

package spawn

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// parentEnv makes this test binary a process that starts another one and then waits to be killed.
const parentEnv = "SPAWN_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		if err := parent(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/starling-db/starling/internal/spawn.startAll"))
}

// parent starts a child, tells its process id, and lasts until somebody kills it.
func parent() error {
	child := exec.Command("sleep", "600")
	if err := StartApart(child); err != nil {
		return err
	}
	fmt.Println(child.Process.Pid)
	return child.Wait()
}

const patience = time.Minute

func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// gone says whether a process has ended, whether or not anybody has asked for its exit code.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// A parent that is killed, and so can clean nothing up, takes its child with it.
func TestDiesWithItsParent(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only Linux kills a process with its parent")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), parentEnv+"=1"), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err == nil && gone(child) {
		t.Errorf("process %d has gone before its parent", child)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // tells of the kill
	if err != nil {
		t.Fatalf("the parent said %q: %v, %v", line, err, readErr)
	}
	within(t, "the child has gone", func() bool { return gone(child) })
}

// A process that is apart is out of reach of what the terminal sends to this one's group.
func TestApart(t *testing.T) {
	for _, test := range []struct {
		start func(*exec.Cmd) error
		apart bool
	}{{Start, false}, {StartApart, true}} {
		cmd := exec.Command("sleep", "600")
		if err := test.start(cmd); err != nil {
			t.Fatal(err)
		}
		group, err := syscall.Getpgid(cmd.Process.Pid)
		if own := syscall.Getpgrp(); err != nil || (group != own) != test.apart {
			t.Errorf("group %d, this process's is %d, %v; want apart: %v", group, own, err, test.apart)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // tells of the kill
	}
}

func TestProcess(t *testing.T) {
	p := &Process{
		Name: "shell", Binary: "/bin/sh", Args: []string{"-c", `echo "$WORD"; exec sleep 600`},
		Env: []string{"WORD=here", "PATH=" + os.Getenv("PATH")}, LogFile: filepath.Join(t.TempDir(), "log"),
	}
	if p.Running() || p.PID() != 0 || p.Ended() != nil || p.Signal(syscall.SIGTERM) == nil {
		t.Error("one that was never started seems to run")
	}
	if _, err := p.Wait(0); err == nil {
		t.Error("one that was never started has ended")
	}
	p.Kill()
	for run := 1; run <= 2; run++ {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		within(t, "it has written", func() bool { return strings.Count(p.Log(), "here\n") == run })
		if err := p.Start(); err == nil || !p.Running() || gone(p.PID()) {
			t.Errorf("started twice: %v", err)
		}
		if _, err := p.Wait(time.Millisecond); err == nil {
			t.Error("it runs and has ended")
		}
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if code, err := p.Wait(patience); code != -1 || err != nil || p.Running() {
			t.Errorf("exit code %d, %v", code, err)
		}
		<-p.Ended()
	}
	if got := p.Tail(1); got != "here" {
		t.Errorf("the last line is %q", got)
	}
	p.Args = []string{"-c", "exit 3"}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(patience); code != 3 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestProcessThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	p := &Process{Name: "absent", Binary: filepath.Join(dir, "absent"), LogFile: filepath.Join(dir, "log")}
	if err := p.Start(); !errors.Is(err, os.ErrNotExist) || p.Running() {
		t.Errorf("%v", err)
	}
	p.LogFile = filepath.Join(dir, "no", "log")
	if err := p.Start(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestServerEnviron(t *testing.T) {
	t.Setenv("STARLING_ADDR", "x")
	t.Setenv("OTHER", "y")
	env := strings.Join(ServerEnviron(), "\n")
	if strings.Contains(env, "STARLING_") || !strings.Contains(env, "OTHER=y") {
		t.Error(env)
	}
}
