package proctest

import "syscall"

// dieWithParent has the kernel kill a process when this one ends, however that happens: a test binary that runs into
// its time limit runs no cleanups.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
