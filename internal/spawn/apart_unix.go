//go:build unix && !linux

package spawn

import "syscall"

// dieWithParent can't be had here.
func dieWithParent() *syscall.SysProcAttr { return nil }

// apart keeps the terminal's ^C from a process.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
