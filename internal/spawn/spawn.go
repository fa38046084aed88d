// Package spawn starts processes that do not outlive the one that started them, and keeps account of runs of the
// server among them.
package spawn

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

type spawning struct {
	cmd  *exec.Cmd
	done chan error
}

// requests reach the one thread that starts all processes.
var requests = sync.OnceValue(func() chan<- spawning {
	r := make(chan spawning)
	go startAll(r) // lasts as long as this process: there is nothing to wait for
	return r
})

// startAll starts processes from one thread that never ends: where the kernel kills a child together with its parent, it
// means the parent's thread, and Go's threads come and go.
func startAll(requests <-chan spawning) {
	runtime.LockOSThread()
	for r := range requests {
		r.done <- r.cmd.Start()
	}
}

// Start starts a process as cmd.Start does. On Linux the kernel kills it when this process ends, however that happens.
// On other systems it may outlive a parent that is killed: whoever must be sure gives it a stdin, at whose end it ends.
//
// Start sets cmd.SysProcAttr. All calls share one goroutine, which lasts as long as this process.
func Start(cmd *exec.Cmd) error { return start(cmd, dieWithParent()) }

// StartApart is Start for a process that a ^C at the terminal must not reach: the caller decides when it ends.
func StartApart(cmd *exec.Cmd) error { return start(cmd, apart()) }

func start(cmd *exec.Cmd, how *syscall.SysProcAttr) error {
	cmd.SysProcAttr = how
	r := spawning{cmd, make(chan error, 1)}
	requests() <- r
	return <-r.done
}
