//go:build !unix

package spawn

import "syscall"

// dieWithParent can't be had here.
func dieWithParent() *syscall.SysProcAttr { return nil }

// apart can't be had here either.
func apart() *syscall.SysProcAttr { return nil }
