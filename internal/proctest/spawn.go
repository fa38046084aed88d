//go:build unix

package proctest

import (
	"os/exec"
	"runtime"
	"sync"
)

type spawning struct {
	cmd  *exec.Cmd
	done chan error
}

// spawner starts all processes from one thread that never ends: where the kernel kills a child together with its
// parent, it means the parent's thread, and Go's threads come and go.
var spawner = sync.OnceValue(func() chan<- spawning {
	requests := make(chan spawning)
	go func() {
		runtime.LockOSThread()
		for r := range requests {
			r.done <- r.cmd.Start()
		}
	}()
	return requests
})

func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = dieWithParent()
	r := spawning{cmd, make(chan error, 1)}
	spawner() <- r
	return <-r.done
}
